//! An exec's terminal, as far as its size goes: changing it, and what it was when.
//!
//! The descriptor belongs to the pump that reads it and to the input that writes it; here it is
//! only borrowed, so that a size costs no descriptor and keeps no terminal open.

use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    sync::{Arc, OnceLock, Weak},
};

use parking_lot::Mutex;
use rustix::io::Errno;
use tokio::sync::watch;

use crate::{
    core::{failure::Kind, limits::WINDOW_SIZES_MAX, spec::WindowSize},
    os::pty,
};

/// The terminal of one exec.
pub(super) struct Terminal {
    /// Our end; gone once the terminal is closed.
    master: OnceLock<Weak<OwnedFd>>,
    /// Which size from which offset of the output on, the oldest first; never empty. Held while the
    /// kernel's size is changed, so that the last entry is the terminal's.
    sizes: Mutex<VecDeque<(u64, WindowSize)>>,
    /// The last of them, for those who wait for a change.
    window: watch::Sender<WindowSize>,
}

/// Why a size was not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResizeError {
    /// The exec was started with pipes.
    #[error("resize the terminal: the exec has none")]
    NoTerminal,
    /// Its process is being made.
    #[error("resize the terminal: the exec has not started")]
    Starting,
    /// Nothing has it open any more.
    #[error("resize the terminal: it is closed")]
    Closed,
    /// The kernel refused it.
    #[error("resize the terminal: {0}")]
    Kernel(Errno),
}

impl ResizeError {
    /// What the caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoTerminal | Self::Starting | Self::Closed => Kind::Refused,
            Self::Kernel(_) => Kind::Internal,
        }
    }
}

impl Terminal {
    /// A terminal that will be made with this size.
    pub(super) fn new(size: WindowSize) -> Self {
        Self {
            master: OnceLock::new(),
            sizes: Mutex::new(VecDeque::from([(0, size)])),
            window: watch::Sender::new(size),
        }
    }

    /// The terminal exists.
    pub(super) fn made(&self, master: &Arc<OwnedFd>) {
        // A process is born once.
        let _ = self.master.set(Arc::downgrade(master));
    }

    /// Our end, as long as it is open.
    pub(super) fn master(&self) -> Result<Arc<OwnedFd>, ResizeError> {
        let master = self.master.get().ok_or(ResizeError::Starting)?;
        master.upgrade().ok_or(ResizeError::Closed)
    }

    /// Changes the size; the kernel tells the group in the foreground if it is another one.
    /// `written` says how much output there is.
    pub(super) fn resize(
        &self,
        size: WindowSize,
        written: impl FnOnce() -> u64,
    ) -> Result<(), ResizeError> {
        let master = self.master()?;
        let mut sizes = self.sizes.lock();
        // Before the change: what answers it must not be counted to the old size.
        let offset = written();
        pty::resize(&master, size).map_err(ResizeError::Kernel)?;
        note(&mut sizes, offset, size);
        self.window.send_if_modified(|window| std::mem::replace(window, size) != size);
        Ok(())
    }

    /// The size, and its changes.
    pub(super) fn window(&self) -> watch::Receiver<WindowSize> {
        self.window.subscribe()
    }

    /// Which size from which offset of the output on; the first entry begins at 0.
    pub(super) fn sizes(&self) -> Vec<(u64, WindowSize)> {
        self.sizes.lock().iter().copied().collect()
    }
}

/// Adds a size to the history. Of those at one offset only the last one was ever drawn in; when
/// there are too many, the oldest is as if it had never been.
fn note(sizes: &mut VecDeque<(u64, WindowSize)>, offset: u64, size: WindowSize) {
    if sizes.back().is_some_and(|(_, last)| *last == size) {
        return;
    }
    if sizes.back().is_some_and(|(last, _)| *last == offset) {
        sizes.pop_back();
    }
    if sizes.back().is_some_and(|(_, last)| *last == size) {
        return;
    }
    sizes.push_back((offset, size));
    if sizes.len() > WINDOW_SIZES_MAX {
        sizes.pop_front();
        if let Some((first, _)) = sizes.front_mut() {
            *first = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(n: u32) -> WindowSize {
        WindowSize::new(n, n)
    }

    #[test]
    fn the_history_keeps_what_was_drawn_in_and_is_bounded() {
        let mut sizes = VecDeque::from([(0, size(1))]);
        for (offset, n) in [(0, 2), (5, 2), (5, 3), (5, 4), (5, 2), (9, 5)] {
            note(&mut sizes, offset, size(n));
        }
        assert_eq!(sizes, [(0, size(2)), (9, size(5))]);
        for n in 0..1000 {
            note(&mut sizes, 10 + u64::from(n), size(10 + n));
        }
        assert_eq!(sizes.len(), WINDOW_SIZES_MAX);
        assert_eq!(sizes.front().map(|(offset, _)| *offset), Some(0));
        assert_eq!(sizes.back(), Some(&(1009, size(1009))));
    }

    #[test]
    fn a_size_reaches_the_kernel_until_the_terminal_is_closed() {
        let terminal = Terminal::new(size(24));
        assert_eq!(terminal.resize(size(30), || 0), Err(ResizeError::Starting));
        let pair = pty::pair(size(24), None).unwrap();
        let master = Arc::new(pair.master);
        terminal.made(&master);
        let mut window = terminal.window();
        terminal.resize(WindowSize::new(30, 100), || 7).unwrap();
        let found = rustix::termios::tcgetwinsize(&pair.slave).unwrap();
        assert_eq!((found.ws_row, found.ws_col), (30, 100));
        assert!(window.has_changed().unwrap());
        assert_eq!(*window.borrow_and_update(), WindowSize::new(30, 100));
        terminal.resize(WindowSize::new(30, 100), || 9).unwrap();
        assert!(!window.has_changed().unwrap(), "the same size is no change");
        assert_eq!(terminal.sizes(), [(0, size(24)), (7, WindowSize::new(30, 100))]);
        drop(master);
        assert_eq!(terminal.resize(size(31), || 9), Err(ResizeError::Closed));
        assert_eq!(terminal.sizes().len(), 2);
    }
}
