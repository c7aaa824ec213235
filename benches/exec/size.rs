//! How soon an agent answers, and how large its program is.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    Scale,
    agent::Agent,
    door::{Door, Frames, runtime},
    floors,
    report::{Target, alone, line, mib, skip},
};

const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";
/// Those of the Dockerfile.
const STATIC_FLAGS: &str = "-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs";

pub(crate) fn run(scale: Scale) {
    first_answer(scale);
    static_binary(scale);
}

fn first_answer(scale: Scale) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let round = || {
        let floor = ms(floors::spawn());
        let started = Instant::now();
        let agent = Agent::start(&[]);
        runtime().block_on(async { Door::open(agent.port, Frames::Large).await.health().await });
        (ms(started.elapsed()), floor)
    };
    let rounds: Vec<_> = (0..scale.pick(11, 31)).map(|_| round()).collect();
    line("start to first answer", "ms", "spawn", &rounds, Target::AtMost(10.0));
}

/// Builds the binary that goes into images where nobody keeps any, in a directory of its own.
fn static_binary(scale: Scale) {
    let name = "static stripped binary";
    if scale == Scale::Quick {
        return skip(name, "it is built by the full run");
    }
    if cfg!(not(target_arch = "x86_64")) {
        return skip(name, "it is built for x86-64 only");
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../bench-static");
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--profile",
            "dist",
            "--quiet",
            "--no-default-features",
            "--bin",
            "doorward",
            "--target",
            STATIC_TARGET,
        ])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUSTFLAGS", STATIC_FLAGS)
        .status();
    if !built.is_ok_and(|status| status.success()) {
        return skip(name, "it cannot be built here");
    }
    let binary = target.join(STATIC_TARGET).join("dist/doorward");
    let bytes = std::fs::metadata(binary).map_or(0, |metadata| metadata.len());
    alone(name, "MiB", mib(bytes), Target::AtMost(8e6 / f64::from(1 << 20)));
}
