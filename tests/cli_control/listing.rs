//! `ps` and `inspect`.

use serde_json::json;

use crate::support::{Agent, Terminal, until};

/// Lines of a table, each split at its blanks.
fn words(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn ps_shows_what_lives_and_with_all_what_has_ended() {
    let agent = Agent::start();
    agent.run(&["ps"]).is(0, "ID  STATE  PID  AGE  REASON  COMMAND\n", "");
    agent.spawn("web", "sleep 1000");
    agent.finish("build", "exit 3");

    let live = agent.run(&["ps"]);
    let lines = words(&live.stdout);
    assert_eq!(lines.len(), 2, "{live:?}");
    assert_eq!(lines[1][..2], ["web", "running"]);
    assert!(live.stdout.ends_with(" s          sh -c 'sleep 1000'\n"), "{live:?}");
    agent.run(&["ps", "-q"]).is(0, "web\n", "");

    let all = agent.run(&["ps", "-a"]);
    let lines = words(&all.stdout);
    assert_eq!(lines[2][..2], ["build", "ended"]);
    assert_eq!(lines[2][5..], ["exit", "3", "sh", "-c", "'exit", "3'"]);
    agent.run(&["ps", "-aq"]).is(0, "web\nbuild\n", "");

    let json = agent.json(&["ps", "-a"]);
    assert_eq!(json[0]["id"], "web");
    assert_eq!(json[0]["state"], "running");
    assert_eq!(json[0]["argv"], json!(["sh", "-c", "sleep 1000"]));
    assert!(json[0]["pid"].as_i64() > Some(1) && json[0].get("ended").is_none());
    assert_eq!(json[1]["ended"]["exit_code"], 3);
    assert!(json[1]["started"].as_str().unwrap().ends_with('Z'));
    assert_eq!(agent.json(&["ps"]).as_array().unwrap().len(), 1);
}

#[test]
fn an_argument_cannot_write_to_the_terminal_of_who_looks() {
    let agent = Agent::start();
    let evil = "sleep 1000 # \x1b]0;owned\x07 \u{9b}31m \u{202e}";
    agent.spawn("evil", evil);
    for args in
        [&["ps"][..], &["ps", "--json"], &["inspect", "evil"], &["inspect", "evil", "--json"]]
    {
        let seen = agent.run(args);
        let strange = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(seen.stdout.contains("owned") && !seen.stdout.contains(strange), "{seen:?}");
    }
    let shown = "$'sleep 1000 # \\x1b]0;owned\\x07 \\u009b31m \\u202e'\n";
    assert!(agent.run(&["ps"]).stdout.ends_with(shown));
    assert_eq!(agent.json(&["ps"])[0]["argv"][2], evil);
}

#[test]
fn colours_and_cuts_are_for_terminals() {
    let agent = Agent::start();
    let script = format!("sleep 1000 # {}", "x".repeat(100));
    agent.spawn("web", &script);
    assert!(!agent.run(&["ps"]).stdout.contains('\x1b'));

    let on_terminal = agent.command(&["ps"]);
    let shown = Terminal::new(60).show(on_terminal);
    assert!(shown.contains("\x1b[32mrunning\x1b[0m"), "{shown:?}");
    assert!(shown.ends_with("x…\r\n"), "{shown:?}");

    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut plain = agent.command(&["ps", "--no-trunc"]);
        plain.env(name, value);
        let shown = Terminal::new(60).show(plain);
        assert!(!shown.contains('\x1b'), "{name}: {shown:?}");
        assert!(shown.ends_with(&format!("{script}'\r\n")), "{name}: {shown:?}");
    }
    let mut empty = agent.command(&["ps"]);
    empty.env("NO_COLOR", "");
    assert!(Terminal::new(60).show(empty).contains('\x1b'));
}

#[test]
fn inspect_tells_why_in_words() {
    let agent = Agent::start();
    agent.finish("three", "echo out; echo err >&2; exit 3");
    agent.spawn("shot", "kill -SEGV $$");
    let seen = agent.run(&["exec", "--id", "late", "--timeout", "1", "--", "sleep", "1000"]);
    assert_eq!(seen.code, 137);
    agent.run(&["exec", "--id", "never", "--", "no-such-program"]);
    agent.run(&["wait", "shot"]).is(139, "", "");

    let text = |id: &str| agent.run(&["inspect", id]).stdout;
    let three = text("three");
    // What is beside these depends on what the kernel counts; so does the width of the names.
    let has = |text: &str, name: &str, value: &str| {
        let row = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        assert_eq!(row.split_once("  ").map(|(_, value)| value.trim()), Some(value), "{text}");
    };
    has(&three, "ID", "three");
    has(&three, "State", "ended: exited with code 3");
    has(&three, "Command", "sh -c 'echo out; echo err >&2; exit 3'");
    has(&three, "Output", "4 B, all kept, ended");
    has(&three, "Errors", "4 B, all kept, ended");
    has(&text("shot"), "State", "ended: killed by signal SEGV");
    has(&text("late"), "State", "ended: killed: its deadline passed");
    let never = text("never");
    let words = "failed: could not be started: failed to execute \"no-such-program\": ";
    assert!(never.contains(words), "{never}");
}

#[test]
fn inspect_goes_on_after_an_unknown_id() {
    let agent = Agent::start();
    agent.finish("x", "printf 12345");
    let seen = agent.run(&["inspect", "nobody", "x"]);
    assert_eq!(seen.code, 1);
    assert_eq!(seen.stderr, "doorward: failed to inspect nobody: no exec nobody here\n");
    assert!(seen.stdout.starts_with("ID "), "{seen:?}");

    let seen = agent.run(&["inspect", "--json", "nobody", "x"]);
    let json: serde_json::Value = serde_json::from_str(&seen.stdout).unwrap();
    assert_eq!((seen.code, json.as_array().unwrap().len()), (1, 1));
    let stdout = json!({
        "stream": "stdout", "first_offset": 0, "end_offset": 5, "dropped_bytes": 0, "ended": true,
    });
    assert_eq!(json[0]["streams"][0], stdout);
    agent.run(&["inspect", "--json", "nobody"]).is(1, "[]\n", &seen.stderr);
}

#[test]
fn a_live_one_is_measured() {
    let agent = Agent::start();
    agent.spawn("two", "sleep 1000 & sleep 1000 & echo ready; wait");
    agent.printed("two", 6);
    // The shell and its two children.
    until("all three are seen", || agent.json(&["inspect", "two"])[0]["processes"] == 3);
    let seen = agent.run(&["inspect", "two"]).stdout;
    assert!(seen.contains("(3 processes alive)\n"), "{seen}");
    let held = agent.json(&["inspect", "two"])[0]["usage"]["memory_bytes"].as_u64();
    assert!(held > Some(4096), "{held:?}");
}
