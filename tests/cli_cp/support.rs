//! An agent, copies through it, and what is on disk afterwards.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) const DOORWARD: &str = env!("CARGO_BIN_EXE_doorward");
/// Longer than anything a healthy copy takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command of ours without settings from outside.
pub(crate) fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DOORWARD_")) {
        // The suite runs with kernel features disabled too.
        if name != "DOORWARD_DISABLE" {
            command.env_remove(name);
        }
    }
    command
}

/// An agent and a directory for what is copied.
pub(crate) struct Agent {
    child: Child,
    pub(crate) address: String,
    top: tempfile::TempDir,
}

impl Agent {
    pub(crate) fn start() -> Self {
        Self::started(clean(DOORWARD), &[])
    }

    /// Starts one with `command` before its arguments and `flags` behind them. Its commands start in
    /// the directory.
    pub(crate) fn started(mut command: Command, flags: &[&str]) -> Self {
        let top = tempfile::tempdir().unwrap();
        // Others than its owner may have business in it.
        fs::set_permissions(top.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        command.args(["serve", "--listen", "tcp://127.0.0.1:0", "--allow-anonymous"]);
        command.args(["--log", "error"]).args(flags);
        if !flags.contains(&"--state-dir") {
            command.arg("--state-dir").arg(top.path().join("state"));
        }
        let mut child = command.current_dir(top.path()).spawn().unwrap();
        let mut log = child.stderr.take().unwrap();
        let (mut line, mut byte) = (Vec::new(), [0]);
        let address = loop {
            log.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
            let text = String::from_utf8_lossy(&line);
            if let Some((_, address)) = text.strip_suffix('\n').unwrap_or("").split_once(" on ") {
                break address.to_string();
            }
            if byte[0] == b'\n' {
                eprint!("{text}");
                line.clear();
            }
        };
        // What it says later is for whoever looks at a failure.
        thread::spawn(move || io::copy(&mut log, &mut io::stderr()));
        Self { child, address, top }
    }

    /// A path in the directory.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.top.path().join(path)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// `doorward cp WORDS`, in the directory.
    pub(crate) fn cp(&self, words: &[impl AsRef<OsStr>]) -> Command {
        self.cp_through(&self.address, words)
    }

    /// The same through another address.
    pub(crate) fn cp_through(&self, address: &str, words: &[impl AsRef<OsStr>]) -> Command {
        let mut command = clean(DOORWARD);
        command.args(["cp", "--address", address]).args(words).current_dir(self.top.path());
        command
    }

    /// Copies, which must succeed and say nothing.
    #[track_caller]
    pub(crate) fn copy(&self, words: &[impl AsRef<OsStr> + std::fmt::Debug]) {
        let output = self.cp(words).output().unwrap();
        assert_eq!(said(&output), (Some(0), String::new()), "cp {words:?}");
    }

    /// Runs a command at the agent; what it prints.
    pub(crate) fn exec(&self, words: &[&str]) -> String {
        let mut command = clean(DOORWARD);
        command.args(["exec", "--address", &self.address, "--"]).args(words);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// The exit code and what was said on standard error.
pub(crate) fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Feeds `input` to a command and waits for it.
pub(crate) fn fed(command: &mut Command, input: Vec<u8>) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may end before it has read all.
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    output
}

/// All beneath a path, by names as bytes: kind and mode, time in nanoseconds, data or target, and how
/// many names it has.
pub(crate) fn everything(top: &Path) -> BTreeMap<PathBuf, String> {
    let (mut found, mut ahead) = (BTreeMap::new(), vec![top.to_path_buf()]);
    while let Some(path) = ahead.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let data = if kind.is_file() {
            format!("{:x}", hash(&fs::read(&path).unwrap()))
        } else if kind.is_symlink() {
            format!("{:?}", fs::read_link(&path).unwrap())
        } else {
            String::new()
        };
        let names = if kind.is_dir() { 0 } else { meta.nlink() };
        if kind.is_dir() {
            ahead.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let time = (meta.mtime(), meta.mtime_nsec());
        let what = format!("{:o} {time:?} {} {data} {names}", meta.mode(), meta.uid());
        found.insert(path.strip_prefix(top).unwrap().into(), what);
    }
    found
}

fn hash(data: &[u8]) -> u64 {
    data.iter().fold(data.len() as u64, |hash, byte| {
        (hash.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    })
}

/// Bytes without a pattern that a shift would keep.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Asks again until the answer is yes; fails with `what` when patience ends.
#[track_caller]
pub(crate) fn until(what: &str, mut yes: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !yes() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Says aloud that a test cannot run here; fails where everything must run.
pub(crate) fn skip(test: &str, why: &str) {
    // Past the capture of the test harness, which shows nothing of a test that passes.
    let line = format!("SKIPPED: cp::{test}: {why}\n");
    let _ = io::stderr().write_all(line.as_bytes());
    let must = std::env::var_os("DOORWARD_TESTS_MUST_RUN").is_some();
    assert!(!must, "{}", line.trim_end());
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
