//! A long output through the library's reader, over a link that breaks all the time, beside the same
//! over one that does not.

use std::{
    fs,
    time::{Duration, Instant},
};

use doorward::{
    client::{Client, Command},
    core::{ids::Stream, outcome::ExitStatus},
};

use crate::{
    Scale,
    agent::{Agent, free_bytes, fresh_dir},
    client,
    cutter::Cutter,
    door::runtime,
    report::{Target, line, mib, skip},
};

/// Bytes of the pattern, over and over: a number that nothing on the way could shift it by.
const PATTERN_BYTES: usize = (1 << 20) + 7;
/// A connection carries this many bytes at least, and three times as many at most.
const ALLOWANCE_BYTES: u64 = 1 << 20;
const ID: &str = "output";

pub(crate) fn run(scale: Scale) {
    let patterns: usize = scale.pick(256, 1024);
    let name = scale.pick("256 MiB over resets", "1 GiB over resets");
    let total = (patterns * PATTERN_BYTES) as u64;
    if free_bytes() < total {
        return skip(name, "too little room under target/");
    }
    let agent = Agent::start(&[]);
    let cutting = Cutter::before(agent.port, ALLOWANCE_BYTES);
    let whole = Cutter::before(agent.port, u64::MAX / 4);
    let runtime = runtime();
    let pattern = noise();
    runtime.block_on(print(&agent, &pattern, patterns));
    let mut resets = 0;
    let mut rate = |proxy: &Cutter| {
        let before = proxy.resets();
        let time = runtime.block_on(async {
            let client = client(proxy.port).await;
            read(&client, &pattern, total).await
        });
        resets += proxy.resets() - before;
        time.as_secs_f64()
    };
    // What is read first is in no cache.
    rate(&whole);
    let rounds: Vec<_> = (0..scale.pick(3, 5)).map(|_| (rate(&cutting), rate(&whole))).collect();
    line(name, "s", "whole", &rounds, Target::RatioAtMost(1.5));
    let each = mib(total) * rounds.len() as f64 / resets as f64;
    println!("{:<34} {resets} resets, one each {each:.2} MiB", "");
}

/// Has an exec print the pattern that often.
async fn print(agent: &Agent, pattern: &[u8], patterns: usize) {
    let dir = fresh_dir("pattern");
    let file = dir.join("pattern");
    fs::write(&file, pattern).expect("target/ can be written");
    let client = client(agent.port).await;
    let script = format!("n=0; while [ $n -lt {patterns} ]; do cat \"$0\"; n=$((n+1)); done");
    let file = file.display().to_string();
    client.start(ID, &Command::new(["sh", "-c", &script, &file])).await.expect("there is sh");
    let status = client.wait(ID).await.expect("it ends");
    assert_eq!(status, ExitStatus::Code(0));
    fs::remove_dir_all(dir).expect("it is ours");
}

/// Reads all of it, and looks at every byte.
async fn read(client: &Client, pattern: &[u8], total: u64) -> Duration {
    let since = Instant::now();
    let mut output = client.output(ID, Stream::Stdout, 0);
    let mut at = 0;
    while let Some(bytes) = output.next().await.expect("it goes on after each break") {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let expected = &pattern[at % PATTERN_BYTES..];
            let (piece, behind) = rest.split_at(rest.len().min(expected.len()));
            assert!(piece == &expected[..piece.len()], "wrong bytes at {at}");
            (at, rest) = (at + piece.len(), behind);
        }
    }
    assert_eq!((at as u64, output.offset()), (total, total));
    since.elapsed()
}

fn noise() -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(PATTERN_BYTES).collect()
}
