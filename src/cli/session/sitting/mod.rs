//! What happens while one sits before an exec, and what is done about it: here it is gathered, one thing at
//! a time; what the person asks for is in `typed`, what the exec tells in `told`.

mod told;
mod typed;

use std::{io::stdin, ops::ControlFlow, os::fd::AsFd};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use rustix::termios::isatty;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{
    Kind, Leaving, Session, Signals,
    escape::{EscapeKey, Escapes},
    feed::Feed,
    redraw::{self, Drawing},
    shown::Shown,
    signals::Told,
    tell,
};
use crate::{
    cli::{
        failure::EXIT_NO_READER,
        streams,
        terminal::{self, Raw},
    },
    client::{AttachEvent, AttachOptions, AttachRole, AttachStart, Attached, ClientError},
    core::{ids::Stream, limits::TERMINAL_FLUSH, spec::WindowSize},
    wire::doorward::v1 as wire,
};

/// The exit code where our terminal went away without a signal: 128 and SIGHUP.
const EXIT_HUNG_UP: u8 = 128 + 1;

/// One of the things that happen.
enum Happening {
    /// A signal came.
    Told(Told),
    /// Something was typed, or our input has ended.
    Keys(Option<Bytes>),
    /// The exec has something to show, or the call is over.
    Exec(Result<Option<AttachEvent>, ClientError>),
    /// Nobody takes our output.
    Unread,
    /// What was typed is on its way, or nobody takes it.
    Fed,
    /// The screen to be drawn again is there, if it came in time.
    Drawing(Result<Option<Drawing>, ClientError>),
    /// Another call to the exec is open.
    Seated(Result<Seat, ClientError>),
    /// The end that was asked for is there, but for these.
    Ending(Result<Vec<wire::LeftProcess>, ClientError>),
}

/// How it is over.
enum Way {
    /// The exec ended, and all of its output was shown.
    Ended(u8),
    /// We leave, with this code, and the exec goes on.
    Left(u8),
    /// Nobody takes our output.
    Unread,
    /// It cannot go on.
    Failed(anyhow::Error),
}

/// Whether there is a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Whole,
    /// The call is being opened again where it was.
    Broken,
    /// It was given up; another one is being opened.
    Lost,
}

/// Work in another task.
type Asked<T> = Option<JoinHandle<Result<T, ClientError>>>;

/// Another call to the exec.
struct Seat {
    role: AttachRole,
    attached: Box<Attached>,
}

struct Sitting {
    session: Session,
    role: AttachRole,
    attached: Attached,
    feed: Feed,
    shown: Shown,
    escapes: Escapes,
    raw: Option<Raw>,
    /// What is typed; `None` after its end.
    keys: Option<mpsc::Receiver<Bytes>>,
    link: Link,
    /// One past the last byte that was shown of each output.
    offsets: [u64; 2],
    drawing: Asked<Option<Drawing>>,
    seating: Asked<Seat>,
    ending: Asked<Vec<wire::LeftProcess>>,
    /// The exec's code, once it has ended.
    code: Option<u8>,
}

/// Sits before the exec until it ends or we leave; the exit code for this process. What is said
/// when the terminal is as it was goes to standard error.
pub(in crate::cli) async fn sit(session: Session, signals: &mut Signals) -> anyhow::Result<u8> {
    let (address, id) = (session.address.clone(), session.id.clone());
    let leaving = session.leaving;
    let left = |code| {
        match leaving {
            Leaving::Keeps => {
                tell(&format!("left exec {id} running at {address}"));
                tell(&format!("to come back: doorward attach {id}"));
            }
            Leaving::Ends => {}
        }
        Ok(code)
    };
    let sitting = tokio::select! {
        sitting = Sitting::begin(session) => sitting?,
        code = signals.leave() => return left(code),
    };
    let (shown, raw, way) = sitting.run(signals).await;
    let flushed = match way {
        // All of it is somebody's data.
        Way::Ended(_) => tokio::select! {
            flushed = shown.close() => flushed,
            code = signals.leave() => return Ok(code),
        },
        Way::Left(_) | Way::Unread | Way::Failed(_) => {
            timeout(TERMINAL_FLUSH, shown.close()).await.unwrap_or(Ok(()))
        }
    };
    drop(raw);
    match way {
        Way::Ended(_) if flushed.is_err() => Ok(EXIT_NO_READER),
        Way::Ended(code) => Ok(code),
        Way::Left(code) => left(code),
        Way::Unread => Ok(EXIT_NO_READER),
        Way::Failed(error) => Err(error),
    }
}

impl Sitting {
    async fn begin(session: Session) -> anyhow::Result<Self> {
        let options = options(session.kind, session.role, session.start);
        let attached = session.client.attach(&session.id, options).await;
        let attached = attached.map_err(|error| anyhow!("{error}"))?;
        let shown = Shown::new(session.kind).context("use standard output")?;
        let key = if isatty(stdin()) { session.escape } else { EscapeKey::NONE };
        let from = stdin().as_fd().try_clone_to_owned().context("use standard input")?;
        let raw = match session.kind {
            Kind::Terminal => Raw::set().context("set the terminal to raw mode")?,
            Kind::Streams => None,
        };
        let role = session.role;
        Ok(Self {
            feed: Feed::of(&attached, role),
            role,
            attached,
            shown,
            escapes: Escapes::new(key),
            raw,
            keys: Some(streams::read(from)),
            link: Link::Whole,
            offsets: [0, 0],
            drawing: None,
            seating: None,
            ending: None,
            code: None,
            session,
        })
    }

    /// Does what is to be done until it is over.
    async fn run(mut self, signals: &mut Signals) -> (Shown, Option<Raw>, Way) {
        if self.session.kind == Kind::Streams {
            self.greet();
        }
        loop {
            let done = match self.next(signals).await {
                Happening::Told(told) => self.told(told),
                Happening::Keys(keys) => self.keys(keys),
                Happening::Fed => ControlFlow::Continue(()),
                Happening::Exec(Ok(event)) => self.event(event),
                Happening::Exec(Err(error)) => self.lost(error),
                Happening::Unread => ControlFlow::Break(Way::Unread),
                Happening::Drawing(drawing) => self.draw(drawing),
                Happening::Seated(seat) => self.seated(seat),
                Happening::Ending(left) => told::ended(left),
            };
            if let ControlFlow::Break(way) = done {
                // What was typed just before we leave still reaches the exec.
                if matches!(way, Way::Left(_))
                    && timeout(TERMINAL_FLUSH, self.feed.settle()).await.is_err()
                {
                    self.shown.say("what was typed last has not reached it");
                }
                return (self.shown, self.raw, way);
            }
        }
    }

    /// The next thing that happens. Dropping the future loses nothing.
    async fn next(&mut self, signals: &mut Signals) -> Happening {
        // What comes behind a screen that is on its way is shown behind it.
        let shows = self.drawing.is_none() && self.link != Link::Lost;
        let (shown, attached) = (&mut self.shown, &mut self.attached);
        let exec = async {
            // Whose the next piece is, is not known before it is there.
            for stream in [Stream::Stdout, Stream::Stderr] {
                if shown.room(stream).await.is_err() {
                    return Happening::Unread;
                }
            }
            Happening::Exec(attached.next().await)
        };
        let idle = self.feed.is_idle();
        tokio::select! {
            told = signals.next() => Happening::Told(told),
            keys = next_keys(&mut self.keys), if idle => Happening::Keys(keys),
            () = self.feed.go_on(), if !idle => Happening::Fed,
            Some(drawing) = answer(&mut self.drawing) => Happening::Drawing(drawing),
            Some(seat) = answer(&mut self.seating) => Happening::Seated(seat),
            Some(left) = answer(&mut self.ending) => Happening::Ending(left),
            happening = exec, if shows => happening,
        }
    }

    fn resize(&mut self) {
        if let (Kind::Terminal, AttachRole::Writer) = (self.session.kind, self.role)
            && let Some(size) = size()
        {
            // Where nobody takes it there is no terminal any more.
            let _ = self.attached.input().resize(size);
        }
    }

    /// Asks for the screen as it is, to draw it again.
    fn redraw(&mut self) {
        if self.session.kind == Kind::Terminal && self.drawing.is_none() {
            let (client, id) = (self.session.client.clone(), self.session.id.clone());
            self.drawing = Some(tokio::spawn(redraw::look(client, id)));
        }
    }

    /// Opens another call, where this one is.
    fn seat(&mut self, role: AttachRole) {
        if self.seating.is_some() {
            return;
        }
        let [stdout, stderr] = self.offsets;
        let options = options(self.session.kind, role, AttachStart::Offsets { stdout, stderr });
        let (client, id) = (self.session.client.clone(), self.session.id.clone());
        let seat = async move {
            let attached = client.attach(&id, options).await?;
            Ok(Seat { role, attached: Box::new(attached) })
        };
        self.seating = Some(tokio::spawn(seat));
    }

    fn seated(&mut self, seat: Result<Seat, ClientError>) -> ControlFlow<Way> {
        let Seat { role, attached } = match seat {
            Ok(seat) => seat,
            Err(error) => return self.lost(error),
        };
        let writes = attached.exec().has_writer;
        self.role = role;
        self.feed = Feed::of(&attached, role);
        self.attached = *attached;
        if self.link == Link::Whole {
            return ControlFlow::Continue(());
        }
        // Only if nobody else has sat down in between. Until then what is typed reaches nobody, so that it is
        // too early to say that all is as it was.
        match (self.session.role, role) {
            (AttachRole::Writer, AttachRole::Observer) if !writes => self.seat(AttachRole::Writer),
            (AttachRole::Writer | AttachRole::Observer, _) => self.connected(),
        }
        ControlFlow::Continue(())
    }

    /// The call is over without an end of the exec. A link that stays broken is waited for as long as
    /// the person likes.
    fn lost(&mut self, error: ClientError) -> ControlFlow<Way> {
        match error {
            ClientError::Lost { .. } => {
                self.link = Link::Lost;
                self.shown.say(&format!("failed to {error}; still trying, what was typed is lost"));
                self.seat(AttachRole::Observer);
                ControlFlow::Continue(())
            }
            error => ControlFlow::Break(Way::Failed(anyhow!("{error}"))),
        }
    }
}

fn options(kind: Kind, role: AttachRole, start: AttachStart) -> AttachOptions {
    let size = match (kind, role) {
        (Kind::Terminal, AttachRole::Writer) => size(),
        (Kind::Streams, _) | (_, AttachRole::Observer) => None,
    };
    AttachOptions { role, size, start }
}

/// The size of our terminal, if we have one.
fn size() -> Option<WindowSize> {
    let (rows, columns) = terminal::size();
    (rows > 0 && columns > 0).then(|| WindowSize::new(rows, columns))
}

/// What is typed next. After the end nothing is, ever.
async fn next_keys(keys: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match keys {
        Some(keys) => keys.recv().await,
        None => std::future::pending().await,
    }
}

/// Waits for what was asked for; `None` at once if nothing was. Dropping the future loses nothing.
async fn answer<T>(asked: &mut Asked<T>) -> Option<Result<T, ClientError>> {
    let answer = asked.as_mut()?.await;
    *asked = None;
    // It is never aborted, so that this was a panic.
    Some(answer.unwrap_or_else(|error| Err(ClientError::Protocol(error.to_string()))))
}
