//! `top`, with and without a terminal.

use std::{fs::File, io::Write, os::unix::process::CommandExt, process::Child};

use rustix::{
    process::{Signal, kill_process},
    termios::{LocalModes, tcgetattr},
};

use crate::support::{Agent, Terminal, pid};

/// Where the alternate screen begins, and where it is left.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

#[test]
fn without_a_terminal_it_is_one_table_a_look() {
    let agent = Agent::start();
    agent.spawn("busy", "while :; do echo yyyyyyyyyyyyyyyyyyyyyyy; done");
    agent.spawn("idle", "exec sleep 1000");
    let seen = agent.run(&["top", "-n", "2", "-d", "300ms"]);
    assert_eq!((seen.code, &seen.stderr[..]), (0, ""));
    let tables: Vec<&str> = seen.stdout.split("\n\n").collect();
    assert_eq!(tables.len(), 2, "{seen:?}");
    for table in tables {
        let first: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(first[0][..5], ["ID", "STATE", "PID", "PROCS", "CPU"]);
        assert_eq!((first[1][0], first[2][0]), ("busy", "idle"), "{table}");
    }
    assert!(!seen.stdout.contains('\x1b'));

    let lines = agent.run(&["top", "-n", "1", "-d", "300ms", "--sort", "id", "--json"]).lines();
    assert_eq!(lines.len(), 1);
    let (busy, idle) = (&lines[0][0], &lines[0][1]);
    assert!(busy["output_bytes_per_second"].as_f64() > Some(1000.0), "{busy}");
    assert!(busy["cpu_percent"].as_f64() > Some(1.0), "{busy}");
    assert!(busy["usage"]["memory_bytes"].as_u64() > Some(4096), "{busy}");
    assert_eq!(idle["output_bytes_per_second"], 0.0);
    assert_eq!(idle["processes"], 1);
}

/// `top` on a terminal, in the foreground of nobody.
fn start(agent: &Agent, terminal: &Terminal, args: &[&str]) -> Child {
    let mut command = agent.command(&[&["top"], args].concat());
    let theirs = || terminal.theirs.try_clone().unwrap();
    command.stdin(theirs()).stdout(theirs()).process_group(0);
    command.spawn().unwrap()
}

/// What the terminal is set to.
fn modes(terminal: &Terminal) -> String {
    format!("{:?}", tcgetattr(&terminal.theirs).unwrap())
}

#[test]
fn a_terminal_is_as_before_after_each_way_of_leaving() {
    let agent = Agent::start();
    agent.spawn("web", "sleep 1000");
    type Leave = fn(&Child, &mut File);
    let ways: [(&str, Leave, i32); 4] = [
        ("q", |_, keys| keys.write_all(b"q").unwrap(), 0),
        ("^C", |_, keys| keys.write_all(b"\x03").unwrap(), 0),
        ("TERM", |child, _| kill_process(pid(child), Signal::TERM).unwrap(), 143),
        ("HUP", |child, _| kill_process(pid(child), Signal::HUP).unwrap(), 129),
    ];
    for (name, leave, code) in ways {
        let mut terminal = Terminal::new(100);
        let before = modes(&terminal);
        let mut child = start(&agent, &terminal, &["-d", "200ms"]);
        assert_eq!(terminal.until(ENTER), ENTER, "{name}");
        terminal.until("sleep 1000");
        let raw = tcgetattr(&terminal.theirs).unwrap().local_modes;
        assert!(!raw.contains(LocalModes::ECHO), "{name}");
        leave(&child, &mut terminal.ours);
        let last = terminal.until(LEAVE);
        assert!(last.contains("\x1b[?25h"), "the cursor is back: {name}");
        assert_eq!(child.wait().unwrap().code(), Some(code), "{name}");
        assert_eq!(modes(&terminal), before, "{name}");
    }
}

#[test]
fn what_starts_and_ends_is_shown_at_once() {
    let agent = Agent::start();
    let mut terminal = Terminal::new(100);
    // No second look comes within this test.
    let mut child = start(&agent, &terminal, &["-d", "1h"]);
    terminal.until("0 execs, 0 running");
    terminal.until("COMMAND");
    agent.spawn("web", "sleep 1000");
    terminal.until("1 exec, 1 running");
    terminal.until("web");
    agent.run(&["kill", "-s", "KILL", "web"]);
    terminal.until("1 exec, 0 running");
    terminal.ours.write_all(b"q").unwrap();
    terminal.until(LEAVE);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn so_many_looks_and_no_more() {
    let agent = Agent::start();
    let mut terminal = Terminal::new(100);
    let mut child = start(&agent, &terminal, &["-n", "1", "-d", "200ms"]);
    terminal.until(ENTER);
    terminal.until(LEAVE);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
