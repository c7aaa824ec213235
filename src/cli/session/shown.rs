//! Our side of an exec's outputs: standard output and standard error, and the lines of ours among
//! them.
//!
//! Writing blocks for as long as the terminal likes, so that each stream has a thread. What it has
//! not taken yet is bounded; who writes waits for room with [`Shown::room`].

use std::{
    io::{self, Write, stderr, stdout},
    os::fd::AsFd,
    thread,
};

use bytes::Bytes;
use rustix::termios::isatty;
use tokio::sync::{mpsc, oneshot};

use super::{
    Kind,
    lines::{above, over},
};
use crate::{
    cli::{
        show::human::printable,
        streams::{PIECES, write_all},
        terminal,
    },
    core::{ids::Stream, modes::Modes, spec::WindowSize},
};

/// What people see.
pub(super) struct Shown {
    outlets: [Outlet; 2],
    screen: Screen,
}

/// Whose the terminal is.
enum Screen {
    /// A program's, whose modes are followed.
    Program(Modes),
    /// Nobody's in particular: our lines are lines like any other, with this end.
    Plain { end: &'static str },
}

/// One stream of ours and the thread that writes it.
struct Outlet {
    pieces: Option<mpsc::Sender<Bytes>>,
    /// How its thread ended; `None` once that was told.
    written: Option<oneshot::Receiver<io::Result<()>>>,
}

impl Shown {
    /// Takes standard output for an exec's terminal, and both outputs for an exec without one.
    pub(super) fn new(exec: Kind) -> io::Result<Self> {
        let screen = match exec {
            Kind::Terminal if isatty(stdout()) => Screen::Program(Modes::default()),
            // Our input is in raw mode, in which a newline is no return.
            Kind::Terminal => Screen::Plain { end: "\r\n" },
            Kind::Streams => Screen::Plain { end: "\n" },
        };
        let outlets = [Outlet::of(stdout())?, Outlet::of(stderr())?];
        Ok(Self { outlets, screen })
    }

    /// Returns when the next piece for `stream` can be taken. An error is that of an earlier one.
    /// Dropping the future changes nothing.
    pub(super) async fn room(&mut self, stream: Stream) -> io::Result<()> {
        let outlet = self.outlet(stream);
        match &outlet.pieces {
            Some(pieces) if pieces.reserve().await.is_ok() => Ok(()),
            // The thread has ended, which it does of itself only for an error.
            Some(_) | None => outlet.end().await.and(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Shows a piece of output; [`Shown::room`] has returned since the last one.
    pub(super) fn show(&mut self, stream: Stream, piece: Bytes) {
        if let (Screen::Program(modes), Stream::Stdout) = (&mut self.screen, stream) {
            modes.follow(&piece);
        }
        self.send(stream, piece);
    }

    /// Says something in a line of its own, without harm to what the screen shows.
    pub(super) fn say(&mut self, text: &str) {
        // The agent may repeat what a command of the container made up.
        let line = format!("doorward: {}", printable(text));
        let modes = match &self.screen {
            Screen::Program(modes) => modes,
            Screen::Plain { end } => {
                // Who closed our standard error does not want to read it.
                let _ = write!(stderr(), "{line}{end}");
                return;
            }
        };
        let (rows, columns) = terminal::size();
        let size = WindowSize::new(rows, columns);
        let drawn = if modes.full_screen() { over(&line, size) } else { above(&line, size) };
        let bytes = modes.aside(&drawn);
        self.send(Stream::Stdout, bytes.into());
    }

    /// Draws a whole screen in place of what is shown.
    pub(super) fn draw(&mut self, screen: &[u8]) {
        let before = match &mut self.screen {
            // What is drawn says itself which modes are on.
            Screen::Program(modes) => [&modes.undo()[..], b"\x1b[H\x1b[2J"].concat(),
            Screen::Plain { .. } => Vec::new(),
        };
        self.show(Stream::Stdout, [&before[..], screen].concat().into());
    }

    /// Whether a program has all of the terminal, so that it alone can draw over our lines.
    pub(super) fn full_screen(&self) -> bool {
        match &self.screen {
            Screen::Program(modes) => modes.full_screen(),
            Screen::Plain { .. } => false,
        }
    }

    /// Puts the terminal's modes back and returns when everything was written; an error if nobody
    /// takes it.
    pub(super) async fn close(mut self) -> io::Result<()> {
        if let Screen::Program(modes) = &mut self.screen {
            let undo = modes.undo();
            self.room(Stream::Stdout).await?;
            self.send(Stream::Stdout, undo.into());
        }
        for outlet in &mut self.outlets {
            outlet.pieces = None;
        }
        let [out, err] = &mut self.outlets;
        out.end().await.and(err.end().await)
    }

    fn send(&mut self, stream: Stream, piece: Bytes) {
        if let Some(pieces) = &self.outlet(stream).pieces {
            // A line of ours that finds no room on a stopped terminal is not worth waiting for; an
            // output that has ended is told by `room`.
            let _ = pieces.try_send(piece);
        }
    }

    fn outlet(&mut self, stream: Stream) -> &mut Outlet {
        let [out, err] = &mut self.outlets;
        match stream {
            Stream::Stdout => out,
            Stream::Stderr => err,
        }
    }
}

impl Outlet {
    fn of(stream: impl AsFd) -> io::Result<Self> {
        let to = stream.as_fd().try_clone_to_owned()?;
        // One more than a reader may fill, for a line of ours.
        let (pieces, received) = mpsc::channel(PIECES + 1);
        let (tell, written) = oneshot::channel();
        thread::spawn(move || {
            // Nobody listens once we were told to leave.
            let _ = tell.send(write_all(received, to.into()));
        });
        Ok(Self { pieces: Some(pieces), written: Some(written) })
    }

    /// Waits for the end of the thread. Dropping the future changes nothing.
    async fn end(&mut self) -> io::Result<()> {
        let gone = || Err(io::ErrorKind::BrokenPipe.into());
        let Some(written) = &mut self.written else { return gone() };
        let end = written.await.unwrap_or_else(|_| gone());
        self.written = None;
        end
    }
}
