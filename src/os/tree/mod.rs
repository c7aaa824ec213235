//! The processes that came of one exec, found and ended.
//!
//! A process belongs to an exec's tree when any of these holds:
//!
//! - it is the exec's leader (its first process), as long as nobody has reaped that;
//! - it carries the exec's [`Label`], or the exec's [`Cookie`] and no label of another exec;
//! - it is in the leader's session or process group. The number of a session can be given to a
//!   new process once the session is empty, so this counts only while the leader is not reaped,
//!   or where there are no labels and no process has the leader's number;
//! - its parent belongs to the tree (orphans come to us, the subreaper, and are known by the rest).
//!
//! What never happens: a process older than the leader, the agent, or pid 1 is touched; a signal
//! goes to a pid whose start time is not the one that was looked at.
//!
//! Everything here blocks for milliseconds (a scan) or up to [`SWEEP`] (a sweep): it belongs on
//! a thread of `Share::Scan`.
//!
//! [`SWEEP`]: crate::core::limits::SWEEP

mod census;
mod signal;
mod sweep;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::OnceLock};

use parking_lot::Mutex;
use rustix::process::Pid;

pub use self::{
    census::{Look, census},
    sweep::{Hold, Left, Swept},
};
use super::{
    cgroup::Group,
    features::Features,
    label::{Cookie, Family, Label},
    proc::{self, Proc, Process, State},
};

/// The processes of one exec, or of the whole agent.
#[derive(Debug)]
pub struct Tree {
    scope: Scope,
    way: Way,
}

/// By what the processes of an exec are known.
#[derive(Debug)]
pub struct Marks {
    /// The first process: it leads a session and a process group of its own.
    pub leader: Pid,
    /// The limit that was set in it.
    pub label: Option<Label>,
    /// The variable that was put into its environment.
    pub cookie: Cookie,
}

/// Whether the number of an exec's leader is still that leader's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leader {
    /// It runs, or nobody has reaped it yet.
    Alive,
    /// It was reaped; its number may be another process's.
    Reaped,
}

/// A living process of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub pid: Pid,
    /// When it started, in clock ticks since boot.
    pub start: u64,
    /// What it does.
    pub state: State,
    /// Processor time it has used, in nanoseconds.
    pub cpu_ns: u64,
}

#[derive(Debug)]
enum Scope {
    Exec {
        marks: Marks,
        /// When the leader started; known once somebody looked while it was not reaped.
        start: OnceLock<u64>,
        /// The cgroup that the leader was started in. Locked while it is killed, so that it is not
        /// given back, and to another exec, meanwhile.
        group: Mutex<Option<Group>>,
    },
    /// All that came of this agent, also of execs that are forgotten.
    Agent(Option<Family>),
}

/// How one process is sent a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Pidfd,
    Number,
}

/// Why a process belongs to a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// A mark that vouches for everything in the process's session too.
    Session,
    /// A mark, or its parent: it vouches for the process and what descends from it.
    Process,
}

/// What a scan makes of one pid.
enum Verdict {
    /// It belongs to the tree.
    Member(Process, Evidence),
    /// It lives and carries another exec's mark.
    Another(Process),
    /// It has ended, perhaps with a successor; or it lives and carries no mark, as one that is
    /// between two programs shows no cookie.
    Unknown(Option<Process>),
    /// It cannot belong to any tree.
    Nothing,
}

/// What a walk through /proc found.
struct Scan {
    /// The living processes of the tree.
    members: Vec<Process>,
    /// What may have been one.
    unknown: HashSet<Pid>,
}

impl Tree {
    /// The tree of one exec, which was started in this cgroup.
    pub fn of_exec(marks: Marks, group: Option<Group>, features: &Features) -> Self {
        let scope = Scope::Exec { marks, start: OnceLock::new(), group: Mutex::new(group) };
        Self { scope, way: Way::choose(features) }
    }

    /// Everything that this process started, directly or not, whichever exec it belongs to.
    /// The agent must be a subreaper.
    pub fn of_agent(family: Option<Family>, features: &Features) -> Self {
        Self { scope: Scope::Agent(family), way: Way::choose(features) }
    }

    /// Notes when the leader started, which tells it from a later process of the same number.
    /// Only to be called before the leader is reaped; one small file is read. Without this a
    /// scan after the reaping is slower, and where there are no labels less sure.
    pub fn note_leader(&self) {
        match &self.scope {
            Scope::Exec { marks, start, .. } => {
                if let Some(found) = proc::start_of(marks.leader) {
                    start.get_or_init(|| found);
                }
            }
            Scope::Agent(_) => {}
        }
    }

    /// Gives the cgroup back to its pool if nothing lives in it; costs microseconds. Otherwise it
    /// is kept until another call, or until the tree is dropped. Whether none is kept.
    pub fn release(&self) -> bool {
        match &self.scope {
            Scope::Exec { group, .. } => {
                let mut group = group.lock();
                if group.as_mut().is_some_and(Group::is_done) {
                    *group = None;
                }
                group.is_none()
            }
            Scope::Agent(_) => true,
        }
    }

    /// The memory that its cgroup holds, in bytes, where the kernel counts it for each.
    fn group_memory_bytes(&self) -> Option<u64> {
        match &self.scope {
            Scope::Exec { group, .. } => group.lock().as_ref()?.memory_bytes(),
            Scope::Agent(_) => None,
        }
    }

    /// How many of its processes the kernel killed for want of memory, where it counts them for
    /// each cgroup.
    pub fn oom_kills(&self) -> Option<u64> {
        match &self.scope {
            Scope::Exec { group, .. } => group.lock().as_ref()?.oom_kills(),
            Scope::Agent(_) => None,
        }
    }

    /// The living processes of the tree; empty where there is no /proc.
    pub fn members(&self, leader: Leader) -> Vec<Member> {
        let Ok(proc) = Proc::open() else { return Vec::new() };
        let found = self.scan(&proc, leader, |_| {}).members;
        let member = |process: Process| Member {
            pid: process.pid,
            start: process.start,
            state: process.state,
            cpu_ns: proc::cpu_ns(process.pid).unwrap_or(0),
        };
        found.into_iter().map(member).collect()
    }

    /// Finds the living processes of the tree. Calls `found` with each as soon as it is known, so
    /// that one that lives for a millisecond can be stopped before it has a successor.
    fn scan(&self, proc: &Proc, leader: Leader, mut found: impl FnMut(&Process)) -> Scan {
        let mut search = Search::new(self, proc, leader);
        let mut others = Vec::new();
        let mut unknown = HashSet::new();
        let walked = proc.each(|pid| match search.judge(proc, pid) {
            Verdict::Member(process, evidence) => {
                found(&process);
                search.take(process, evidence);
            }
            Verdict::Another(process) => others.push(process),
            Verdict::Unknown(process) => {
                unknown.insert(pid);
                others.extend(process);
            }
            Verdict::Nothing => {}
        });
        if let Err(error) = walked {
            tracing::warn!(%error, "ignoring a failure to read /proc");
        }
        // What was seen before its parent or its session's mark was.
        loop {
            let before = others.len();
            others.retain(|process| {
                let related = search.is_related(process);
                if related {
                    found(process);
                    search.take(process.clone(), Evidence::Process);
                }
                !related
            });
            if others.len() == before {
                return Scan { members: search.members, unknown };
            }
        }
    }
}

impl Way {
    fn choose(features: &Features) -> Self {
        if features.pidfd.is_there() { Self::Pidfd } else { Self::Number }
    }
}

/// One walk through /proc.
struct Search<'a> {
    tree: &'a Tree,
    own: Pid,
    own_session: i32,
    /// Nothing that started earlier belongs to the tree.
    floor: u64,
    /// The number by which the leader's session and group can be trusted to be its own.
    leader: Option<i32>,
    parents: HashSet<i32>,
    sessions: HashSet<i32>,
    members: Vec<Process>,
}

impl<'a> Search<'a> {
    fn new(tree: &'a Tree, proc: &Proc, leader: Leader) -> Self {
        let own = rustix::process::getpid();
        let own_process = own_process(proc, own);
        let mut search = Self {
            tree,
            own,
            own_session: own_process.session,
            floor: own_process.start,
            leader: None,
            parents: HashSet::new(),
            sessions: HashSet::new(),
            members: Vec::new(),
        };
        match &tree.scope {
            Scope::Exec { marks, start, .. } => {
                search.leader = trusted_leader(proc, marks, start, leader);
                search.floor = search.floor.max(start.get().copied().unwrap_or(0));
            }
            Scope::Agent(_) => {
                search.parents.insert(own.as_raw_pid());
            }
        }
        search
    }

    fn judge(&self, proc: &Proc, pid: Pid) -> Verdict {
        if pid == self.own || pid.is_init() {
            return Verdict::Nothing;
        }
        match proc.process(pid) {
            None => Verdict::Unknown(None),
            Some(process) if process.start < self.floor => Verdict::Nothing,
            Some(process) if process.is_gone() => Verdict::Unknown(None),
            Some(process) => self.judge_living(proc, process),
        }
    }

    fn judge_living(&self, proc: &Proc, process: Process) -> Verdict {
        let label = proc.label(process.pid);
        let of = |family: Option<Family>| family.zip(label).is_some_and(|(f, label)| f.has(label));
        match &self.tree.scope {
            Scope::Exec { marks, .. } => {
                let labelled = label.is_some() && label == marks.label;
                if labelled || self.is_the_leaders(&process) {
                    return Verdict::Member(process, Evidence::Session);
                }
                if self.is_related(&process) {
                    return Verdict::Member(process, Evidence::Process);
                }
                if of(marks.label.map(Label::family)) {
                    return Verdict::Another(process);
                }
                // The cookie last: reading an environment can wait for the process's own locks.
                match proc.cookie(process.pid) {
                    Some(cookie) if cookie == marks.cookie => {
                        Verdict::Member(process, Evidence::Process)
                    }
                    Some(_) => Verdict::Another(process),
                    None => Verdict::Unknown(Some(process)),
                }
            }
            Scope::Agent(family) => {
                if of(*family) || self.is_related(&process) {
                    Verdict::Member(process, Evidence::Process)
                } else {
                    Verdict::Unknown(Some(process))
                }
            }
        }
    }

    fn is_the_leaders(&self, process: &Process) -> bool {
        let ids = [process.pid.as_raw_pid(), process.session, process.group];
        self.leader.is_some_and(|leader| ids.contains(&leader))
    }

    /// Whether its parent or its session belongs to the tree.
    fn is_related(&self, process: &Process) -> bool {
        self.parents.contains(&process.parent) || self.sessions.contains(&process.session)
    }

    fn take(&mut self, process: Process, evidence: Evidence) {
        self.parents.insert(process.pid.as_raw_pid());
        // Before its setsid(2), a child of ours is in our own session.
        let foreign = process.session != self.own_session && process.session > 1;
        if evidence == Evidence::Session && foreign {
            self.sessions.insert(process.session);
        }
        self.members.push(process);
    }
}

/// The leader's number, if what has it as session or group can only be of this exec.
fn trusted_leader(
    proc: &Proc,
    marks: &Marks,
    start: &OnceLock<u64>,
    leader: Leader,
) -> Option<i32> {
    let now = proc.process(marks.leader);
    let trusted = match leader {
        // The waiter may reap it meanwhile: then its number is gone, or started at another time.
        Leader::Alive => now.is_some_and(|now| *start.get_or_init(|| now.start) == now.start),
        Leader::Reaped => marks.label.is_none() && now.is_none(),
    };
    trusted.then_some(marks.leader.as_raw_pid())
}

/// What never changes of this process.
#[derive(Clone, Copy, Default)]
struct Own {
    /// 0 where its session's leader lives outside our PID namespace: getsid(2) says 0 then too,
    /// which rustix takes for impossible.
    session: i32,
    /// All that we start starts later.
    start: u64,
}

fn own_process(proc: &Proc, pid: Pid) -> Own {
    static OWN: OnceLock<Own> = OnceLock::new();
    *OWN.get_or_init(|| {
        let own = proc.process(pid);
        own.map_or_else(Own::default, |own| Own { session: own.session, start: own.start })
    })
}

/// Whether something of a tree did anything between two looks at it: used the processor, is
/// running or waiting for a disk, came or went.
pub fn active(before: &[Member], now: &[Member]) -> bool {
    let busy = |member: &Member| match member.state {
        State::Running | State::Blocked => true,
        State::Sleeping | State::Stopped | State::Ended | State::Other => false,
    };
    let as_before = |member: &Member| {
        before.iter().any(|old| {
            (old.pid, old.start, old.cpu_ns) == (member.pid, member.start, member.cpu_ns)
        })
    };
    before.len() != now.len() || now.iter().any(|member| busy(member) || !as_before(member))
}
