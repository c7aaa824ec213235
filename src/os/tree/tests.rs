//! Real processes that try to get away. Each script prints a line once its processes stand, and
//! each process holds the script's standard output: that nobody holds it any more is the proof,
//! independent of how the tree was found.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::process::{Signal, WaitId, WaitIdOptions};

use super::*;
use crate::os::{
    cgroup::{self, Pool},
    label::Labels,
};

/// Sleepers with everything that a script can do to hide them.
const ESCAPES: [(&str, &str); 6] = [
    ("plain", "sleep 1000 & echo ready; wait"),
    ("setsid", "setsid sleep 1000 & sleep 0.05; echo ready; wait"),
    ("double fork", "(setsid sh -c 'sleep 1000 & sleep 1000 & echo ready' &); exit 0"),
    (
        "env -i setsid",
        "(env -i /usr/bin/setsid /bin/sh -c 'sleep 1000 & echo ready; wait' &); exit 0",
    ),
    (
        "many",
        "for i in 1 2 3 4 5 6 7 8 9 0; do (setsid sh -c 'sleep 1000 & sleep 1000' &); done; echo ready; exit 0",
    ),
    // A chain of sessions: each process lives for a millisecond and leaves one successor.
    (
        "chain",
        "S='[ $1 -gt 0 ] && setsid sh -c \"$0\" \"$0\" $(($1 - 1)) &'; echo ready; \
         setsid sh -c \"$S\" \"$S\" 30000 & exit 0",
    ),
];

/// A script in a session of its own, marked as the agent would.
struct Subject {
    tree: Tree,
    child: Child,
    stdout: BufReader<ChildStdout>,
}

#[derive(Debug, Clone, Copy)]
enum Marked<'a> {
    Label,
    Cookie,
    Group(&'a Pool),
}

fn start(script: &str, marked: Marked<'_>, features: &Features) -> Subject {
    static LABELS: OnceLock<Labels> = OnceLock::new();
    // Orphans come to the test as they would to the agent.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let labels = LABELS.get_or_init(Labels::new);
    let cookie = Cookie::random().unwrap();
    let mut command = Command::new("setsid");
    let (mut label, mut group) = (None, None);
    let prepare = match marked {
        Marked::Label => {
            label = labels.next();
            format!("ulimit -R {};", labels.limit(label.unwrap()).rlim_max)
        }
        Marked::Cookie => {
            command.env(crate::os::label::COOKIE_VARIABLE, cookie.as_str());
            String::new()
        }
        Marked::Group(pool) => {
            let taken = group.insert(pool.take().unwrap());
            format!("echo $$ >{}/cgroup.procs;", cgroup::tests::path(taken))
        }
    };
    let mut child = command
        .args(["bash", "-c", &format!("{prepare} exec sh -c \"$0\""), script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let leader = Pid::from_child(&child);
    let tree = Tree::of_exec(Marks { leader, label, cookie }, group, features);
    let mut subject = Subject { tree, child, stdout };
    let mut line = String::new();
    subject.stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    subject
}

fn every_way() -> [Features; 2] {
    [Features::probe("cgroup").unwrap(), Features::none("test")]
}

/// Sweeps, and looks that nothing is left.
fn sweep_clean(name: &str, mut subject: Subject, leader: Leader) {
    let swept = subject.tree.sweep(leader);
    assert_eq!(swept.left, [], "{name}");
    assert_eq!(subject.tree.members(leader), [], "{name}");
    let mut rest = Vec::new();
    subject.stdout.read_to_end(&mut rest).unwrap();
    subject.child.wait().unwrap();
    assert_eq!(subject.tree.sweep(Leader::Reaped), Swept::default(), "{name}");
}

#[test]
fn nothing_escapes_a_sweep_with_labels() {
    for features in every_way() {
        for (name, script) in ESCAPES {
            sweep_clean(name, start(script, Marked::Label, &features), Leader::Alive);
        }
    }
}

#[test]
fn only_what_drops_its_environment_escapes_a_sweep_without_labels() {
    for features in every_way() {
        for (name, script) in ESCAPES.into_iter().filter(|(name, _)| *name != "env -i setsid") {
            sweep_clean(name, start(script, Marked::Cookie, &features), Leader::Alive);
        }
    }
}

#[test]
fn nothing_escapes_a_cgroup() {
    let Some(pool) = cgroup::tests::pool("sweep by cgroup") else { return };
    let features = Features::probe("").unwrap();
    for (name, script) in ESCAPES {
        let mut subject = start(script, Marked::Group(&pool), &features);
        subject.tree.release();
        subject.tree.kill_group();
        let mut rest = Vec::new();
        subject.stdout.read_to_end(&mut rest).unwrap();
        sweep_clean(name, subject, Leader::Alive);
        // It was given back, for the next one.
        assert!(pool.take().is_some_and(|group| !group.is_populated().unwrap()));
    }
    pool.close();
}

#[test]
fn survivors_are_found_after_the_leader_was_reaped() {
    let script = "setsid sleep 1000 & sleep 1000 & sleep 0.05; echo ready";
    for marked in [Marked::Label, Marked::Cookie] {
        for note in [true, false] {
            let mut subject = start(script, marked, &Features::probe("").unwrap());
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            rustix::process::waitid(WaitId::Pid(subject.tree_leader()), options).unwrap();
            assert_eq!(subject.tree.members(Leader::Alive).len(), 2, "a zombie is no member");
            if note {
                subject.tree.note_leader();
            }
            subject.child.wait().unwrap();
            assert_eq!(subject.tree.members(Leader::Reaped).len(), 2);
            sweep_clean("survivors", subject, Leader::Reaped);
        }
    }
}

impl Subject {
    fn tree_leader(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

#[test]
fn other_trees_are_left_alone() {
    let features = Features::probe("").unwrap();
    for marked in [Marked::Label, Marked::Cookie] {
        let bystander =
            start("setsid sleep 1000 & sleep 0.05; echo ready; wait", marked, &features);
        let before = bystander.tree.members(Leader::Alive);
        assert_eq!(before.len(), 2);
        let victim = start("setsid sleep 1000 & echo ready; wait", marked, &features);
        sweep_clean("victim", victim, Leader::Alive);
        let pids = |members: Vec<Member>| members.into_iter().map(|m| m.pid).collect::<Vec<_>>();
        assert_eq!(pids(bystander.tree.members(Leader::Alive)), pids(before));
        sweep_clean("bystander", bystander, Leader::Alive);
    }
}

#[test]
fn a_signal_reaches_every_process() {
    for features in every_way() {
        let script = "trap '' TERM; sleep 1000 & setsid sleep 1000 & echo ready; wait; wait; wait";
        let mut subject = start(script, Marked::Label, &features);
        assert!(subject.tree.signal(Leader::Alive, Signal::TERM) >= 2);
        // The sleepers inherited that TERM is ignored; KILL they cannot ignore.
        assert!(subject.tree.signal(Leader::Alive, Signal::KILL) >= 2);
        subject.child.wait().unwrap();
        sweep_rest(subject);
    }
}

/// A process that was forked while the signals went out may be left; nothing else.
fn sweep_rest(mut subject: Subject) {
    assert_eq!(subject.tree.sweep(Leader::Reaped).left, []);
    let mut rest = Vec::new();
    subject.stdout.read_to_end(&mut rest).unwrap();
}

#[test]
fn activity_is_processor_time_or_change() {
    let features = Features::probe("").unwrap();
    let idle = start("sleep 1000 & echo ready; wait", Marked::Label, &features);
    // What it still did when it said ready comes to rest.
    let mut before = idle.tree.members(Leader::Alive);
    loop {
        let now = idle.tree.members(Leader::Alive);
        if !active(&before, &now) {
            break;
        }
        before = now;
    }
    assert!(active(&before, &before[1..]), "one is gone");
    assert!(active(&before[1..], &before), "one is new");
    sweep_clean("idle", idle, Leader::Alive);
    let busy = start("echo ready; while :; do :; done", Marked::Label, &features);
    let before = busy.tree.members(Leader::Alive);
    assert!(active(&before, &busy.tree.members(Leader::Alive)));
    sweep_clean("busy", busy, Leader::Alive);
}

/// Everything of the agent: in a process of its own, for there it is everything of the tests.
#[test]
fn the_agents_tree_holds_every_exec() {
    const INNER: &str = "DOORWARD_TEST_INNER";
    if std::env::var_os(INNER).is_none() {
        let name = "os::tree::tests::the_agents_tree_holds_every_exec";
        let inner = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(INNER, "1")
            .output()
            .unwrap();
        assert!(inner.status.success(), "{inner:?}");
        return;
    }
    for features in every_way() {
        let mut subjects: Vec<_> =
            ESCAPES.iter().map(|(_, script)| start(script, Marked::Label, &features)).collect();
        let family = subjects[0].family();
        for family in [family, None] {
            subjects.push(start(ESCAPES[3].1, Marked::Label, &features));
            let agent = Tree::of_agent(family, &features);
            let swept = agent.sweep(Leader::Reaped);
            assert_eq!(swept.left, []);
            assert!(swept.killed >= 2, "{swept:?}");
            for mut subject in subjects.drain(..) {
                let mut rest = Vec::new();
                subject.stdout.read_to_end(&mut rest).unwrap();
                subject.child.wait().unwrap();
            }
        }
    }
}

impl Subject {
    fn family(&self) -> Option<Family> {
        match &self.tree.scope {
            Scope::Exec { marks, .. } => marks.label.map(Label::family),
            Scope::Agent(family) => *family,
        }
    }
}
