//! `logs`.

use std::{
    fs,
    io::{self, Read},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Agent, until};

/// Bytes that look random and are the same in every run.
fn noise(count: usize) -> Vec<u8> {
    (0..count as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// The two outputs of `logs` with these arguments, as bytes; it succeeds.
#[track_caller]
fn logs(agent: &Agent, args: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let output = agent.command(&[&["logs"], args].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    (output.stdout, output.stderr)
}

#[test]
fn bytes_go_out_as_they_came_in() {
    let agent = Agent::start();
    let (out, err) = (noise(300_000), noise(70_001));
    let (a, b) = (agent.directory.join("a"), agent.directory.join("b"));
    fs::write(&a, &out).unwrap();
    fs::write(&b, &err).unwrap();
    agent.finish("x", &format!("cat {}; cat {} >&2", a.display(), b.display()));
    assert!(logs(&agent, &["x"]) == (out.clone(), err.clone()));
    assert!(logs(&agent, &["-f", "x"]) == (out.clone(), err.clone()));
    assert!(logs(&agent, &["--stdout", "x"]) == (out.clone(), vec![]));
    assert!(logs(&agent, &["--stderr", "x"]) == (vec![], err.clone()));
    assert!(
        logs(&agent, &["--offset", "70000", "x"])
            == (out[70_000..].to_vec(), err[70_000..].to_vec())
    );
    let tail = (out[300_000 - 2048..].to_vec(), err[70_001 - 2048..].to_vec());
    assert!(logs(&agent, &["--tail", "2KiB", "x"]) == tail);
    assert!(logs(&agent, &["--tail", "0", "x"]) == (vec![], vec![]));
    let beyond = agent.run(&["logs", "--stdout", "--offset", "300001", "x"]);
    assert_eq!((beyond.code, &beyond.stdout[..]), (1, ""));
    let unknown = "doorward: failed to read the output of nobody: no exec nobody here\n";
    agent.run(&["logs", "nobody"]).is(1, "", unknown);
}

#[test]
fn follow_goes_on_to_the_end_and_without_it_what_is_there_is_all() {
    let agent = Agent::start();
    let gate = agent.directory.join("gate");
    let script =
        format!("echo first; until [ -e {} ]; do sleep 0.05; done; echo last", gate.display());
    agent.spawn("x", &script);
    agent.printed("x", 6);
    assert_eq!(logs(&agent, &["x"]).0, b"first\n");

    let mut child = agent.command(&["logs", "-f", "x"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut seen = [0; 6];
    stdout.read_exact(&mut seen).unwrap();
    fs::write(gate, "").unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!((&seen[..], &rest[..]), (&b"first\n"[..], "last\n"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn lines_with_the_time_of_their_arrival() {
    let agent = Agent::start();
    agent.finish("x", "echo one; echo two; printf three >&2");
    let (out, err) = logs(&agent, &["--timestamps", "x"]);
    let stamped = |text: Vec<u8>, expected: &[&str]| {
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split_once(' ').unwrap()).collect();
        let words: Vec<_> = lines.iter().map(|(_, word)| *word).collect();
        assert_eq!(words, expected);
        // 2026-11-23T23:58:02.942Z, or nothing that is known.
        let is_time = |time: &str| time == "-" || (time.len() >= 20 && time.ends_with('Z'));
        assert!(lines.iter().all(|(time, _)| is_time(time)), "{lines:?}");
    };
    stamped(out, &["one", "two"]);
    stamped(err, &["three"]);
}

/// The bytes of one stream in lines of JSON, put together by their offsets.
fn joined(lines: &[Value], stream: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines.iter().filter(|line| line["stream"] == stream && line["event"] == "chunk") {
        assert_eq!(line["offset"], bytes.len());
        bytes.extend(STANDARD.decode(line["data"].as_str().unwrap()).unwrap());
    }
    bytes
}

#[test]
fn json_is_a_line_an_event() {
    let agent = Agent::start();
    agent.finish("x", "printf 'a\\377b'; printf err >&2");
    let lines = agent.run(&["logs", "--json", "x"]).lines();
    assert_eq!(joined(&lines, "stdout"), b"a\xffb");
    assert_eq!(joined(&lines, "stderr"), b"err");
    let end = lines.iter().find(|line| line["event"] == "end" && line["stream"] == "stdout");
    let end = end.unwrap();
    assert_eq!((&end["offset"], &end["ended"]), (&json!(3), &json!(true)));
}

#[test]
fn what_is_not_kept_is_told() {
    let agent = Agent::with(&["--spool-stream-max", "64KiB"], &[]);
    let (all, file) = (noise(1 << 20), agent.directory.join("file"));
    fs::write(&file, &all).unwrap();
    agent.finish("x", &format!("cat {}", file.display()));
    let kept = agent.json(&["inspect", "x"])[0]["streams"][0].clone();
    let first = kept["first_offset"].as_u64().unwrap();
    assert!(first > 0 && kept["dropped_bytes"] == first, "{kept}");

    let (out, err) = logs(&agent, &["x"]);
    assert!(out == all[first as usize..]);
    let notice = format!("[doorward: {first} bytes are not kept any more]\n");
    assert_eq!(String::from_utf8(err).unwrap(), notice);
    let lines = agent.run(&["logs", "--json", "--stdout", "x"]).lines();
    let gap = json!({ "event": "gap", "stream": "stdout", "first_offset": 0, "end_offset": first });
    assert_eq!(lines[0], gap);
}

/// Carries connections to `to`, and cuts each after some bytes of answers.
fn cutting_proxy(at: &Path, to: &Path, bytes: usize, cuts: Arc<AtomicU64>) {
    let listener = UnixListener::bind(at).unwrap();
    let to = to.to_path_buf();
    thread::spawn(move || {
        for ours in listener.incoming().map_while(Result::ok) {
            let theirs = UnixStream::connect(&to).unwrap();
            let (mut from, mut into) = (ours.try_clone().unwrap(), theirs.try_clone().unwrap());
            thread::spawn(move || io::copy(&mut from, &mut into));
            let cuts = cuts.clone();
            thread::spawn(move || {
                let carried =
                    io::copy(&mut theirs.try_clone().unwrap().take(bytes as u64), &mut (&ours));
                if carried.unwrap_or(0) == bytes as u64 {
                    cuts.fetch_add(1, Ordering::Relaxed);
                }
                for end in [ours, theirs] {
                    let _ = end.shutdown(Shutdown::Both);
                }
            });
        }
    });
}

#[test]
fn a_link_that_breaks_costs_no_byte() {
    let agent = Agent::start();
    let (all, file) = (noise(4 << 20), agent.directory.join("file"));
    fs::write(&file, &all).unwrap();
    let script = format!("cat {0}; head -c 1000000 {0} >&2", file.display());
    agent.finish("x", &script);
    let (at, cuts) = (agent.directory.join("proxy.sock"), Arc::new(AtomicU64::new(0)));
    cutting_proxy(&at, &agent.directory.join("agent.sock"), 500_000, cuts.clone());
    let mut command = agent.command(&["logs", "-f", "x"]);
    command.env("DOORWARD_ADDRESS", format!("unix://{}", at.display()));
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr[output.stderr.len().saturating_sub(200)..]);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(output.stdout == all && output.stderr == all[..1_000_000]);
    assert!(cuts.load(Ordering::Relaxed) >= 5, "{cuts:?}");
}

#[test]
fn an_exec_that_is_gone_is_an_error_and_what_came_was_printed() {
    let agent = Agent::start();
    agent.spawn("x", "echo before; exec sleep 1000");
    agent.printed("x", 7);
    let orphan = agent.json(&["inspect", "x"])[0]["pid"].as_i64().unwrap();
    let mut child = agent.command(&["logs", "-f", "--stdout", "x"]).spawn().unwrap();
    let mut seen = [0; 7];
    child.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"before\n");
    // Killed it says nothing of an end, and the next one on its socket knows nothing of the exec.
    let agent = agent.killed_and_replaced();
    let output = child.wait_with_output().unwrap();
    drop(agent);
    let orphan = Pid::from_raw(orphan.try_into().unwrap()).unwrap();
    kill_process(orphan, Signal::KILL).unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = "doorward: failed to read the output of x: no exec x here\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), told);
}

#[test]
fn nobody_reading_ends_it_like_any_program() {
    let agent = Agent::start();
    agent.spawn("x", "yes");
    let mut child = agent.command(&["logs", "-f", "x"]).spawn().unwrap();
    let mut first = [0; 2];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"y\n");
    until("it has left", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(141));
}
