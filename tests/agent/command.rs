//! `doorward exec`, as a person or a script runs it: through an agent inside itself, and through
//! one elsewhere.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    proxy::Proxy,
    support::{Agent, Noise, TASK, have, processes, skip, until},
};

const BINARY: &str = env!("CARGO_BIN_EXE_doorward");

/// `doorward exec` with these words, in no environment that could change it.
fn exec(words: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("exec").args(words).stdin(Stdio::null());
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("DOORWARD_")) {
        if key != "DOORWARD_DISABLE" {
            command.env_remove(key);
        }
    }
    command
}

/// The same, through `agent`.
fn remote(agent: &Agent, words: &[&str]) -> Command {
    let address = format!("http://{}", agent.host_and_port());
    remote_by(agent, &address, words)
}

fn remote_by(agent: &Agent, address: &str, words: &[&str]) -> Command {
    let tokens = agent.dir.path().join("tokens");
    let mut all = vec!["--address", address, "--task-id", TASK, "--token-file"];
    all.push(tokens.to_str().unwrap());
    all.extend(words);
    exec(&all)
}

fn check(mut command: Command, code: i32, stdout: &str, stderr: &str) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {output:?}");
    assert_eq!(text(&output.stdout), stdout, "{command:?}: {output:?}");
    assert!(text(&output.stderr).contains(stderr), "{command:?}: {output:?}");
}

/// Runs a command with these bytes on its input, off the reactor.
async fn feed(mut command: Command, input: Vec<u8>) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    tokio::task::spawn_blocking(move || {
        let writer = std::thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    })
    .await
    .unwrap()
}

#[test]
fn embedded_it_gives_what_the_command_gave() {
    check(exec(&["--", "sh", "-c", "echo out; echo err >&2; exit 5"]), 5, "out\n", "err\n");
    check(exec(&["--", "sh", "-c", "kill -9 $$"]), 137, "", "");
    check(exec(&["--", "true"]), 0, "", "");
    check(exec(&["--", "cat"]), 0, "", "");
    check(
        exec(&["-w", "/usr", "-e", "A=b c", "--", "sh", "-c", "pwd; echo $A"]),
        0,
        "/usr\nb c\n",
        "",
    );
    check(exec(&["--timeout", "1", "--", "sh", "-c", "echo hi; sleep 60"]), 137, "hi\n", "");
    check(exec(&["--", "no-such-program"]), 125, "", "no-such-program");
    check(exec(&["-w", "/no/such", "--", "true"]), 125, "", "/no/such");
    check(exec(&["--address", "http://127.0.0.1:1", "--", "true"]), 125, "", "127.0.0.1:1");
    check(exec(&["--address", "gopher://x", "--", "true"]), 125, "", "gopher");
}

#[tokio::test]
async fn input_goes_through_with_i() {
    let data = Noise::new(1).bytes(5_000_000);
    let output = feed(exec(&["-i", "--", "cat"]), data.clone()).await;
    assert!(output.status.success() && output.stdout == data, "{} bytes", output.stdout.len());
    let output = feed(exec(&["--", "wc", "-c"]), data).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0");
}

#[tokio::test]
async fn remote_it_gives_what_the_command_gave() {
    let agent = Agent::start().await;
    check(remote(&agent, &["--", "sh", "-c", "echo out; exit 5"]), 5, "out\n", "");
    let address = format!("tcp://{}", agent.host_and_port());
    check(remote_by(&agent, &address, &["--", "echo", "hi"]), 0, "hi\n", "");
    let mut by_environment = exec(&["--", "echo", "hi"]);
    by_environment.env("DOORWARD_ADDRESS", &address).env("DOORWARD_TASK_ID", TASK);
    by_environment.env("DOORWARD_TOKEN", crate::support::door::TOKEN);
    check(by_environment, 0, "hi\n", "");
    check(exec(&["--address", &address, "--task-id", TASK, "--", "true"]), 125, "", "");
}

#[tokio::test]
async fn detached_it_leaves_the_command_running() {
    let agent = Agent::start().await;
    let begun = Instant::now();
    let words = ["-d", "--id", "mine", "--", "sh", "-c", "sleep 1; echo later"];
    let output = remote(&agent, &words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("mine"), "{output:?}");
    assert!(begun.elapsed() < Duration::from_secs(1), "took {:?}", begun.elapsed());
    let stdout = agent.door().await.read("mine", 0, 0).await.unwrap();
    assert_eq!(stdout.bytes, b"later\n");
}

#[tokio::test]
async fn broken_connections_are_not_seen() {
    let agent = Agent::start().await;
    let proxy = Proxy::before(agent.host_and_port(), 11).await;
    let address = format!("http://{}", proxy.host_and_port);
    let data = Noise::new(2).bytes(24 << 20);
    let output = feed(remote_by(&agent, &address, &["-i", "--", "cat"]), data.clone()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == data, "{} bytes", output.stdout.len());
    assert!(proxy.resets() > 20, "only {} resets", proxy.resets());
}

/// Sends SIGINT to a running `doorward exec` and returns how it ended.
async fn interrupt(mut command: Command, tag: &str) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    // The command itself, beside the `doorward exec` that has its words too.
    let sleeper = format!("sleep {tag}");
    let runs = || {
        let found = processes::with_command(&sleeper);
        found.iter().any(|pid| processes::describe(*pid).contains(&format!(": {sleeper}")))
    };
    until("the command runs", runs).await;
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn an_interrupt_ends_what_is_embedded_and_leaves_what_is_remote() {
    let output = interrupt(exec(&["--", "sleep", "8101.5"]), "8101.5").await;
    assert!(!output.status.success(), "{output:?}");
    until("it is gone", || processes::with_command("sleep 8101.5").is_empty()).await;

    let agent = Agent::start().await;
    let words = ["--id", "goes-on", "--", "sleep", "8102.5"];
    let output = interrupt(remote(&agent, &words), "8102.5").await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("goes-on"), "{output:?}");
    assert_eq!(agent.door().await.poll("goes-on").await.unwrap(), None);
}

#[test]
fn a_terminal_of_ones_own() {
    if !have("script") {
        return skip("terminal", "no script(1)");
    }
    let inner = format!("{BINARY} exec -t -- sh -c 'test -t 0 && test -t 1 && stty size'");
    let outer = format!("stty rows 31 cols 97; {inner}");
    let mut command = Command::new("script");
    let output = command.args(["-qec", &outer, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("31 97"), "{output:?}");
}
