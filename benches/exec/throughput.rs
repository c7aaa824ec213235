//! How fast output arrives, and what it costs the agent.

use std::time::Instant;

use doorward::{
    client::{Client, Options},
    core::ids::Stream,
    wire::modal::client::PtyInfo,
};

use crate::{
    Scale,
    agent::{Agent, TASK, free_bytes},
    door::{Door, Frames, Output, runtime},
    floors::{self, Cost},
    report::{Target, line, skip},
};

pub(crate) fn pipes(scale: Scale) {
    let bytes: u64 = scale.pick(120 << 20, 2 << 30);
    if free_bytes() < 2 * bytes {
        return skip("stdout", "too little room under target/");
    }
    let mut rounds = Vec::new();
    for _ in 0..scale.pick(3, 5) {
        rounds.push([
            floors::pipe(bytes),
            floors::store(bytes),
            to_our_client(bytes),
            to_anybody(Frames::Large, bytes),
            to_anybody(Frames::Default, bytes),
        ]);
    }
    let [pipe, store, ours, large, default] = [0, 1, 2, 3, 4];
    let pairs = |value: usize, floor: usize, of: fn(Cost) -> f64| -> Vec<(f64, f64)> {
        rounds.iter().map(|round| (of(round[value]), of(round[floor]))).collect()
    };
    line("store rate", "GB/s", "pipe", &pairs(store, pipe, Cost::rate), Target::None);
    let to_store = |value, of| pairs(value, store, of);
    let at_least = Target::RatioAtLeast(0.6);
    line("stdout to our client", "GB/s", "store", &to_store(ours, Cost::rate), at_least);
    line(
        "stdout, bare client, 64 KiB",
        "GB/s",
        "store",
        &to_store(large, Cost::rate),
        Target::None,
    );
    line(
        "stdout, bare client, 16 KiB",
        "GB/s",
        "store",
        &to_store(default, Cost::rate),
        Target::None,
    );
    let cpu = |name, value, above| {
        line(
            name,
            "s/GB",
            "store",
            &to_store(value, Cost::cpu_each),
            Target::AboveFloorAtMost(above),
        );
    };
    cpu("agent cpu, our client, 64 KiB", ours, 0.4);
    cpu("agent cpu, bare client, 64 KiB", large, 0.4);
    cpu("agent cpu, bare client, 16 KiB", default, 0.8);
}

pub(crate) fn terminals(scale: Scale) {
    let bytes: u64 = scale.pick(64 << 20, 256 << 20);
    if free_bytes() < bytes {
        return skip("terminal", "too little room under target/");
    }
    let rounds: Vec<_> =
        (0..scale.pick(3, 5)).map(|_| (from_terminal(bytes), floors::pty(bytes))).collect();
    let pairs = |of: fn(Cost) -> f64| -> Vec<(f64, f64)> {
        rounds.iter().map(|(value, floor)| (of(*value), of(*floor))).collect()
    };
    line("terminal, raw", "GB/s", "pty", &pairs(Cost::rate), Target::RatioAtLeast(0.7));
    line("agent cpu, terminal, raw", "s/GB", "pty", &pairs(Cost::cpu_each), Target::None);
}

/// Each with an agent of its own, so that nothing of the last one is on the disk.
fn timed(bytes: u64, work: impl AsyncFnOnce(u16) -> u64) -> Cost {
    let agent = Agent::start(&[]);
    let (started, cpu) = (Instant::now(), agent.cpu());
    let moved = runtime().block_on(work(agent.port));
    let cost =
        Cost { gigabytes: bytes as f64 / 1e9, wall: started.elapsed(), cpu: agent.cpu() - cpu };
    assert!(moved >= bytes, "{moved} bytes of {bytes} came");
    cost
}

fn to_our_client(bytes: u64) -> Cost {
    timed(bytes, async |port| {
        let address = format!("tcp://127.0.0.1:{port}").parse().expect("it is an address");
        let client = Client::connect(Options::new(address, TASK)).await.expect("it listens");
        let command = doorward::client::Command::new(floors::printer(bytes));
        client.start("print", &command).await.expect("there is head");
        let mut output = client.output("print", Stream::Stdout, 0);
        while output.next().await.expect("nothing is dropped").is_some() {}
        output.offset()
    })
}

fn to_anybody(frames: Frames, bytes: u64) -> Cost {
    timed(bytes, async |port| {
        let door = Door::open(port, frames).await;
        door.start("print", &floors::printer(bytes).each_ref().map(String::as_str)).await;
        door.read("print", Output::Stdout).await
    })
}

fn from_terminal(bytes: u64) -> Cost {
    timed(bytes, async |port| {
        let door = Door::open(port, Frames::Large).await;
        let argv = floors::raw_printer(bytes);
        let pty = Some(PtyInfo { enabled: true, ..PtyInfo::default() });
        let started = door.try_start("print", &argv.each_ref().map(String::as_str), pty).await;
        started.expect("there is a shell");
        door.read("print", Output::Stdout).await
    })
}
