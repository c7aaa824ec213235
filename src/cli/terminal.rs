//! The user's own terminal: its size, and raw mode that is always undone.

use std::{
    io::{self, stdin, stdout},
    os::fd::{AsFd, OwnedFd},
};

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// Raw mode of the terminal that standard input is; dropping it restores what was.
pub(super) struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    /// Sets raw mode, if standard input is a terminal.
    pub(super) fn set() -> io::Result<Option<Self>> {
        let stdin = stdin();
        if !isatty(&stdin) {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let raw = Self { terminal: stdin.as_fd().try_clone_to_owned()?, before };
        let mut modes = raw.before.clone();
        modes.make_raw();
        tcsetattr(&raw.terminal, OptionalActions::Now, &modes)?;
        Ok(Some(raw))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Rows and columns of the terminal that standard output or input is; zeros where neither is.
pub(super) fn size() -> (u32, u32) {
    let size = tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stdin()));
    size.map_or((0, 0), |size| (size.ws_row.into(), size.ws_col.into()))
}

/// Columns of the terminal that standard output is, if it is one and knows them.
pub(super) fn columns() -> Option<usize> {
    let size = tcgetwinsize(stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}
