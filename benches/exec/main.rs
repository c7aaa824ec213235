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
mod size;
mod throughput;

/// How much of everything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Quick,
    Full,
}

impl Scale {
    pub(crate) fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// Figures that belong together.
type Group = fn(Scale);

fn main() {
    let mut scale = Scale::Full;
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => scale = Scale::Quick,
            // What cargo itself adds.
            "--bench" => {}
            group => wanted.push(group.to_string()),
        }
    }
    let groups: [(&str, Group); 6] = [
        ("latency", latency::run),
        ("crowd", latency::crowd),
        ("pipes", throughput::pipes),
        ("terminals", throughput::terminals),
        ("memory", memory::run),
        ("size", size::run),
    ];
    for (name, run) in groups {
        if wanted.is_empty() || wanted.iter().any(|group| group == name) {
            run(scale);
        }
    }
}
