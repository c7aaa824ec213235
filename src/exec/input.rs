//! An exec's input: writes by absolute offset into its pipe or terminal.
//!
//! Accepted means taken by the pipe or terminal: no byte waits in a buffer of ours, so what
//! [`Input::status`] says is final the moment it is said. Writers take turns in the order in
//! which they came, so that an end that is sent behind a long write waits for it. A writer that
//! is dropped in the middle leaves a prefix accepted, and a repeat skips it.
//!
//! The offsets are judged by [`Inbox`]; here is only the descriptor and the waiting.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use rustix::io::Errno;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Notify,
};

use crate::{
    core::{
        failure::Kind,
        inbox::{Admission, End, Inbox, Refusal, Write},
        limits::UNWATCHED_PAUSE,
    },
    os::{pty, ready::register_shared},
};

/// The input of one exec.
pub struct Input {
    /// Guards offsets and descriptor together: a byte is written and counted in one step.
    state: Mutex<State>,
    /// Held by the writer whose turn it is.
    turn: tokio::sync::Mutex<()>,
    /// Something that a waiting writer must know has happened: an eviction, or the end.
    changed: Notify,
}

struct State {
    inbox: Inbox,
    sink: Sink,
    /// Streams opened before the newest eviction have a smaller number.
    generation: u64,
    /// Whether the last accepted byte leaves a line unfinished.
    line_pending: bool,
}

enum Sink {
    /// The exec has not started, has no input, or has ended, or closed its input.
    None,
    Pipe(Arc<Outlet>),
    Terminal(Arc<Outlet>),
}

/// A descriptor that input is written to. The reactor watches it only once a write has met a
/// full one: most commands read nothing, and a terminal would wake it at every line it shows.
struct Outlet {
    fd: Arc<OwnedFd>,
    watch: Watch,
    watched: OnceLock<AsyncFd<Arc<OwnedFd>>>,
}

/// What the reactor watches for an [`Outlet`].
#[derive(Debug, Clone, Copy)]
enum Watch {
    /// The descriptor.
    Itself,
    /// A copy of it: it is watched already, by who reads it, and the reactor takes each descriptor
    /// only once (epoll_ctl(2), EEXIST).
    Copy,
}

impl Outlet {
    fn new(fd: Arc<OwnedFd>, watch: Watch) -> Arc<Self> {
        Arc::new(Self { fd, watch, watched: OnceLock::new() })
    }

    /// What tells when there is room again.
    fn watched(&self) -> io::Result<&AsyncFd<Arc<OwnedFd>>> {
        match self.watched.get() {
            Some(watched) => Ok(watched),
            None => {
                let watched = match self.watch {
                    Watch::Itself => register_shared(&self.fd, Interest::WRITABLE)?,
                    Watch::Copy => {
                        register_shared(&Arc::new(self.fd.try_clone()?), Interest::WRITABLE)?
                    }
                };
                Ok(self.watched.get_or_init(|| watched))
            }
        }
    }
}

/// Which writer it is: streams are set aside by [`Input::status`], single writes are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// One write of its own.
    Single,
    /// A part of the stream that [`Input::open_stream`] returned.
    Stream(u64),
}

/// Why input was not accepted. What was accepted before stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The write starts where it cannot.
    #[error("write input at offset {asked}: the next byte belongs at offset {expected}")]
    Offset {
        /// Where it starts.
        asked: u64,
        /// Where the next byte belongs.
        expected: u64,
    },
    /// The input has ended.
    #[error("write input: it was ended at offset {accepted}")]
    Closed {
        /// Where.
        accepted: u64,
    },
    /// Nobody reads it: the command ended, closed its input, or has none.
    #[error("write input: nobody reads it any more, {accepted} bytes were accepted")]
    Gone {
        /// How many bytes were accepted.
        accepted: u64,
    },
    /// A newer call has taken over.
    #[error("write input: set aside by a later call, {accepted} bytes were accepted")]
    Evicted {
        /// How many bytes were accepted.
        accepted: u64,
    },
}

impl InputError {
    /// What the caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Offset { .. } | Self::Closed { .. } | Self::Gone { .. } => Kind::Refused,
            Self::Evicted { .. } => Kind::Superseded,
        }
    }
}

/// What one attempt came to.
enum Step {
    Done,
    Again,
    Wait(Arc<Outlet>),
}

impl Input {
    /// Input of an exec that has not started.
    pub fn new() -> Self {
        let state =
            State { inbox: Inbox::default(), sink: Sink::None, generation: 0, line_pending: false };
        Self { state: Mutex::new(state), turn: tokio::sync::Mutex::new(()), changed: Notify::new() }
    }

    /// Connects it to the write end of the command's pipe; must be nonblocking.
    pub(super) fn attach_pipe(&self, pipe: OwnedFd) {
        self.state.lock().sink = Sink::Pipe(Outlet::new(Arc::new(pipe), Watch::Itself));
    }

    /// Connects it to the command's terminal; must be nonblocking.
    pub(super) fn attach_terminal(&self, master: Arc<OwnedFd>) {
        self.state.lock().sink = Sink::Terminal(Outlet::new(master, Watch::Copy));
    }

    /// The command has ended: nothing is accepted any more, and whoever inherited its input
    /// finds the end of it.
    pub(super) fn finish(&self) {
        self.state.lock().sink = Sink::None;
        self.changed.notify_waiters();
    }

    /// Accepts `data` at `offset`, and the end after it if `end` says so. Returns once all of it
    /// is accepted.
    ///
    /// If the future is dropped, a prefix of the data has been accepted; writing the same again
    /// accepts the rest.
    pub async fn write(
        &self,
        writer: Writer,
        offset: u64,
        data: &[u8],
        end: End,
    ) -> Result<(), InputError> {
        let write = Write { offset, length: data.len(), end };
        let turn = tokio::select! {
            turn = self.turn.lock() => turn,
            error = self.evicted(writer) => return Err(error),
        };
        loop {
            let changed = self.changed.notified();
            match self.step(writer, write, data)? {
                Step::Done => break,
                Step::Again => tokio::task::coop::consume_budget().await,
                Step::Wait(sink) => {
                    let Ok(watched) = sink.watched() else {
                        // The reactor has no room for it: look again a little later.
                        tokio::time::sleep(UNWATCHED_PAUSE).await;
                        continue;
                    };
                    let ready = tokio::select! {
                        ready = watched.writable() => ready,
                        () = changed => continue,
                    };
                    // Registered with the reactor for as long as `sink` lives.
                    let Ok(mut ready) = ready else { continue };
                    if let Step::Wait(_) = self.step(writer, write, data)? {
                        ready.clear_ready();
                    }
                }
            }
        }
        drop(turn);
        Ok(())
    }

    /// Opens a stream of writes that starts at `offset`, which must be where the next byte
    /// belongs.
    pub fn open_stream(&self, offset: u64) -> Result<Writer, InputError> {
        let state = self.state.lock();
        let expected = state.inbox.accepted();
        if offset == expected {
            Ok(Writer::Stream(state.generation))
        } else {
            Err(InputError::Offset { asked: offset, expected })
        }
    }

    /// Sets aside every stream that is open, and says how many bytes have been accepted and
    /// whether the input was ended. Nothing of a stream that was set aside is accepted later.
    pub fn status(&self) -> (u64, Ended) {
        let mut state = self.state.lock();
        state.generation += 1;
        let ended = if state.inbox.is_closed() { Ended::Yes } else { Ended::No };
        let status = (state.inbox.accepted(), ended);
        drop(state);
        self.changed.notify_waiters();
        status
    }

    /// Sets aside every stream that is open and opens another, whose first byte belongs behind the
    /// bytes that were accepted, in one step.
    pub(super) fn take_over(&self) -> (Writer, u64) {
        let mut state = self.state.lock();
        state.generation += 1;
        let taken = (Writer::Stream(state.generation), state.inbox.accepted());
        drop(state);
        self.changed.notify_waiters();
        taken
    }

    /// A stream in place of one that [`Input::status`] set aside; sets nothing aside itself.
    pub fn rejoin(&self) -> Writer {
        Writer::Stream(self.state.lock().generation)
    }

    /// How many bytes have been accepted, and whether none can follow: the input was ended, has no
    /// reader any more, or was not connected yet. Sets nothing aside.
    pub fn peek(&self) -> (u64, Ended) {
        let state = self.state.lock();
        let ended = match state.sink {
            Sink::None => Ended::Yes,
            Sink::Pipe(_) | Sink::Terminal(_) if state.inbox.is_closed() => Ended::Yes,
            Sink::Pipe(_) | Sink::Terminal(_) => Ended::No,
        };
        (state.inbox.accepted(), ended)
    }

    /// Resolves when `writer` is set aside; never for a single write. Cancel-safe.
    pub async fn evicted(&self, writer: Writer) -> InputError {
        loop {
            let changed = self.changed.notified();
            if let Some(error) = self.state.lock().eviction(writer) {
                return error;
            }
            changed.await;
        }
    }

    fn step(&self, writer: Writer, write: Write, data: &[u8]) -> Result<Step, InputError> {
        let mut state = self.state.lock();
        if let Some(error) = state.eviction(writer) {
            return Err(error);
        }
        let accepted = state.inbox.accepted();
        match state.inbox.admit(write) {
            Ok(Admission::Done) => Ok(Step::Done),
            Ok(Admission::Bytes { skip }) => state.push(&data[skip..]),
            Ok(Admission::Close) => state.close(),
            Err(Refusal::Gap { expected }) => {
                Err(InputError::Offset { asked: write.offset, expected })
            }
            Err(Refusal::Closed { .. }) => Err(InputError::Closed { accepted }),
        }
    }
}

impl Default for Input {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether the input has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It has.
    Yes,
    /// It has not.
    No,
}

impl State {
    fn eviction(&self, writer: Writer) -> Option<InputError> {
        match writer {
            Writer::Stream(generation) if generation < self.generation => {
                Some(InputError::Evicted { accepted: self.inbox.accepted() })
            }
            Writer::Stream(_) | Writer::Single => None,
        }
    }

    fn push(&mut self, data: &[u8]) -> Result<Step, InputError> {
        let sink = match &self.sink {
            Sink::Pipe(sink) | Sink::Terminal(sink) => sink.clone(),
            Sink::None => return Err(self.gone()),
        };
        match rustix::io::write(sink.fd.as_fd(), data) {
            Ok(taken) => {
                self.inbox.wrote(taken);
                let last = data[..taken].last();
                self.line_pending = last.is_some_and(|byte| !matches!(byte, b'\n' | b'\r'));
                Ok(Step::Again)
            }
            Err(Errno::AGAIN) => Ok(Step::Wait(sink)),
            Err(Errno::INTR) => Ok(Step::Again),
            Err(_) => {
                self.sink = Sink::None;
                Err(self.gone())
            }
        }
    }

    /// Ends the input: a pipe is closed; a terminal gets the byte that means the end, twice if a
    /// line is unfinished, because the first one then only hands over that line (termios(3),
    /// VEOF).
    fn close(&mut self) -> Result<Step, InputError> {
        if let Sink::Terminal(sink) = &self.sink {
            let ends = [pty::end_of_input(&sink.fd); 2];
            let ends = if self.line_pending { &ends[..] } else { &ends[..1] };
            match rustix::io::write(sink.fd.as_fd(), ends) {
                Ok(0) | Err(Errno::AGAIN) => return Ok(Step::Wait(sink.clone())),
                // The second byte follows at the next step.
                Ok(1) if ends.len() == 2 => {
                    self.line_pending = false;
                    return Ok(Step::Again);
                }
                // A terminal that is gone has reached its end.
                Ok(_) | Err(_) => {}
            }
        }
        self.sink = match std::mem::replace(&mut self.sink, Sink::None) {
            // The terminal stays: an end of its input is a byte, and the next reader finds more.
            Sink::Terminal(sink) => Sink::Terminal(sink),
            Sink::Pipe(_) | Sink::None => Sink::None,
        };
        self.inbox.close();
        Ok(Step::Done)
    }

    fn gone(&self) -> InputError {
        InputError::Gone { accepted: self.inbox.accepted() }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pipe() -> (Input, std::fs::File) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let input = Input::new();
        input.attach_pipe(writer);
        (input, reader.into())
    }

    fn read_all(mut reader: std::fs::File) -> std::thread::JoinHandle<Vec<u8>> {
        std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            all
        })
    }

    #[tokio::test]
    async fn a_long_write_and_an_end_behind_it_arrive_whole() {
        let (input, reader) = pipe();
        let data: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
        let reader = read_all(reader);
        let (write, close) = tokio::join!(
            input.write(Writer::Single, 0, &data, End::Open),
            input.write(Writer::Single, 0, &[], End::Closes),
        );
        assert_eq!((write, close), (Ok(()), Ok(())));
        assert!(reader.join().unwrap() == data);
        assert_eq!(input.status(), (1_000_000, Ended::Yes));
        let again = input.write(Writer::Single, 999_999, &[63], End::Closes).await;
        assert_eq!(again, Ok(()), "a repeat of what was accepted");
        let more = input.write(Writer::Single, 1_000_000, b"x", End::Open).await;
        assert_eq!(more, Err(InputError::Closed { accepted: 1_000_000 }));
    }

    #[tokio::test]
    async fn status_sets_a_blocked_stream_aside_and_its_count_is_final() {
        let (input, reader) = pipe();
        let input = Arc::new(input);
        let stream = input.open_stream(0).unwrap();
        let blocked = tokio::spawn({
            let input = input.clone();
            async move { input.write(stream, 0, &[7; 1 << 20], End::Closes).await }
        });
        while input.state.lock().inbox.accepted() == 0 {
            tokio::task::yield_now().await;
        }
        let (accepted, ended) = input.status();
        assert_eq!(ended, Ended::No);
        assert_eq!(blocked.await.unwrap(), Err(InputError::Evicted { accepted }));
        assert_eq!(input.open_stream(accepted + 1).unwrap_err().kind(), Kind::Refused);
        input.finish();
        assert_eq!(read_all(reader).join().unwrap().len() as u64, accepted);
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_is_named_with_what_was_accepted() {
        let (input, reader) = pipe();
        input.write(Writer::Single, 0, b"abc", End::Open).await.unwrap();
        drop(reader);
        let gone = input.write(Writer::Single, 3, b"d", End::Open).await;
        assert_eq!(gone, Err(InputError::Gone { accepted: 3 }));
        assert_eq!(input.write(Writer::Single, 3, &[], End::Closes).await, Ok(()));
    }
}
