//! An agent of their own for tests, the binary with clean variables, a terminal.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde_json::Value;

/// Longer than anything takes on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary, with nothing in its variables that changes what it does.
pub(crate) fn doorward(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DOORWARD_")) {
        // The suite runs with kernel features disabled too.
        if name != "DOORWARD_DISABLE" {
            command.env_remove(name);
        }
    }
    command.env_remove("NO_COLOR").env("TERM", "xterm");
    command
}

/// What came of a command of ours.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Seen {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().expect("no signal ended it");
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Seen {
    /// Exactly this.
    #[track_caller]
    pub(crate) fn is(&self, code: i32, stdout: &str, stderr: &str) {
        let seen = (self.code, &self.stdout[..], &self.stderr[..]);
        assert_eq!(seen, (code, stdout, stderr));
    }

    /// Its lines as JSON.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// An agent on a socket in a directory of its own.
pub(crate) struct Agent {
    child: Child,
    pub(crate) address: String,
    pub(crate) directory: PathBuf,
    owned: tempfile::TempDir,
}

impl Agent {
    pub(crate) fn start() -> Self {
        Self::with(&[], &[])
    }

    /// With more flags and variables.
    pub(crate) fn with(args: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::within(tempfile::tempdir().unwrap(), args, variables)
    }

    /// Kills it, and starts another one on the same socket.
    pub(crate) fn killed_and_replaced(mut self) -> Self {
        let owned = std::mem::replace(&mut self.owned, tempfile::tempdir().unwrap());
        kill_process(pid(&self.child), Signal::KILL).unwrap();
        drop(self);
        Self::within(owned, &[], &[])
    }

    fn within(owned: tempfile::TempDir, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let directory = owned.path().to_path_buf();
        let address = format!("unix://{}/agent.sock", directory.display());
        let state = directory.join("state").display().to_string();
        let mut command = doorward(&["serve", "--listen", &address, "--state-dir", &state]);
        command.args(["--log", "error"]).args(args).envs(variables.iter().copied());
        let mut child = command.spawn().unwrap();
        let mut line = Vec::new();
        let mut byte = [0];
        let mut log = child.stderr.take().unwrap();
        while !line.ends_with(b"\n") {
            log.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        let line = String::from_utf8(line).unwrap();
        assert!(line.starts_with("doorward: listening on "), "{line}");
        // What it says later is for whoever looks at a failure.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::stderr()));
        Self { child, address, directory, owned }
    }

    /// A command for this agent.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = doorward(args);
        command.env("DOORWARD_ADDRESS", &self.address);
        command
    }

    /// Runs a command for this agent.
    pub(crate) fn run(&self, args: &[&str]) -> Seen {
        self.command(args).output().unwrap().into()
    }

    /// Runs a command that succeeds, and reads the document that it prints.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let seen = self.run(&[args, &["--json"]].concat());
        assert_eq!((seen.code, &seen.stderr[..]), (0, ""), "{args:?}");
        serde_json::from_str(&seen.stdout).unwrap()
    }

    /// Starts a shell script under this id.
    #[track_caller]
    pub(crate) fn spawn(&self, id: &str, script: &str) {
        self.run(&["exec", "-d", "--id", id, "--", "sh", "-c", script]).is(
            0,
            &format!("{id}\n"),
            "",
        );
    }

    /// Runs a shell script under this id to its end, whatever it prints.
    #[track_caller]
    pub(crate) fn finish(&self, id: &str, script: &str) {
        self.spawn(id, script);
        self.run(&["wait", id]);
        until("its output has ended", || self.json(&["inspect", id])[0]["state"] == "ended");
    }

    /// Waits until this exec has printed so many bytes on its standard output.
    pub(crate) fn printed(&self, id: &str, bytes: u64) {
        until("it has printed", || {
            self.json(&["inspect", id])[0]["streams"][0]["end_offset"].as_u64() >= Some(bytes)
        });
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = kill_process(pid(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Says aloud, past the harness's capture, that a group of tests cannot run here; fails where everything must.
pub(crate) fn skip(group: &str, why: &str) {
    let line = format!("SKIPPED: {group}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    assert!(std::env::var_os("DOORWARD_TESTS_MUST_RUN").is_none(), "{}", line.trim_end());
}

pub(crate) fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Asks again until the answer is yes.
#[track_caller]
pub(crate) fn until(what: &str, mut yes: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !yes() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A terminal: the side of the person, and the side of programs.
pub(crate) struct Terminal {
    pub(crate) ours: File,
    pub(crate) theirs: OwnedFd,
}

impl Terminal {
    pub(crate) fn new(columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let path = ptsname(&ours, Vec::new()).unwrap();
        let theirs = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&theirs, size).unwrap();
        Self { ours: ours.into(), theirs: theirs.into() }
    }

    /// Runs a command on it to its end, and returns all that it showed.
    pub(crate) fn show(mut self, mut command: Command) -> String {
        let mut child = command.stdout(self.theirs.try_clone().unwrap()).spawn().unwrap();
        assert!(child.wait().unwrap().success());
        // What was shown ends where this line begins.
        File::from(self.theirs.try_clone().unwrap()).write_all(b"<end>").unwrap();
        let shown = self.until("<end>");
        shown.strip_suffix("<end>").unwrap().to_string()
    }

    /// What it shows, up to this text.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let (mut shown, mut byte) = (Vec::new(), [0]);
        while !shown.ends_with(text.as_bytes()) {
            let timeout = Timespec::try_from(PATIENCE).unwrap();
            let ready = poll(&mut [PollFd::new(&self.ours, PollFlags::IN)], Some(&timeout));
            let seen = String::from_utf8_lossy(&shown);
            assert_eq!(ready, Ok(1), "waited in vain for {text:?} after {seen:?}");
            self.ours.read_exact(&mut byte).unwrap();
            shown.push(byte[0]);
        }
        String::from_utf8(shown).unwrap()
    }
}
