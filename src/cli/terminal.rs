//! The user's own terminal: its size, and raw mode that is always undone.

use std::{
    io::{self, stdin, stdout},
    os::fd::{AsFd, OwnedFd},
};

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// Raw mode of a terminal; dropping it restores what was, after a panic too.
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
        Self::of(stdin.as_fd().try_clone_to_owned()?).map(Some)
    }

    fn of(terminal: OwnedFd) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let raw = Self { terminal, before };
        raw.renew()?;
        Ok(raw)
    }

    /// Sets raw mode again: who stopped and continued us may have changed it.
    pub(super) fn renew(&self) -> io::Result<()> {
        let mut modes = self.before.clone();
        modes.make_raw();
        Ok(tcsetattr(&self.terminal, OptionalActions::Now, &modes)?)
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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rustix::{
        fs::{Mode, OFlags, open},
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
        termios::LocalModes,
    };

    use super::*;

    #[test]
    fn what_was_is_restored_after_a_panic() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let before = format!("{:?}", tcgetattr(&terminal).unwrap());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _raw = Raw::of(terminal.try_clone().unwrap()).unwrap();
            assert!(!tcgetattr(&terminal).unwrap().local_modes.contains(LocalModes::ICANON));
            panic!("as a defect would");
        }));
        assert!(panicked.is_err());
        assert_eq!(format!("{:?}", tcgetattr(&terminal).unwrap()), before);
    }
}
