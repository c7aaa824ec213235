//! `doorward exec` as a user runs it: the built binary, an embedded agent or one beside it.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
};

use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};

const DOORWARD: &str = env!("CARGO_BIN_EXE_doorward");

fn doorward(args: &[&str]) -> Command {
    let mut command = Command::new(DOORWARD);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DOORWARD_")) {
        // The suite runs with kernel features disabled too.
        if name != "DOORWARD_DISABLE" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `doorward exec ARGS` and compares code, stdout and stderr.
#[track_caller]
fn check(args: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = doorward(&["exec"]).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let seen = (output.status.code(), text(&output.stdout), text(&output.stderr));
    assert_eq!(seen, (Some(code), stdout.to_string(), stderr.to_string()), "{args:?}");
}

#[test]
fn streams_and_code_are_those_of_the_command() {
    check(&["--", "sh", "-c", "echo out; echo err >&2; exit 3"], 3, "out\n", "err\n");
    check(&["--", "true"], 0, "", "");
    check(&["--", "sh", "-c", "kill -9 $$"], 137, "", "");
    check(&["--timeout", "1", "--", "sh", "-c", "echo a; sleep 60"], 137, "a\n", "");
}

#[test]
fn place_and_variables_are_those_that_were_asked_for() {
    let script = "pwd; echo $A $B";
    check(
        &["-w", "/usr", "-e", "A=1", "-e", "B=x=y", "--", "sh", "-c", script],
        0,
        "/usr\n1 x=y\n",
        "",
    );
}

#[test]
fn our_own_failures_are_125() {
    let missing = "doorward: failed to execute \"no-such-program\"";
    let output = doorward(&["exec", "--", "no-such-program"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with(missing), "{output:?}");

    let nobody = doorward(&["exec", "--address", "unix:///nonexistent/x", "--", "true"]);
    let output = { nobody }.output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let expected = "doorward: failed to connect to unix:///nonexistent/x: ";
    assert!(String::from_utf8_lossy(&output.stderr).starts_with(expected), "{output:?}");
}

#[test]
fn input_is_at_its_end_unless_it_is_sent() {
    check(&["--", "cat"], 0, "", "");
    let data: Vec<u8> =
        (0..3_000_000u32).map(|n| (n.wrapping_mul(2654435761) >> 24) as u8).collect();
    let mut child = doorward(&["exec", "-i", "--", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = data.clone();
    let writer = thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == data, "{} bytes came of {}", output.stdout.len(), data.len());
}

#[test]
fn nobody_reading_ends_it_like_any_program() {
    let mut child = doorward(&["exec", "--", "yes"]).spawn().unwrap();
    let mut first = [0; 2];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"y\n");
    assert_eq!(child.wait().unwrap().code(), Some(141));
}

#[test]
fn an_interrupt_ends_an_embedded_exec() {
    let script = "trap 'echo ended; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = doorward(&["exec", "--", "sh", "-c", script]).spawn().unwrap();
    wait_for(&mut child, "ready\n");
    kill_process(pid(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let seen = (output.status.code(), String::from_utf8_lossy(&output.stdout));
    assert_eq!(seen, (Some(5), "ended\n".into()), "{output:?}");
}

#[test]
fn an_interrupt_leaves_a_remote_exec_running() {
    let agent = Agent::start();
    let script = "echo ready; read line; echo $line; exit 4";
    let args = ["--id", "kept", "--", "sh", "-c", script];
    let mut child =
        agent.exec(&[&["-i"][..], &args].concat()).stdin(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take();
    wait_for(&mut child, "ready\n");
    kill_process(pid(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let told = format!("doorward: left exec kept running at {}\n", agent.address);
    assert_eq!(String::from_utf8_lossy(&output.stderr), told);

    // The same command under the same id is the same exec: its output from the first byte on.
    let mut child =
        agent.exec(&[&["-i"][..], &args].concat()).stdin(Stdio::piped()).spawn().unwrap();
    wait_for(&mut child, "ready\n");
    child.stdin.take().unwrap().write_all(b"again\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(4), &b"again\n"[..]),
        "{output:?}"
    );

    let other = agent.exec(&["--id", "kept", "--", "true"]).output().unwrap();
    assert_eq!(other.status.code(), Some(125), "{other:?}");
}

#[test]
fn a_detached_exec_goes_on_without_us() {
    let agent = Agent::start();
    let file = agent.directory.join("made");
    let script = format!("cat; echo made > {}", file.display());
    let args = ["-d", "--id", "later", "--", "sh", "-c", &script];
    let output = agent.exec(&args).output().unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(0), &b"later\n"[..]),
        "{output:?}"
    );
    let again = agent.exec(&[&["--json"], &args[..]].concat()).output().unwrap();
    assert_eq!(&again.stdout[..], b"{\"id\":\"later\"}\n", "{again:?}");
    let output = agent.exec(&args[1..]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(fs::read_to_string(file).unwrap(), "made\n");

    let embedded = doorward(&["exec", "-d", "--", "true"]).output().unwrap();
    assert_eq!(embedded.status.code(), Some(125), "{embedded:?}");
}

#[test]
fn every_help_says_what_the_exit_codes_mean() {
    let help = |args: &[&str]| {
        let output = doorward(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let all = help(&["--help"]);
    let (_, commands) = all.split_once("Commands:\n").unwrap();
    let names = commands.lines().map_while(|line| line.split_whitespace().next());
    let names: Vec<_> = names.filter(|name| *name != "help").collect();
    assert!(names.len() >= 15 && names.contains(&"cp"), "{names:?}");
    for name in names {
        assert!(help(&[name, "--help"]).contains("Exit code: "), "{name}");
    }
}

#[test]
fn a_terminal_is_raw_while_the_command_runs_and_as_before_after() {
    let (ours, theirs) = terminal();
    let before = tcgetattr(&ours).unwrap();
    let script = "stty size; echo $TERM; read line; echo got $line; exit 6";
    let mut command = doorward(&["exec", "-it", "--", "sh", "-c", script]);
    command.env("TERM", "vt100").stdin(theirs.try_clone().unwrap()).stdout(theirs);
    let mut child = command.process_group(0).spawn().unwrap();
    drop(command);
    let mut ours = fs::File::from(ours);
    let mut shown = String::new();
    while !shown.contains("vt100\r\n") {
        shown.push_str(&some(&mut ours));
    }
    assert_eq!(shown, "24 80\r\nvt100\r\n");
    assert!(!tcgetattr(&ours).unwrap().local_modes.contains(LocalModes::ECHO));
    ours.write_all(b"line\r").unwrap();
    while !shown.contains("got line\r\n") {
        shown.push_str(&some(&mut ours));
    }
    assert_eq!(child.wait().unwrap().code(), Some(6));
    let after = tcgetattr(&ours).unwrap();
    assert_eq!(format!("{after:?}"), format!("{before:?}"));
}

/// What the terminal shows next.
fn some(terminal: &mut fs::File) -> String {
    let mut buffer = [0; 1000];
    let length = terminal.read(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// A terminal: the side of the person, and the side of programs.
fn terminal() -> (OwnedFd, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let path = ptsname(&ours, Vec::new()).unwrap();
    let theirs = fs::File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
    (ours, theirs.into())
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Reads from the child's output exactly `text`.
fn wait_for(child: &mut Child, text: &str) {
    let mut seen = vec![0; text.len()];
    child.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
    assert_eq!(String::from_utf8_lossy(&seen), text);
}

/// An agent on a socket in a directory of its own.
struct Agent {
    child: Child,
    address: String,
    directory: PathBuf,
    _owned: tempfile::TempDir,
}

impl Agent {
    fn start() -> Self {
        let owned = tempfile::tempdir().unwrap();
        let directory = owned.path().to_path_buf();
        let address = format!("unix://{}/agent.sock", directory.display());
        let state = directory.join("state").display().to_string();
        let args = ["serve", "--listen", &address, "--state-dir", &state, "--log", "error"];
        let mut child = doorward(&args).spawn().unwrap();
        let mut line = Vec::new();
        let mut byte = [0];
        let mut log = child.stderr.take().unwrap();
        while !line.ends_with(format!("doorward: listening on {address}\n").as_bytes()) {
            log.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        // What it says later is for whoever looks at a failure.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::stderr()));
        Self { child, address, directory, _owned: owned }
    }

    fn exec(&self, args: &[&str]) -> Command {
        let mut command = doorward(&["exec", "--address", &self.address]);
        command.args(args);
        command
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = kill_process(pid(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}
