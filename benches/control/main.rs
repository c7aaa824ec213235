//! What `doorward.v1.Control` and the client library promise in numbers, each beside a floor that is
//! taken in the same run.
//!
//! `cargo bench --bench control [-- --quick] [-- GROUP…]` starts the built binary in a fresh
//! directory under target/ and prints one line a figure, as the bench `exec` does.
//!
//! Floors: `pty` is the echo of the same program on a bare terminal, `unary` one health check on a
//! kept connection, `quiet` the same without the flood, `whole` the same through the same proxy
//! without resets, `ps of none` the same command where nothing runs. A ratio never fails a run. A
//! case for which there is no room is skipped aloud. `--quick` needs at most 400 MiB on disk.

// What both benches use; each leaves out a part of it.
#[allow(dead_code)]
#[path = "../exec/agent.rs"]
mod agent;
mod crowd;
mod cutter;
#[allow(dead_code)]
#[path = "../exec/door.rs"]
mod door;
mod echo;
#[allow(dead_code)]
#[path = "../exec/report.rs"]
mod report;
mod resets;
#[path = "../exec/scale.rs"]
mod scale;

use doorward::client::{Client, Options};

pub(crate) use self::scale::Scale;

fn main() {
    scale::take(&[("echo", echo::run), ("resets", resets::run), ("crowd", crowd::run)]);
}

/// The library's client of what listens on this port.
pub(crate) async fn client(port: u16) -> Client {
    let address = format!("http://127.0.0.1:{port}").parse().expect("it is an address");
    let connected = Client::connect(Options::new(address, agent::TASK)).await;
    connected.expect("the agent listens")
}
