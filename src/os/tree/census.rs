//! One look at many trees: what lives in each, and what it uses.
//!
//! A scan for each of thousands of trees would walk through /proc thousands of times. Here one walk
//! reads every process once, and each is given to at most one tree, by the same evidence by which
//! a [`Tree`] knows its own, the cheapest first: the leader's session and group, the label, the
//! cookie, the parent. It decides what is shown, never who is killed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Leader, Marks, Scope, Tree, own_process};
use crate::{
    core::usage::Usage,
    os::{
        label::Label,
        proc::{Proc, Process},
        usage::{faults, ticks},
    },
};

/// What was seen of one tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// How many of its processes live.
    pub processes: u32,
    /// What they, and the children that they have waited for, have used up.
    pub usage: Usage,
}

/// Looks at each of these trees; nothing where there is no /proc. Blocks: some hundred
/// microseconds a living process.
pub fn census(trees: &[(Arc<Tree>, Leader)]) -> Option<Vec<Look>> {
    let proc = Proc::open().ok()?;
    let population = Population::read(&proc)?;
    let mut census = Census::new(&proc, &population, trees);
    let strangers: Vec<_> =
        population.living.iter().filter(|process| !census.settle(process)).collect();
    census.settle_relatives(strangers);
    let mut looks = vec![Look::default(); trees.len()];
    let mut hidden = HashSet::new();
    for process in &population.living {
        let Some(owner) = census.owners.get(&process.pid.as_raw_pid()) else { continue };
        let (usage, whole) = usage(&proc, process);
        looks[*owner].processes += 1;
        looks[*owner].usage.add(&usage);
        if whole == Whole::No {
            hidden.insert(*owner);
        }
    }
    for owner in hidden {
        // A sum of some would be taken for the sum of all.
        let usage = &mut looks[owner].usage;
        (usage.read_bytes, usage.written_bytes) = (None, None);
    }
    for (look, (tree, _)) in looks.iter_mut().zip(trees) {
        // The kernel counts a page that several share once.
        look.usage.memory_bytes = tree.group_memory_bytes().or(look.usage.memory_bytes);
    }
    Some(looks)
}

/// Whether all of a process's use is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

fn usage(proc: &Proc, process: &Process) -> (Usage, Whole) {
    let memory = proc.memory(process.pid);
    let storage = proc.storage(process.pid);
    let used = process.used;
    let usage = Usage {
        memory_peak_bytes: memory.map(|memory| memory.peak_bytes),
        memory_bytes: memory.map(|memory| memory.bytes),
        user_time: Some(ticks(used.user_ticks)),
        system_time: Some(ticks(used.system_ticks)),
        read_bytes: storage.map(|storage| storage.read_bytes),
        written_bytes: storage.map(|storage| storage.written_bytes),
        major_faults: faults(used.major_faults),
    };
    // One that has ended meanwhile has nothing to show.
    let whole = if storage.is_none() && memory.is_some() { Whole::No } else { Whole::Yes };
    (usage, whole)
}

/// Every process that may belong to a tree.
struct Population {
    living: Vec<Process>,
    /// When each started, also those that have ended and were not reaped yet.
    starts: HashMap<i32, u64>,
    own_session: i32,
}

impl Population {
    fn read(proc: &Proc) -> Option<Self> {
        let pid = rustix::process::getpid();
        let own = own_process(proc, pid);
        let mut living = Vec::new();
        let mut starts = HashMap::new();
        let walked = proc.each(|found| {
            let process = proc.process(found).filter(|process| process.start >= own.start);
            if let Some(process) = process.filter(|_| found != pid && !found.is_init()) {
                starts.insert(found.as_raw_pid(), process.start);
                if !process.is_gone() {
                    living.push(process);
                }
            }
        });
        walked.ok()?;
        Some(Self { living, starts, own_session: own.session })
    }
}

/// Who belongs to which tree, each by its place in the list.
struct Census<'a> {
    proc: &'a Proc,
    own_session: i32,
    leaders: HashMap<i32, usize>,
    labels: HashMap<Label, usize>,
    cookies: HashMap<&'a str, usize>,
    /// Sessions that a mark vouches for.
    sessions: HashMap<i32, usize>,
    owners: HashMap<i32, usize>,
}

impl<'a> Census<'a> {
    fn new(proc: &'a Proc, population: &Population, trees: &'a [(Arc<Tree>, Leader)]) -> Self {
        let mut census = Self {
            proc,
            own_session: population.own_session,
            leaders: HashMap::new(),
            labels: HashMap::new(),
            cookies: HashMap::new(),
            sessions: HashMap::new(),
            owners: HashMap::new(),
        };
        for (place, (tree, leader)) in trees.iter().enumerate() {
            match &tree.scope {
                Scope::Exec { marks, start, .. } => {
                    let Marks { leader: pid, label, cookie } = marks;
                    let seen = population.starts.get(&pid.as_raw_pid());
                    let trusted = match leader {
                        Leader::Alive => {
                            seen.is_some_and(|seen| start.get_or_init(|| *seen) == seen)
                        }
                        Leader::Reaped => label.is_none() && seen.is_none(),
                    };
                    if trusted {
                        census.leaders.insert(pid.as_raw_pid(), place);
                    }
                    if let Some(label) = label {
                        census.labels.insert(*label, place);
                    }
                    census.cookies.insert(cookie.as_str(), place);
                }
                Scope::Agent(_) => {}
            }
        }
        census
    }

    /// Gives a process to the tree whose mark it carries, if it carries one.
    fn settle(&mut self, process: &Process) -> bool {
        let ids = [process.pid.as_raw_pid(), process.session, process.group];
        if let Some(place) = ids.iter().find_map(|id| self.leaders.get(id)) {
            self.own(process, *place);
            return true;
        }
        let label = self.proc.label(process.pid);
        if let Some(place) = label.and_then(|label| self.labels.get(&label)).copied() {
            if process.session != self.own_session && process.session > 1 {
                self.sessions.insert(process.session, place);
            }
            self.own(process, place);
            return true;
        }
        // One that is labelled for another exec of ours has that exec's cookie, if any.
        let cookie = match label {
            Some(_) if !self.labels.is_empty() && self.is_of_our_family(label) => None,
            Some(_) | None => self.proc.cookie(process.pid),
        };
        let place = cookie.and_then(|cookie| self.cookies.get(cookie.as_str())).copied();
        place.inspect(|place| self.own(process, *place)).is_some()
    }

    fn is_of_our_family(&self, label: Option<Label>) -> bool {
        let ours = self.labels.keys().next().map(|ours| ours.family());
        ours.zip(label).is_some_and(|(family, label)| family.has(label))
    }

    /// Gives those without a mark of their own to the tree of their parent or session.
    fn settle_relatives(&mut self, mut strangers: Vec<&Process>) {
        loop {
            let before = strangers.len();
            strangers.retain(|process| {
                let parent = self.owners.get(&process.parent);
                let place = parent.or_else(|| self.sessions.get(&process.session)).copied();
                place.inspect(|place| self.own(process, *place)).is_none()
            });
            if strangers.len() == before {
                return;
            }
        }
    }

    fn own(&mut self, process: &Process, place: usize) {
        self.owners.insert(process.pid.as_raw_pid(), place);
    }
}
