//! The signals that mean something to who sits before an exec.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Leave, with this exit code: 128 and the signal, as a shell has it.
    Leave(u8),
    /// Our terminal has another size.
    Resized,
    /// We were stopped and go on: our terminal may be in any state.
    Continued,
}

/// From its making on, none of these signals ends us by itself.
pub(crate) struct Signals {
    /// HUP, INT, QUIT, TERM.
    leaving: [Signal; 4],
    resized: Signal,
    continued: Signal,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        let leaving = [
            signal(SignalKind::hangup())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::quit())?,
            signal(SignalKind::terminate())?,
        ];
        let resized = signal(SignalKind::window_change())?;
        Ok(Self { leaving, resized, continued: signal(SignalKind::from_raw(libc::SIGCONT))? })
    }

    /// Waits for the next one. Dropping the future loses none.
    pub(crate) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.resized.recv() => Told::Resized,
            _ = self.continued.recv() => Told::Continued,
            code = leaving(&mut self.leaving) => Told::Leave(code),
        }
    }

    /// Waits for one that means: leave. The others are kept for [`Signals::next`].
    pub(crate) async fn leave(&mut self) -> u8 {
        leaving(&mut self.leaving).await
    }
}

async fn leaving([hang_up, interrupt, quit, terminate]: &mut [Signal; 4]) -> u8 {
    tokio::select! {
        _ = hang_up.recv() => 128 + 1,
        _ = interrupt.recv() => 128 + 2,
        _ = quit.recv() => 128 + 3,
        _ = terminate.recv() => 128 + 15,
    }
}
