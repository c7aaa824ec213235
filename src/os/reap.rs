//! The one waiter: only this module takes exit statuses from the kernel.
//!
//! Every child of the process is reaped, by one `wait4(-1)` loop at each SIGCHLD: the commands
//! that were started, children that failed before they became a program, and orphans that fall
//! to us as PID 1 or subreaper. A status is delivered exactly once, to whoever holds the
//! [`Exit`] of that birth; statuses of strangers are dropped.
//!
//! A child may end before its birth is written down: the thread that starts it is stopped until
//! then. Its status is kept while any birth is under way, and claimed by [`Birth::born`]. A pid
//! that is reused in between cannot be mistaken: a claim asks the kernel whether a child of that
//! number is still there, and if so the kept status is a stranger's.
//!
//! No pidfd is kept for a child: as long as it has not been reaped, its pid is its own, and
//! [`Reaper::signal`] and the reaping exclude each other. That is one descriptor less an exec
//! and one way that works on every kernel.

use std::{collections::HashMap, sync::Arc, time::Instant};

use parking_lot::Mutex;
use rustix::{
    io::Errno,
    process::{
        Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, set_child_subreaper,
        waitid,
    },
};
use tokio::sync::oneshot;

use super::usage;
use crate::core::{outcome::ExitStatus, usage::Usage};

/// Takes exit statuses and hands them out. One a process.
#[derive(Default)]
pub struct Reaper {
    /// Guards the table and the act of reaping, so that a pid in the table is never a reused one.
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    waiting: HashMap<Pid, oneshot::Sender<Reaped>>,
    /// Statuses of children that nobody has claimed, while a birth is under way.
    unclaimed: HashMap<Pid, Reaped>,
    births: usize,
    orphans: u64,
}

/// A start that is under way.
pub struct Birth {
    reaper: Arc<Reaper>,
}

/// The end of one child, to be awaited. Cancel-safe: the status waits in the channel.
pub type Exit = oneshot::Receiver<Reaped>;

/// What the kernel said of a child that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaped {
    /// How it ended.
    pub status: ExitStatus,
    /// When we were told.
    pub at: Instant,
    /// What it and the children that it waited for had used up.
    pub usage: Usage,
}

impl Reaper {
    /// Makes this process the one that orphans of its descendants fall to
    /// (PR_SET_CHILD_SUBREAPER, prctl(2)). Call before the first child.
    pub fn adopt_orphans() -> Result<(), Errno> {
        // The argument's only meaning is "on".
        set_child_subreaper(Some(rustix::process::getpid()))
    }

    /// Announces that a child is about to be made.
    pub fn birth(self: &Arc<Self>) -> Birth {
        self.table.lock().births += 1;
        Birth { reaper: self.clone() }
    }

    /// Takes every status the kernel has. Call at SIGCHLD, and once after the handler is there.
    pub fn reap(&self) {
        let mut table = self.table.lock();
        while let Some((pid, reaped)) = wait_any() {
            match table.waiting.remove(&pid) {
                // The owner may be gone; then nobody asks for the status.
                Some(owner) => drop(owner.send(reaped)),
                None if table.births > 0 => {
                    table.unclaimed.insert(pid, reaped);
                }
                None => table.orphans += 1,
            }
        }
    }

    /// Sends `signal` to a child of ours, unless it has been reaped.
    pub fn signal(&self, pid: Pid, signal: Signal) -> Result<(), Errno> {
        let table = self.table.lock();
        if table.waiting.contains_key(&pid) { kill_process(pid, signal) } else { Err(Errno::SRCH) }
    }

    /// Sends `signal` to the process group that a child of ours leads, unless it has been reaped.
    pub fn signal_group(&self, leader: Pid, signal: Signal) -> Result<(), Errno> {
        let table = self.table.lock();
        let ours = table.waiting.contains_key(&leader);
        if ours { kill_process_group(leader, signal) } else { Err(Errno::SRCH) }
    }

    /// Orphans reaped so far.
    pub fn orphans(&self) -> u64 {
        self.table.lock().orphans
    }
}

impl Birth {
    /// Writes the child down. Its status comes through what is returned, also if it has ended.
    pub fn born(self, pid: Pid) -> Exit {
        let (owner, exit) = oneshot::channel();
        let mut table = self.reaper.table.lock();
        match table.unclaimed.remove(&pid) {
            Some(reaped) if !is_child(pid) => drop(owner.send(reaped)),
            Some(_) | None => {
                table.waiting.insert(pid, owner);
            }
        }
        exit
    }
}

impl Drop for Birth {
    fn drop(&mut self) {
        let mut table = self.reaper.table.lock();
        table.births -= 1;
        if table.births == 0 {
            table.orphans += table.unclaimed.len() as u64;
            table.unclaimed.clear();
            if table.unclaimed.capacity() > 64 {
                table.unclaimed.shrink_to_fit();
            }
        }
    }
}

fn wait_any() -> Option<(Pid, Reaped)> {
    loop {
        let (mut status, mut used) = (0, usage::empty());
        // SAFETY: both are ours to be written. __WALL takes children of every kind, also those
        // made without SIGCHLD by a debugger's clone.
        let pid = unsafe {
            libc::wait4(-1, &raw mut status, libc::WNOHANG | libc::__WALL, &raw mut used)
        };
        // 0: none has ended; -1: there are none (ECHILD).
        let pid = if pid > 0 { Pid::from_raw(pid)? } else { return None };
        let at = Instant::now();
        let status = if libc::WIFEXITED(status) {
            ExitStatus::Code(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
        } else if libc::WIFSIGNALED(status) {
            ExitStatus::Signal(libc::WTERMSIG(status))
        } else {
            continue;
        };
        return Some((pid, Reaped { status, at, usage: usage::of_ended(&used) }));
    }
}

/// Whether an unreaped child of this number exists.
fn is_child(pid: Pid) -> bool {
    let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(pid), peek), Err(Errno::CHILD))
}
