//! Ending a tree: what is found is stopped, looked for again, and killed.
//!
//! A tree may grow while it is being killed, so each process is stopped the moment it is found;
//! a scan that finds nothing that was not there at the last one means that all of them stand
//! still. Two such scans, because a fork that was under way becomes visible only at its end.
//! Then all are killed and waited for; a last look finds what still slipped through, and the
//! round begins again. Rounds, scans and time are bounded; what is left is named.

use std::{
    collections::{HashMap, HashSet},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group},
};

use super::{Leader, Scan, Scope, Tree, Way, trusted_leader};
use crate::{
    core::limits::{SWEEP, SWEEP_BARREN_SCANS_MAX, SWEEP_SCANS_MAX, SWEEP_WAIT_MIN},
    os::{
        cgroup::{Group, is_frozen},
        proc::{Proc, Process, State},
    },
};

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many processes were found and ended.
    pub killed: usize,
    /// What is still there.
    pub left: Vec<Left>,
}

/// A process that outlived a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Its number.
    pub pid: Pid,
    /// Its program's name, as it says itself.
    pub name: String,
    /// What keeps it, where that is known.
    pub hold: Option<Hold>,
}

/// What keeps a process that was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Its cgroup is frozen: it dies when it is thawed.
    Frozen,
    /// It waits for a disk or a mount in a way that no signal ends.
    Storage,
    /// We may not send it a signal.
    Forbidden,
}

impl Tree {
    /// Kills everything of the tree and waits until it is gone (a zombie is). Takes about
    /// [`SWEEP`] at the most. A second sweep of the same tree does no harm.
    pub fn sweep(&self, leader: Leader) -> Swept {
        let Ok(proc) = Proc::open() else { return self.sweep_unseen(leader) };
        self.strike_whole(&proc, leader);
        let until = Instant::now() + SWEEP;
        let mut sweep = Sweep { tree: self, proc: &proc, until, scans: 0, caught: HashMap::new() };
        loop {
            sweep.catch(leader);
            if sweep.caught.is_empty() {
                return Swept::default();
            }
            sweep.kill();
            sweep.wait();
            if sweep.is_clear(leader) || sweep.is_over() {
                return sweep.report();
            }
        }
    }

    /// What the kernel can do to many at once, with no fork in between: kill a cgroup, stop a
    /// process group.
    fn strike_whole(&self, proc: &Proc, leader: Leader) {
        match &self.scope {
            Scope::Exec { marks, start, .. } => {
                self.kill_group();
                let trusted = trusted_leader(proc, marks, start, leader);
                if let (Some(_), Leader::Alive) = (trusted, leader) {
                    // Who is in no such group any more is found by the scan.
                    let _ = kill_process_group(marks.leader, Signal::STOP);
                }
            }
            Scope::Agent(_) => {}
        }
    }

    pub(super) fn kill_group(&self) {
        match &self.scope {
            Scope::Exec { group, .. } => {
                if let Some(Err(error)) = group.lock().as_ref().map(Group::kill) {
                    tracing::warn!(%error, "ignoring a failure to kill a cgroup");
                }
            }
            Scope::Agent(_) => {}
        }
    }

    /// Without /proc there is the cgroup, and the group of a leader whose number is its own.
    fn sweep_unseen(&self, leader: Leader) -> Swept {
        let mut swept = Swept::default();
        match &self.scope {
            Scope::Exec { marks, .. } => {
                self.kill_group();
                let killed = leader == Leader::Alive
                    && kill_process_group(marks.leader, Signal::KILL).is_ok();
                swept.killed = usize::from(killed);
            }
            Scope::Agent(_) => {}
        }
        swept
    }
}

/// One sweep under way.
struct Sweep<'a> {
    tree: &'a Tree,
    proc: &'a Proc,
    until: Instant,
    scans: usize,
    /// By pid and start: how each that was found fares.
    caught: HashMap<(Pid, u64), Fate>,
}

/// How a process that was found fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It was sent a signal and may yet be there.
    Struck,
    /// It is no more.
    Gone,
    /// It did not end in time.
    Left,
    /// It cannot be signalled.
    Refused,
}

impl Sweep<'_> {
    /// Stops what is found until two scans in a row find nothing new. Processes that come and go
    /// unrecognised ask for a few scans more: one of ours may be among them.
    fn catch(&mut self, leader: Leader) {
        let mut barren = 0;
        let mut known = HashSet::new();
        while !self.is_over() {
            let before = self.caught.len();
            let unknown = self.scan(leader).unknown;
            barren = if self.caught.len() == before { barren + 1 } else { 0 };
            let needed = if unknown.is_subset(&known) { 2 } else { SWEEP_BARREN_SCANS_MAX };
            if barren >= needed {
                return;
            }
            known = unknown;
        }
    }

    /// Stops what was not known before.
    fn scan(&mut self, leader: Leader) -> Scan {
        self.scans += 1;
        let (tree, proc, caught) = (self.tree, self.proc, &mut self.caught);
        tree.scan(proc, leader, |process| {
            caught
                .entry((process.pid, process.start))
                .or_insert_with(|| fate_of(tree.way.send(proc, process, Signal::STOP)));
        })
    }

    fn kill(&mut self) {
        for ((pid, start), fate) in &mut self.caught {
            match fate {
                Fate::Struck => {
                    *fate = fate_of(self.tree.way.send_to(self.proc, *pid, *start, Signal::KILL));
                }
                Fate::Gone | Fate::Left | Fate::Refused => {}
            }
        }
    }

    /// Waits for each in turn: they are all dying at once, so this takes as long as the slowest.
    fn wait(&mut self) {
        let until = self.until.max(Instant::now() + SWEEP_WAIT_MIN);
        for ((pid, start), fate) in &mut self.caught {
            match fate {
                Fate::Struck => *fate = self.tree.way.wait(self.proc, (*pid, *start), until),
                Fate::Gone | Fate::Left | Fate::Refused => {}
            }
        }
    }

    /// Whether a last look shows nothing but what was given up.
    fn is_clear(&mut self, leader: Leader) -> bool {
        let living = self.scan(leader).members;
        let fate = |process: &Process| self.caught.get(&(process.pid, process.start));
        let given_up = [Some(&Fate::Left), Some(&Fate::Refused)];
        living.iter().all(|process| given_up.contains(&fate(process)))
    }

    fn is_over(&self) -> bool {
        self.scans >= SWEEP_SCANS_MAX || Instant::now() >= self.until
    }

    fn report(self) -> Swept {
        let mut swept = Swept::default();
        for ((pid, start), fate) in self.caught {
            match fate {
                Fate::Gone => swept.killed += 1,
                Fate::Struck | Fate::Left | Fate::Refused => {
                    let living = same(self.proc, pid, start);
                    if let Some((process, name)) = living.zip(self.proc.name(pid)) {
                        let hold = hold(&process, fate);
                        swept.left.push(Left { pid, name, hold });
                    } else {
                        swept.killed += 1;
                    }
                }
            }
        }
        swept.left.sort_by_key(|left| left.pid.as_raw_pid());
        swept
    }
}

fn fate_of(sent: Result<(), Errno>) -> Fate {
    match sent {
        Ok(()) => Fate::Struck,
        Err(Errno::SRCH) => Fate::Gone,
        Err(_) => Fate::Refused,
    }
}

/// Why a process is still there.
fn hold(process: &Process, fate: Fate) -> Option<Hold> {
    match (fate, process.state) {
        (Fate::Refused, _) => Some(Hold::Forbidden),
        (Fate::Struck | Fate::Left | Fate::Gone, _) if is_frozen(process.pid) => Some(Hold::Frozen),
        (Fate::Struck | Fate::Left | Fate::Gone, State::Blocked) => Some(Hold::Storage),
        (
            Fate::Struck | Fate::Left | Fate::Gone,
            State::Running | State::Sleeping | State::Stopped | State::Ended | State::Other,
        ) => None,
    }
}

/// This process, if it lives and is the one that started then.
fn same(proc: &Proc, pid: Pid, start: u64) -> Option<Process> {
    proc.process(pid).filter(|process| process.start == start && !process.is_gone())
}

impl Way {
    /// Sends a signal to this very process; ESRCH if it is gone.
    pub(super) fn send(self, proc: &Proc, process: &Process, signal: Signal) -> Result<(), Errno> {
        self.send_to(proc, process.pid, process.start, signal)
    }

    fn send_to(self, proc: &Proc, pid: Pid, start: u64, signal: Signal) -> Result<(), Errno> {
        match self.pidfd(pid) {
            // The number is the process's from its start on: if it still is, the pidfd that was
            // opened before this look is of the same process.
            Some(pidfd) => {
                let pidfd = pidfd?;
                same(proc, pid, start).ok_or(Errno::SRCH)?;
                rustix::process::pidfd_send_signal(&pidfd, signal)
            }
            None => {
                same(proc, pid, start).ok_or(Errno::SRCH)?;
                kill_process(pid, signal)
            }
        }
    }

    /// Opens a pidfd, where there are any; out of descriptors, it does without.
    fn pidfd(self, pid: Pid) -> Option<Result<rustix::fd::OwnedFd, Errno>> {
        match self {
            Self::Pidfd => match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
                Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => None,
                opened => Some(opened),
            },
            Self::Number => None,
        }
    }

    /// Waits for the end of a process that was killed.
    fn wait(self, proc: &Proc, (pid, start): (Pid, u64), until: Instant) -> Fate {
        let pidfd = self.pidfd(pid);
        let mut pause = Duration::from_micros(500);
        loop {
            if same(proc, pid, start).is_none() {
                return Fate::Gone;
            }
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Fate::Left;
            }
            match &pidfd {
                Some(Ok(pidfd)) => {
                    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
                    let timeout = Timespec::try_from(rest).ok();
                    // An interrupted poll is one round of this loop more.
                    let _ = rustix::event::poll(&mut fds, timeout.as_ref());
                }
                Some(Err(_)) | None => {
                    // There is no event to wait for on a kernel without pidfds.
                    thread::sleep(pause.min(rest));
                    pause = (pause * 2).min(Duration::from_millis(20));
                }
            }
        }
    }
}
