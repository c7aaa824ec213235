//! What callers have done to a running exec: signals, and its end with everything that came of it.

mod cancel;

use std::sync::Arc;

use rustix::{
    io::Errno,
    process::{Pid, Signal},
    termios::{tcgetpgrp, tcgetsid},
};

pub(super) use self::cancel::Cancelling;
pub use self::cancel::cancel;
use super::{engine::Engine, handle::Exec};
use crate::{
    core::{failure::Kind, outcome::StartFailure},
    os::{
        tree::{Leader, Tree},
        work::Share,
    },
};

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The exec's first process.
    Leader,
    /// The group in the foreground of its terminal; without a terminal, the group that its first
    /// process leads or led.
    Group,
    /// Every process that came of it.
    Tree,
}

/// Why a signal was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignalError {
    /// Its process is being made.
    #[error("send a signal: the exec has not started")]
    Starting,
    /// Its process could not be made.
    #[error("send a signal: the exec never started: {0}")]
    Failed(StartFailure),
    /// Nothing of the target is there.
    #[error("send a signal: nothing of the target is left")]
    Gone,
    /// The agent lacks the right to.
    #[error("send a signal: not permitted: {0}")]
    Forbidden(Errno),
}

impl SignalError {
    /// What the caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Starting | Self::Failed(_) | Self::Gone | Self::Forbidden(_) => Kind::Refused,
        }
    }
}

impl From<Errno> for SignalError {
    fn from(errno: Errno) -> Self {
        if errno == Errno::SRCH { Self::Gone } else { Self::Forbidden(errno) }
    }
}

/// Sends a signal; returns to how many processes, where they were counted. If the future is
/// dropped, the signal is sent or not.
pub async fn signal(
    engine: &Engine,
    exec: &Exec,
    target: Target,
    signal: Signal,
) -> Result<Option<u32>, SignalError> {
    let tree = exec.tree().ok_or_else(|| match exec.poll() {
        Err(failure) => SignalError::Failed(failure),
        Ok(_) => SignalError::Starting,
    })?;
    let first = tree.leader().ok_or(SignalError::Gone)?;
    // Noted before it is sent: whoever asks why the process ended finds it.
    exec.note_sent(signal);
    match (target, leader(exec)) {
        (Target::Leader, _) => {
            engine.ground().reaper.signal(first, signal)?;
            Ok(Some(1))
        }
        (Target::Group, Leader::Alive) => {
            match foreground(exec, first) {
                Some(group) => rustix::process::kill_process_group(group, signal)?,
                None => engine.ground().reaper.signal_group(first, signal)?,
            }
            Ok(None)
        }
        (Target::Group, Leader::Reaped) => {
            counted(engine, tree, move |tree| tree.signal_group(Leader::Reaped, signal)).await
        }
        (Target::Tree, leader) => {
            counted(engine, tree, move |tree| tree.signal(leader, signal)).await
        }
    }
}

/// Whether the number of an exec's first process is still its own.
fn leader(exec: &Exec) -> Leader {
    match exec.poll() {
        Ok(None) => Leader::Alive,
        Ok(Some(_)) | Err(_) => Leader::Reaped,
    }
}

/// The group in the foreground of its terminal, if the terminal is still that of the exec's
/// session: the kernel lets only groups of that session into the foreground.
fn foreground(exec: &Exec, first: Pid) -> Option<Pid> {
    let master = exec.terminal()?.master().ok()?;
    if tcgetsid(&master).ok()? != first {
        return None;
    }
    tcgetpgrp(&master).ok()
}

async fn counted(
    engine: &Engine,
    tree: &Arc<Tree>,
    send: impl FnOnce(&Tree) -> usize + Send + 'static,
) -> Result<Option<u32>, SignalError> {
    let tree = tree.clone();
    match engine.work().run(Share::Scan, move || send(&tree)).await {
        0 => Err(SignalError::Gone),
        sent => Ok(Some(u32::try_from(sent).unwrap_or(u32::MAX))),
    }
}
