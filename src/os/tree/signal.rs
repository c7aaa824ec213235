//! Signals to the living processes of a tree, one by one.

use rustix::process::{Pid, Signal, kill_process_group};

use super::{Leader, Scope, Tree};
use crate::os::proc::{Proc, Process, State};

impl Tree {
    /// The exec's first process; `None` for the tree of a whole agent.
    pub fn leader(&self) -> Option<Pid> {
        match &self.scope {
            Scope::Exec { marks, .. } => Some(marks.leader),
            Scope::Agent(_) => None,
        }
    }

    /// Sends one signal to every process of the tree; returns how many got it.
    pub fn signal(&self, leader: Leader, signal: Signal) -> usize {
        let Ok(proc) = Proc::open() else { return self.signal_unseen(leader, signal) };
        self.send_where(&proc, leader, signal, |_| true)
    }

    /// Sends one signal to every process of the tree that is in the process group that the leader
    /// leads, or led; returns how many got it. This is for a leader that was reaped: before, the
    /// kernel knows the group better.
    pub fn signal_group(&self, leader: Leader, signal: Signal) -> usize {
        let (Some(group), Ok(proc)) = (self.leader(), Proc::open()) else { return 0 };
        let group = group.as_raw_pid();
        self.send_where(&proc, leader, signal, |process| process.group == group)
    }

    /// Lets stopped processes of the tree go on, so that they can act on a signal that they were
    /// sent. Returns how many processes live, the others too.
    pub fn go_on(&self, leader: Leader) -> usize {
        let Ok(proc) = Proc::open() else { return 0 };
        let scan = self.scan(&proc, leader, |process| match process.state {
            // One that has just ended is no concern of ours any more.
            State::Stopped => drop(self.way.send(&proc, process, Signal::CONT)),
            State::Running | State::Sleeping | State::Blocked | State::Ended | State::Other => {}
        });
        scan.members.len()
    }

    fn send_where(
        &self,
        proc: &Proc,
        leader: Leader,
        signal: Signal,
        chosen: impl Fn(&Process) -> bool,
    ) -> usize {
        let members = self.scan(proc, leader, |_| {}).members;
        let sent = |process: &&Process| self.way.send(proc, process, signal).is_ok();
        members.iter().filter(|process| chosen(process)).filter(sent).count()
    }

    /// Without /proc there is the group of a leader whose number is its own.
    fn signal_unseen(&self, leader: Leader, signal: Signal) -> usize {
        match (self.leader(), leader) {
            (Some(group), Leader::Alive) => usize::from(kill_process_group(group, signal).is_ok()),
            (Some(_), Leader::Reaped) | (None, _) => 0,
        }
    }
}
