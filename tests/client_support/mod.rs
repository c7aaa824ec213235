//! What the tests of the client library against the real agent share.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use bytes::Bytes;

/// An agent on a free port, with a directory of its own.
pub(crate) struct Agent {
    child: Child,
    pub(crate) port: u16,
    directory: tempfile::TempDir,
}

impl Agent {
    pub(crate) fn start(flags: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_doorward"))
            .args(["serve", "--listen", "tcp://127.0.0.1:0", "--log", "error", "--state-dir"])
            .arg(directory.path().join("state"))
            .args(flags(directory.path()))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the agent ended");
            eprint!("{line}");
            if let Some(address) = line.strip_prefix("doorward: listening on tcp://127.0.0.1:") {
                break address.trim().parse().unwrap();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::stderr()));
        Self { child, port, directory }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The flags of an agent that lets everybody in.
pub(crate) fn open(_: &Path) -> Vec<String> {
    vec!["--allow-anonymous".into()]
}

/// Bytes without a pattern that a shift would keep.
pub(crate) fn noise(length: usize) -> Bytes {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}
