//! What the agent costs against what the machine can do: the figures it promises, each beside
//! a floor that is taken in the same run.
//!
//! `cargo bench --bench exec [-- --quick] [-- GROUP…]` starts the built binary in a fresh
//! directory under target/, talks to it over loopback TCP, and prints one line a figure:
//!
//! ```text
//! name  value unit  name-of-the-floor floor  ratio (target)
//! ```
//!
//! Floors: `spawn` is a vfork-like start and wait of /bin/true, `unary` one health check on the
//! kept connection, `pipe` reading what the same command prints, `store` the same and writing it
//! to a fresh unlinked file, `pty` reading it from a bare terminal. A ratio never fails a run. A
//! case for which there is no room is skipped aloud. `--quick` needs at most 256 MiB on disk.

mod agent;
mod door;
mod floors;
mod latency;
mod memory;
mod report;
mod scale;
mod scheduled;
mod size;
mod throughput;

pub(crate) use self::scale::Scale;

fn main() {
    scale::take(&[
        ("latency", latency::run),
        ("crowd", latency::crowd),
        ("pipes", throughput::pipes),
        ("terminals", throughput::terminals),
        ("memory", memory::run),
        ("size", size::run),
    ]);
}
