//! What images cost, each figure against a floor that is measured in turns with it.
//!
//! `cargo bench --bench images [-- --quick]` makes a tree like a Python site-packages under target/ and
//! prints one line a figure:
//!
//! ```text
//! name,value,floor,ratio
//! ```
//!
//! Floors are GNU tar and zstd of the machine. Times are in milliseconds and medians of some rounds; a
//! ratio above its target gets a note behind it and never fails a run. `--quick` takes a tenth of the tree.

mod snapshot;
mod tree;
mod unpack;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let top = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("images-{}", std::process::id()));
    let _ = fs::remove_dir_all(&top);
    fs::create_dir_all(&top).expect("target/ can be written");
    let (files, rounds) = if quick { (2500, 3) } else { (25_000, 5) };
    let bytes = tree::make(&top.join("tree"), files);
    println!("# {files} files, {} MiB", bytes >> 20);
    println!("name,value,floor,ratio");
    snapshot::run(&top, rounds);
    unpack::run(&top, rounds);
    println!("# peak of resident memory: {} KiB (<= 98304)", peak_kib());
    let _ = fs::remove_dir_all(&top);
}

/// Prints a figure and what it is held against.
fn line(name: &str, value: f64, floor: f64, most: f64) {
    let ratio = value / floor;
    let verdict = if ratio <= most { "" } else { ",MISSED" };
    println!("{name},{value:.1},{floor:.1},{ratio:.3} (<= {most}){verdict}");
}

/// How long something takes.
fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

/// The middle one, in milliseconds.
fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
