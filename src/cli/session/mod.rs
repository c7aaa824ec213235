//! Sitting before an exec: its terminal or its streams as ours, until it ends or we leave.
//!
//! One task gathers what happens (keys, output, signals) and does one thing at a time; reading
//! and writing our own streams have threads. Our terminal is in raw mode from the moment that the
//! exec's is shown in it, and what was is restored on every way out but SIGKILL.

mod ending;
mod escape;
mod feed;
mod lines;
pub(super) mod login;
mod redraw;
mod shown;
mod signals;
mod sitting;

use std::io::{Write, stderr};

pub(super) use self::{escape::EscapeKey, signals::Signals, sitting::sit};
use crate::client::{AttachRole, AttachStart, Client};

/// What is said of escapes and of leaving in the help of both commands.
pub(super) const AFTER_HELP: &str = "\
Escapes, typed where a line begins:
  ~.  end the exec with all that it started, and leave. Who only looks, or has no connection,
      just leaves
  ~d  leave, and it goes on: `doorward attach ID` comes back
  ~w  write again, after another terminal took over
  ~r  draw the screen again
  ~?  list the escapes
  ~~  a tilde
There are none where standard input is no terminal.

Exit code: the exec's own, 128+n if signal n ended it; 0 after ~d, and after ~. of who only looked;
128+n if signal n (TERM, HUP, INT, QUIT) told us to leave: the exec goes on; 125 if it was not the exec
that failed.

The terminal's settings are put back on every way out but SIGKILL. After that, type `stty sane` and
Enter, though it may not be seen, or `reset` if the screen is in disorder too.";

/// What an exec has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Terminal,
    Streams,
}

/// What becomes of the exec if we leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It goes on.
    Keeps,
    /// Its agent ends, and so does it.
    Ends,
}

/// What to sit before, and how.
pub(super) struct Session {
    pub(super) client: Client,
    /// Where the agent is, for people.
    pub(super) address: String,
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) start: AttachStart,
    pub(super) role: AttachRole,
    pub(super) leaving: Leaving,
    pub(super) escape: EscapeKey,
    /// What is to be said first, once something is shown.
    pub(super) greeting: Option<String>,
}

/// Says something on standard error, which may be closed.
pub(super) fn tell(text: &str) {
    let _ = writeln!(stderr(), "doorward: {text}");
}
