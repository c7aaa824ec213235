//! What all tests share: an agent of their own, a client, a word with the kernel, a way to skip.

pub(crate) mod agent;
pub(crate) mod clients;
pub(crate) mod container;
pub(crate) mod control;
pub(crate) mod door;
pub(crate) mod processes;
pub(crate) mod sitting;

use std::{
    io::{self, Write},
    process::Command,
    time::{Duration, Instant},
};

pub(crate) use agent::{Agent, Setup, binary};
pub(crate) use control::Control;
pub(crate) use door::{Door, Exit, TASK, sh};

/// Longer than anything a healthy agent takes, on a machine that does other things too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Says aloud that a group of tests cannot run here; fails where everything must run.
///
/// It writes past the capture of the test harness, which shows nothing of a test that passes.
pub(crate) fn skip(group: &str, why: &str) {
    let line = format!("SKIPPED: {group}: {why}\n");
    let _ = io::stderr().write_all(line.as_bytes());
    let must = std::env::var_os("DOORWARD_TESTS_MUST_RUN").is_some();
    assert!(!must, "{}", line.trim_end());
}

/// Whether a program can be found and run.
pub(crate) fn have(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", "command -v \"$0\" >/dev/null", program])
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Asks again until the answer is yes; fails with `what` when patience ends.
pub(crate) async fn until(what: &str, mut yes: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !yes() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Bytes that look random and are the same in every run.
pub(crate) struct Noise(u64);

impl Noise {
    /// Bytes that depend on nothing but `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next eight bytes as a number (xorshift64).
    pub(crate) fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// The next `count` bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}
