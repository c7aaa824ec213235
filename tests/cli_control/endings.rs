//! `wait`, `kill` and `rm`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Agent, Seen, until};

#[test]
fn wait_exits_with_the_code() {
    let agent = Agent::start();
    agent.finish("zero", "exit 0");
    agent.finish("three", "exit 3");
    agent.finish("four", "exit 4");
    agent.run(&["wait", "zero"]).is(0, "", "");
    agent.run(&["wait", "three"]).is(3, "", "");
    agent.run(&["wait", "zero", "four", "three"]).is(4, "", "");
    let unknown = "doorward: failed to wait for nobody: no exec nobody here\n";
    agent.run(&["wait", "nobody", "three"]).is(125, "", unknown);
    agent.run(&["wait", "three", "nobody"]).is(3, "", unknown);

    let seen = agent.run(&["wait", "--json", "zero", "three"]);
    assert_eq!(seen.code, 3);
    let lines = seen.lines();
    assert_eq!((&lines[0]["id"], &lines[0]["exit_code"]), (&json!("zero"), &json!(0)));
    assert_eq!((&lines[1]["code"], &lines[1]["reason"]), (&json!(3), &json!("exited")));
}

#[test]
fn wait_waits_for_one_that_runs() {
    let agent = Agent::start();
    agent.spawn("web", "sleep 1000");
    let waiting = agent.command(&["wait", "--json", "web"]).spawn().unwrap();
    agent.run(&["kill", "web"]).is(0, "", "");
    let seen: Seen = waiting.wait_with_output().unwrap().into();
    assert_eq!(seen.code, 143);
    assert_eq!(seen.lines()[0]["signal"], 15);
}

#[test]
fn one_that_never_started_has_no_code() {
    let agent = Agent::start();
    agent.run(&["exec", "--id", "never", "--", "no-such-program"]);
    let seen = agent.run(&["wait", "never"]);
    assert_eq!((seen.code, &seen.stdout[..]), (125, ""));
    assert!(seen.stderr.contains("never started"), "{seen:?}");
}

/// The state of an exec, and how it ended.
fn ended(agent: &Agent, id: &str) -> Value {
    agent.json(&["inspect", id])[0]["ended"].clone()
}

#[test]
fn kill_sends_the_signal_that_was_named() {
    let agent = Agent::start();
    for (id, args, signal) in [
        ("term", &["kill", "term"][..], 15),
        ("name", &["kill", "-s", "sigusr1", "name"], 10),
        ("number", &["kill", "-s", "9", "number"], 9),
    ] {
        agent.spawn(id, "echo ready; exec sleep 1000");
        agent.printed(id, 6);
        agent.run(args).is(0, "", "");
        agent.run(&["wait", id]).is(128 + signal, "", "");
        assert_eq!(ended(&agent, id)["signal"], signal, "{id}");
    }
    let seen = agent.run(&["kill", "term"]);
    assert_eq!((seen.code, &seen.stdout[..]), (1, ""));
    assert!(seen.stderr.starts_with("doorward: failed to send TERM to term: "), "{seen:?}");
    let unknown = "doorward: failed to send TERM to nobody: no exec nobody here\n";
    agent.run(&["kill", "nobody"]).is(1, "", unknown);
}

#[test]
fn kill_reaches_leader_group_or_tree() {
    let agent = Agent::start();
    // A child in the group, and one that has left it. Each says what it got.
    let script = "trap 'echo leader' USR1
        (trap 'echo group' USR1; echo ready; while :; do sleep 0.05; done) &
        setsid sh -c 'trap \"echo tree\" USR1; echo ready; while :; do sleep 0.05; done' &
        echo ready; while :; do sleep 0.05; done";
    agent.spawn("three", script);
    agent.printed("three", 18);
    let output = || agent.run(&["logs", "three"]).stdout;
    let times = |word: &str| output().lines().filter(|line| *line == word).count();

    agent.run(&["kill", "-s", "USR1", "three"]).is(0, "", "");
    until("the leader has it", || times("leader") == 1);
    agent.run(&["kill", "-s", "USR1", "--group", "three"]).is(0, "", "");
    until("the group has it", || times("leader") == 2 && times("group") == 1);
    assert_eq!(times("tree"), 0);
    let seen = agent.run(&["kill", "-s", "USR1", "--tree", "--json", "three"]);
    until("all have it", || times("leader") == 3 && times("group") == 2 && times("tree") == 1);
    let line = &seen.lines()[0];
    assert_eq!(
        (&line["id"], &line["signal"], &line["target"]),
        (&json!("three"), &json!(10), &json!("tree"))
    );
    assert!(line["processes"].as_u64() >= Some(3), "{line}");
}

#[test]
fn cancel_ends_all_of_it() {
    let agent = Agent::start();
    let script = "trap '' TERM; setsid sleep 1000 & echo $!; while :; do sleep 0.05; done";
    agent.spawn("stubborn", script);
    agent.printed("stubborn", 2);
    let child = agent.run(&["logs", "stubborn"]).stdout;
    let seen = agent.run(&["kill", "--cancel", "--grace", "100ms", "--json", "stubborn"]);
    assert_eq!((seen.code, &seen.stderr[..]), (0, ""));
    let line = &seen.lines()[0];
    assert_eq!((&line["ended"]["reason"], &line["left"]), (&json!("cancelled"), &json!([])));
    assert!(!std::path::Path::new(&format!("/proc/{}", child.trim())).exists());
    let text = agent.run(&["inspect", "stubborn"]).stdout;
    assert!(text.contains("ended: cancelled by "), "{text}");
    // Once more is no mistake.
    agent.run(&["kill", "--cancel", "stubborn"]).is(0, "", "");
    agent.run(&["wait", "stubborn"]).is(137, "", "");
}

/// Starts execs that leave TERM to the grace, and waits until they do.
fn stubborn(agent: &Agent, count: usize) -> Vec<String> {
    let ids: Vec<String> = (0..count).map(|number| format!("stubborn-{number}")).collect();
    for id in &ids {
        agent.spawn(id, "trap '' TERM; echo ready; while :; do sleep 0.05; done");
        agent.printed(id, 6);
    }
    ids
}

/// Runs a command for all of these, and tells how long it took.
fn timed(agent: &Agent, args: &[&str], ids: &[String]) -> (Seen, Duration) {
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let since = Instant::now();
    (agent.run(&[args, &ids].concat()), since.elapsed())
}

#[test]
fn several_are_ended_at_the_same_time_and_told_in_order() {
    let agent = Agent::with(&["--grace", "3s"], &[]);
    let ids = stubborn(&agent, 6);
    let all = [&ids[..3], &["nobody".into()], &ids[3..]].concat();
    let (seen, time) = timed(&agent, &["kill", "--cancel", "--json"], &all);
    let unknown = "doorward: failed to end nobody: no exec nobody here\n";
    assert_eq!((seen.code, &seen.stderr[..]), (1, unknown));
    let told: Vec<_> = seen.lines().iter().map(|line| line["id"].clone()).collect();
    assert_eq!(told, ids);
    assert!(Duration::from_secs(3) <= time && time < Duration::from_secs(12), "{time:?}");
    for id in &ids {
        assert_eq!(ended(&agent, id)["signal"], 9, "{id}");
    }
}

#[test]
fn several_are_removed_at_the_same_time_and_told_in_order() {
    let agent = Agent::with(&["--grace", "3s"], &[]);
    let ids = stubborn(&agent, 6);
    let (seen, time) = timed(&agent, &["rm", "-f"], &ids);
    seen.is(0, &ids.iter().map(|id| format!("{id}\n")).collect::<String>(), "");
    assert!(Duration::from_secs(3) <= time && time < Duration::from_secs(12), "{time:?}");
    agent.run(&["ps", "-aq"]).is(0, "", "");
}

#[test]
fn rm_forgets_what_has_ended() {
    let agent = Agent::start();
    agent.finish("old", "printf 12345");
    agent.spawn("web", "sleep 1000");
    let seen = agent.run(&["rm", "web"]);
    assert_eq!((seen.code, &seen.stdout[..]), (1, ""));
    assert!(seen.stderr.starts_with("doorward: failed to remove web: "), "{seen:?}");
    agent.run(&["rm", "old"]).is(0, "old\n", "");
    assert_eq!(agent.run(&["inspect", "old"]).code, 1);
    agent.run(&["rm", "nobody"]).is(
        1,
        "",
        "doorward: failed to remove nobody: no exec nobody here\n",
    );

    agent.finish("more", "printf 123");
    assert_eq!(agent.json(&["rm", "more"]), json!({ "id": "more", "freed_bytes": 3 }));
    agent.run(&["rm", "-f", "web"]).is(0, "web\n", "");
    agent.run(&["ps", "-aq"]).is(0, "", "");
}

#[test]
fn rm_of_all_that_has_ended_leaves_what_lives() {
    let agent = Agent::start();
    agent.finish("a", "true");
    agent.spawn("web", "sleep 1000");
    agent.finish("b", "true");
    agent.run(&["rm", "--all-ended"]).is(0, "a\nb\n", "");
    agent.run(&["ps", "-aq"]).is(0, "web\n", "");
    assert_eq!(agent.run(&["rm"]).code, 125);
    assert_eq!(agent.run(&["rm", "--all-ended", "web"]).code, 125);
}
