//! From a key to what it shows: through `Attach` on loopback, beside a bare terminal; and while
//! another exec floods.

use std::{
    os::fd::OwnedFd,
    process::{Child, Command as Process, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use doorward::{
    client::{
        AttachEvent, AttachInput, AttachOptions, AttachRole, AttachStart, Attached, Client,
        Command, Terminal,
    },
    core::spec::WindowSize,
    os::pty,
    wire::doorward::v1::CancelExecRequest,
};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::runtime::Runtime;

use crate::{
    Scale,
    agent::Agent,
    client,
    door::{Door, Frames, runtime},
    report::{Target, line, p50_us},
};

/// What shows a key: the kernel, or a program that reads it first, as an editor or a shell does.
const ECHOES: [(&str, &str); 2] = [
    ("echo by the kernel", "echo ready; exec sleep 600"),
    ("echo by a program", "stty raw -echo; echo ready; exec cat"),
];
/// Keys before those that count.
const WARM_UP: usize = 20;

pub(crate) fn run(scale: Scale) {
    // The flood is endless; what is kept of it is not.
    let agent = Agent::start(&["--spool-stream-max", "64MiB"]);
    let runtime = runtime();
    for (name, script) in ECHOES {
        beside_a_bare_terminal(&agent, &runtime, scale, name, script);
    }
    beside_a_flood(&agent, &runtime, scale);
}

/// The times of one round, key by key.
#[derive(Default)]
struct Round {
    bare: Vec<Duration>,
    unary: Vec<Duration>,
    attached: Vec<Duration>,
}

fn beside_a_bare_terminal(
    agent: &Agent,
    runtime: &Runtime,
    scale: Scale,
    name: &str,
    script: &str,
) {
    let mut bare = Bare::start(script);
    let (door, mut seat) = runtime.block_on(async {
        let door = Door::open(agent.port, Frames::Large).await;
        (door, Seat::take(&client(agent.port).await, name, script).await)
    });
    let mut round = |keys: usize| {
        let mut round = Round::default();
        for _ in 0..keys {
            round.bare.push(bare.key());
            runtime.block_on(async {
                let since = Instant::now();
                door.health().await;
                round.unary.push(since.elapsed());
                round.attached.push(seat.key().await);
            });
        }
        round
    };
    round(WARM_UP);
    let rounds: Vec<Round> = (0..scale.pick(3, 9)).map(|_| round(scale.pick(200, 500))).collect();
    let floor = |round: &Round| p50_us(&round.bare) + 1.5 * p50_us(&round.unary);
    let values: Vec<_> =
        rounds.iter().map(|round| (p50_us(&round.attached), floor(round))).collect();
    line(name, "us", "pty+1.5unary", &values, Target::RatioAtMost(1.0));
}

fn beside_a_flood(agent: &Agent, runtime: &Runtime, scale: Scale) {
    let (_, script) = ECHOES[1];
    let (caller, mut seat) = runtime.block_on(async {
        let caller = client(agent.port).await;
        let seat = Seat::take(&caller, "beside a flood", script).await;
        (caller, seat)
    });
    let mut rounds = Vec::new();
    for number in 0..scale.pick(3, 5) {
        let mut keys = || -> f64 {
            let keys = scale.pick(300, 1000);
            p99_ms(runtime.block_on(async {
                let mut times = Vec::with_capacity(keys);
                for _ in 0..keys {
                    times.push(seat.key().await);
                }
                times
            }))
        };
        let quiet = keys();
        let flood = Flood::start(agent.port, runtime, &caller, &format!("flood-{number}"));
        rounds.push((keys(), quiet));
        flood.end(runtime, &caller);
    }
    line("echo p99 beside a flood", "ms", "quiet", &rounds, Target::AtMost(20.0));
}

fn p99_ms(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() * 99 / 100].as_secs_f64() * 1e3
}

/// A program on a bare terminal of our own.
struct Bare {
    child: Child,
    master: OwnedFd,
}

impl Bare {
    fn start(script: &str) -> Self {
        let pair = pty::pair(WindowSize::new(24, 80), None).expect("a terminal can be made");
        let end = || Stdio::from(pair.slave.try_clone().expect("there is a free number"));
        let child = Process::new("setsid")
            .args(["--ctty", "sh", "-c", script])
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("there is setsid");
        let mut bare = Self { child, master: pair.master };
        while !bare.shown().contains(&b'y') {}
        bare
    }

    /// From a key to what it shows.
    fn key(&mut self) -> Duration {
        let since = Instant::now();
        rustix::io::write(&self.master, b"k").expect("a terminal takes a key");
        while !self.shown().contains(&b'k') {}
        since.elapsed()
    }

    /// What it shows next.
    fn shown(&mut self) -> Vec<u8> {
        poll(&mut [PollFd::new(&self.master, PollFlags::IN)], None).expect("it can be waited for");
        let mut shown = vec![0; 256];
        let count = rustix::io::read(&self.master, &mut shown[..]).expect("its program lives");
        shown.truncate(count);
        shown
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A place before an exec of the agent's with a terminal.
struct Seat {
    attached: Attached,
    input: AttachInput,
}

impl Seat {
    async fn take(client: &Client, name: &str, script: &str) -> Self {
        let id = name.replace(' ', "-");
        let terminal = Terminal { rows: 24, columns: 80, ..Terminal::default() };
        let command = Command { terminal: Some(terminal), ..Command::new(["sh", "-c", script]) };
        client.start(&id, &command).await.expect("it can be started");
        let attached = client.attach(&id, from_start(AttachRole::Writer)).await;
        let attached = attached.expect("it runs");
        let mut seat = Self { input: attached.input(), attached };
        seat.until(b'y').await;
        seat
    }

    /// From a key to what it shows.
    async fn key(&mut self) -> Duration {
        let since = Instant::now();
        self.input.send("k".into()).await.expect("it takes a key");
        self.until(b'k').await;
        since.elapsed()
    }

    async fn until(&mut self, byte: u8) {
        loop {
            match self.attached.next().await.expect("the connection holds") {
                Some(AttachEvent::Output { bytes, .. }) if bytes.contains(&byte) => return,
                Some(_) => {}
                None => panic!("the exec has ended"),
            }
        }
    }
}

fn from_start(role: AttachRole) -> AttachOptions {
    let start = AttachStart::Offsets { stdout: 0, stderr: 0 };
    AttachOptions { role, start, ..AttachOptions::default() }
}

/// `yes`, and somebody on another connection who reads all of it.
struct Flood {
    id: String,
    over: Arc<AtomicBool>,
    reader: thread::JoinHandle<()>,
}

impl Flood {
    fn start(port: u16, runtime: &Runtime, caller: &Client, id: &str) -> Self {
        let started = runtime.block_on(caller.start(id, &Command::new(["yes"])));
        started.expect("there is yes");
        let over = Arc::new(AtomicBool::new(false));
        let (begun, begins) = std::sync::mpsc::channel();
        let (ours, exec) = (over.clone(), id.to_string());
        let read = async move {
            let attached = client(port).await.attach(&exec, from_start(AttachRole::Observer)).await;
            let mut attached = attached.expect("it runs");
            while !ours.load(Ordering::Relaxed) {
                if let Some(AttachEvent::Output { .. }) =
                    attached.next().await.expect("the connection holds")
                {
                    // Only the first time is anybody waiting.
                    let _ = begun.send(());
                }
            }
        };
        let reader = thread::spawn(|| crate::door::runtime().block_on(read));
        begins.recv().expect("the flood reaches its reader");
        Self { id: id.into(), over, reader }
    }

    fn end(self, runtime: &Runtime, caller: &Client) {
        self.over.store(true, Ordering::Relaxed);
        self.reader.join().expect("the reader has no trouble");
        let request = CancelExecRequest {
            exec_id: self.id,
            grace: Some(prost_types::Duration::default()),
            ..CancelExecRequest::default()
        };
        let cancelled = runtime.block_on(caller.control().cancel_exec(request));
        cancelled.expect("it can be ended");
    }
}
