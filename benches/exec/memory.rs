//! What an agent holds: memory, descriptors, threads.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use crate::{
    Scale,
    agent::{Agent, free_bytes},
    door::{Door, Frames, Output, runtime},
    floors,
    latency::fresh_id,
    report::{Target, alone, mib, skip},
};

/// How long idle threads of the agent live, and some.
const SETTLE: Duration = Duration::from_secs(15);

pub(crate) fn run(scale: Scale) {
    after_many(scale);
    unread(scale);
    stalled(scale);
    live(scale);
}

fn after_many(scale: Scale) {
    let agent = Agent::start(&[]);
    let (runtime, door) = connect(&agent);
    rest(&agent);
    alone("idle", "MiB", mib(agent.resident_bytes()), Target::AtMost(6.0));
    let before = [agent.descriptors(), agent.threads(), agent.zombies()];
    let execs = scale.pick(1_500, 10_000);
    runtime.block_on(many(&door, execs));
    let started = Instant::now();
    let held = || [agent.descriptors(), agent.threads(), agent.zombies()];
    while held() != before && started.elapsed() < SETTLE {
        sleep(Duration::from_millis(100));
    }
    let name = |what: &str| format!("{what} after {execs} execs");
    alone(&name("resident"), "MiB", mib(agent.resident_bytes()), Target::AtMost(16.0));
    let kinds = ["descriptors", "threads", "zombies"];
    for ((kind, before), after) in kinds.into_iter().zip(before).zip(held()) {
        let more = after as f64 - before as f64;
        alone(&format!("more {}", name(kind)), "", more, Target::AtMost(0.0));
    }
}

/// Waits until the threads that its start needed are gone: it is idle then.
fn rest(agent: &Agent) {
    let (started, busy) = (Instant::now(), agent.threads());
    while agent.threads() == busy && started.elapsed() < SETTLE {
        sleep(Duration::from_millis(100));
    }
}

/// Runs that many commands, 32 at a time; a third of them cannot be started.
async fn many(door: &Door, execs: usize) {
    const CROWD: usize = 32;
    let one = |door: Door, count: usize| async move {
        for n in 0..count {
            let id = fresh_id();
            if n % 3 == 0 {
                let refused = door.try_start(&id, &["/nonexistent"], None).await;
                refused.expect_err("there is no such program");
            } else {
                door.start(&id, &["/bin/true"]).await;
                door.wait(&id).await;
            }
        }
    };
    let crowd: Vec<_> =
        (0..CROWD).map(|_| tokio::spawn(one(door.clone(), execs.div_ceil(CROWD)))).collect();
    for member in crowd {
        member.await.expect("nobody fails");
    }
}

/// How much an agent has grown: resident memory, and what its cgroup cannot give back.
struct Growth<'a> {
    agent: &'a Agent,
    resident: u64,
    charged: Option<u64>,
}

impl<'a> Growth<'a> {
    fn from_here(agent: &'a Agent) -> Self {
        let charged = agent.group().map(|group| group.unreclaimable_bytes());
        Self { agent, resident: agent.resident_bytes(), charged }
    }

    fn print(&self, what: &str) {
        let resident = mib(self.agent.resident_bytes()) - mib(self.resident);
        alone(&format!("{what}: resident"), "MiB", resident, Target::AtMost(16.0));
        match (self.agent.group(), self.charged) {
            (Some(group), Some(before)) => {
                let charged = mib(group.unreclaimable_bytes()) - mib(before);
                alone(&format!("{what}: charged"), "MiB", charged, Target::AtMost(16.0));
            }
            (None, _) | (_, None) => {
                skip(&format!("{what}: charged"), "no memory cgroup (v1) can be made here");
            }
        }
    }
}

fn unread(scale: Scale) {
    let (bytes, name) = scale.pick((200 << 20, "200 MiB unread"), (4 << 30, "4 GiB unread"));
    if free_bytes() < bytes {
        return skip(name, "too little room under target/");
    }
    let agent = Agent::start_accounted(&[]);
    let (runtime, door) = connect(&agent);
    let growth = Growth::from_here(&agent);
    runtime.block_on(print(&door, "unread", bytes));
    growth.print(name);
}

async fn print(door: &Door, id: &str, bytes: u64) {
    door.start(id, &floors::printer(bytes).each_ref().map(String::as_str)).await;
    door.wait(id).await;
}

fn stalled(scale: Scale) {
    const CONNECTIONS: usize = 10;
    const READERS: usize = 500;
    let bytes = scale.pick(64 << 20, 256 << 20);
    if free_bytes() < bytes {
        return skip("500 stalled readers", "too little room under target/");
    }
    let agent = Agent::start_accounted(&[]);
    let (runtime, door) = connect(&agent);
    runtime.block_on(print(&door, "big", bytes));
    let growth = Growth::from_here(&agent);
    let readers = runtime.block_on(async {
        let mut readers = Vec::new();
        for _ in 0..CONNECTIONS {
            let door = Door::open(agent.port, Frames::Large).await;
            for _ in 0..READERS / CONNECTIONS {
                readers.push(door.open_output("big", Output::Stdout).await);
            }
        }
        readers
    });
    // Nobody drives the runtime, so the connections are read no more; the agent fills what it can.
    let mut before = 0;
    while agent.resident_bytes() != before {
        before = agent.resident_bytes();
        sleep(Duration::from_millis(500));
    }
    growth.print("500 stalled readers");
    drop(readers);
}

fn live(scale: Scale) {
    let execs = scale.pick(200, 3_000);
    let agent = Agent::start(&[]);
    let (runtime, door) = connect(&agent);
    let (before, resident) = (agent.descriptors(), agent.resident_bytes());
    let started: Result<(), _> = runtime.block_on(async {
        for _ in 0..execs {
            door.try_start(&fresh_id(), &["/bin/sleep", "600"], None).await?;
        }
        Ok::<_, tonic::Status>(())
    });
    let name = format!("{execs} live quiet execs");
    if let Err(refusal) = started {
        return skip(&name, &format!("they cannot be started here: {refusal}"));
    }
    // The threads that started them may still hold something.
    sleep(Duration::from_millis(500));
    let each = (agent.descriptors() - before) as f64 / f64::from(execs);
    alone(&format!("{name}: descriptors"), "each", each, Target::AtMost(4.0));
    let each = (agent.resident_bytes() - resident) as f64 / 1024.0 / f64::from(execs);
    alone(&format!("{name}: memory"), "KiB", each, Target::None);
}

fn connect(agent: &Agent) -> (Runtime, Door) {
    let runtime = runtime();
    let door = runtime.block_on(async {
        let door = Door::open(agent.port, Frames::Large).await;
        door.health().await;
        door
    });
    (runtime, door)
}
