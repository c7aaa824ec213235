//! Signals that ask a command of ours to end, for those that have something to say or to clean up before.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Somebody wants us to end, with this exit code.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub(super) struct Stopped(pub(super) u8);

/// Listens from this moment on for signals that mean: end.
pub(super) fn stopped() -> io::Result<impl Future<Output = Stopped>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    // 128 and the signal, as a shell has it.
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => Stopped(128 + 2),
            _ = terminate.recv() => Stopped(128 + 15),
            _ = hang_up.recv() => Stopped(128 + 1),
        }
    })
}
