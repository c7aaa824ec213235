//! Sitting before an exec, however often the connection breaks.
//!
//! [`Client::attach`] opens the call; [`Attached::next`] tells what comes, and [`AttachInput`] takes
//! what is typed. A task of its own keeps the call: after a break it opens another at the offsets
//! reached and sends again what was not accepted, so that no byte of output or input is lost or
//! doubled. It ends with the [`Attached`].
//!
//! ```no_run
//! use doorward::client::{AttachEvent, AttachOptions, Client};
//!
//! # async fn example(client: Client) -> Result<(), doorward::client::ClientError> {
//! let mut attached = client.attach("shell-1", AttachOptions::default()).await?;
//! let input = attached.input();
//! input.send("ls\n".into()).await.ok();
//! while let Some(event) = attached.next().await? {
//!     match event {
//!         AttachEvent::Drawn { data, .. } => println!("the screen: {} bytes", data.len()),
//!         AttachEvent::Output { bytes, .. } => println!("{} bytes", bytes.len()),
//!         other => println!("{other:?}"),
//!     }
//! }
//! # Ok(()) }
//! ```

mod drive;
mod outbox;
mod place;

use std::sync::Arc;

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinHandle};

use self::{drive::Driver, outbox::Outbox};
use super::{Client, ClientError};
use crate::{
    core::{ids::Stream, limits::CLIENT_EVENTS_MAX, spec::WindowSize},
    wire::doorward::v1 as wire,
};

/// How to sit before an exec.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Whether to write.
    pub role: AttachRole,
    /// The writer's terminal; `None` leaves the size as it is.
    pub size: Option<WindowSize>,
    /// Where the outputs begin.
    pub start: AttachStart,
}

/// Whether an attached client writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttachRole {
    /// It does; whoever wrote before is displaced.
    #[default]
    Writer,
    /// It looks on.
    Observer,
}

/// Where the outputs of an attached client begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttachStart {
    /// With the terminal's screen as it is now; without a terminal, with the last 64 KiB.
    #[default]
    Screen,
    /// Here.
    Offsets {
        /// Of standard output, or the terminal.
        stdout: u64,
        /// Of standard error.
        stderr: u64,
    },
}

/// What an attached client is told.
#[derive(Debug, Clone, PartialEq)]
pub enum AttachEvent {
    /// The screen; only the first event, and only with [`AttachStart::Screen`] and a terminal.
    Drawn {
        /// Bytes that draw it on a cleared terminal of that size.
        data: Bytes,
        /// The size of the exec's terminal.
        size: WindowSize,
        /// The offset of standard output that it shows; what follows begins there.
        offset: u64,
        /// The screen was too far behind and starts cleared instead.
        incomplete: bool,
    },
    /// Output, at least one byte, each byte once and in order.
    Output {
        /// Which.
        stream: Stream,
        /// Where its first byte stands.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// Output that is not kept any more.
    Gap {
        /// Which.
        stream: Stream,
        /// The first byte that is missing.
        first: u64,
        /// One past the last.
        end: u64,
    },
    /// Nothing more comes of this stream; told once.
    StreamEnd {
        /// Which.
        stream: Stream,
        /// One past its last byte.
        offset: u64,
        /// `eof`, or `quiet` or `linger` where processes that outlived the exec's own held it.
        reason: String,
    },
    /// The terminal has another size, set by somebody else.
    Resized(WindowSize),
    /// Somebody else writes from now on. Input that was not accepted is lost.
    Displaced {
        /// Who: the subject of a token, or an address.
        by: String,
    },
    /// The exec has ended; output that was on its way may follow. Told once.
    Ended(wire::Ended),
    /// Nobody reads the exec's input any more. Input that was not accepted is lost.
    InputClosed,
    /// The connection broke, and is being opened again.
    Reconnecting {
        /// What broke it, in words.
        error: String,
        /// Attempts since it last held, from 1.
        attempt: u32,
    },
    /// It holds again, and everything goes on where it was.
    Reconnected,
}

/// An exec that we sit before. Dropping it leaves; the exec goes on.
#[derive(Debug)]
pub struct Attached {
    exec: wire::Exec,
    input: AttachInput,
    events: mpsc::Receiver<Result<AttachEvent, ClientError>>,
    driver: JoinHandle<()>,
}

/// Takes what an attached client has to say; clones share it. None of it waits for the connection,
/// except for input beyond [`CLIENT_UNACCEPTED_BYTES_MAX`].
///
/// [`CLIENT_UNACCEPTED_BYTES_MAX`]: crate::core::limits::CLIENT_UNACCEPTED_BYTES_MAX
#[derive(Debug, Clone)]
pub struct AttachInput {
    outbox: Arc<Outbox>,
}

/// Why something was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// This client looks on.
    #[error("this client looks on and does not write")]
    Observer,
    /// The input was ended, or nobody reads it.
    #[error("the command takes no more input")]
    Closed,
    /// The call is over.
    #[error("the call is over")]
    Over,
    /// The connection is broken and too many signals wait for it.
    #[error("too many signals wait for the connection")]
    Full,
}

impl Client {
    /// Sits before an exec. Returns when the agent has answered, after retries if need be.
    ///
    /// Must be called on a tokio runtime, on which a task keeps the call. Dropping the future leaves. At
    /// the client's deadline the call is over, with [`ClientError::Deadline`].
    pub async fn attach(
        &self,
        exec_id: &str,
        options: AttachOptions,
    ) -> Result<Attached, ClientError> {
        let outbox = Arc::new(Outbox::new(options.role, options.size));
        let (sender, events) = mpsc::channel(CLIENT_EVENTS_MAX);
        let mut driver = Driver::new(self.clone(), exec_id, options.start, outbox.clone(), sender);
        let (call, exec) = self.bound.within(driver.open_first()).await?;
        let driver = tokio::spawn(driver.run(call));
        Ok(Attached { exec, input: AttachInput { outbox }, events, driver })
    }
}

impl Attached {
    /// The exec as it was when the agent first answered.
    pub fn exec(&self) -> &wire::Exec {
        &self.exec
    }

    /// A handle that takes input, sizes and signals.
    pub fn input(&self) -> AttachInput {
        self.input.clone()
    }

    /// What comes next; `None` once the exec and both its streams have ended and all of it was
    /// told. After an error nothing more comes. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<AttachEvent>, ClientError> {
        self.events.recv().await.transpose()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.driver.abort();
        self.input.outbox.over();
    }
}

impl AttachInput {
    /// Takes `bytes` as the next input: at once, or when enough of what came before was accepted.
    /// If the future is dropped, some part of the bytes from their beginning was taken.
    pub async fn send(&self, bytes: Bytes) -> Result<(), NotTaken> {
        self.outbox.push(&bytes).await
    }

    /// Ends the input behind everything that was sent before. On a terminal: ^D.
    pub fn end(&self) -> Result<(), NotTaken> {
        self.outbox.end()
    }

    /// The size of our terminal. Only the newest counts.
    pub fn resize(&self, size: WindowSize) -> Result<(), NotTaken> {
        self.outbox.resize(size)
    }

    /// Sends a signal, 1-64, to the group in the terminal's foreground; without a terminal, to the
    /// leader's group. A connection that breaks in this moment may lose it.
    pub fn signal(&self, signal: i32) -> Result<(), NotTaken> {
        self.outbox.signal(signal)
    }

    /// Resolves when everything that was sent has been accepted, the end included as far as it was
    /// sent; an error if that will not be. Cancel-safe.
    pub async fn accepted(&self) -> Result<(), NotTaken> {
        self.outbox.drained().await
    }
}
