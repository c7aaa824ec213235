//! `doctor` and `version`: what the agent says of itself, and what is so without one.

use std::{fs, path::Path, process::Command};

use serde_json::json;

use crate::support::{Agent, Seen, doorward, skip};

#[test]
fn doctor_asks_the_agent() {
    let agent = Agent::with(&["--grace", "7s"], &[("DOORWARD_DISABLE", "pidfd,cgroup")]);
    agent.spawn("web", "sleep 1000");
    let seen = agent.run(&["doctor"]);
    assert_eq!((seen.code, &seen.stderr[..]), (0, ""));
    let version = env!("CARGO_PKG_VERSION");
    let first = format!("Agent        {version} at {}, process ", agent.address);
    assert!(seen.stdout.starts_with(&first), "{seen:?}");
    assert!(seen.stdout.contains("\n  grace             7 s\n"), "{seen:?}");
    let missing = seen.stdout.lines().find(|line| line.starts_with("pidfd ")).unwrap();
    assert!(missing.ends_with("disabled by DOORWARD_DISABLE"), "{missing}");
    let last = "\nEverything works; what is missing is done in another way.\n";
    assert!(seen.stdout.ends_with(last), "{seen:?}");

    let json = agent.json(&["doctor"]);
    assert_eq!((&json["well"], &json["agent"]["version"]), (&json!(true), &json!(version)));
    assert_eq!(json["agent"]["limits"]["grace_seconds"], 7.0);
    assert_eq!(json["agent"]["limits"]["spool_memory_max_bytes"], 32 << 20);
    assert_eq!(json["agent"]["use"]["live_execs"], 1);
    let features = json["features"].as_array().unwrap();
    let pidfd = features.iter().find(|feature| feature["name"] == "pidfd").unwrap();
    assert_eq!(pidfd["available"], false);
    assert_eq!(pidfd["reason"], "disabled by DOORWARD_DISABLE");
}

/// Without an agent on the default socket; on a machine that has one, that one answers.
fn without_an_agent(args: &[&str]) -> Option<Seen> {
    let none = !Path::new("/run/doorward.sock").exists();
    none.then(|| doorward(args).env("DOORWARD_DISABLE", "openat2").output().unwrap().into())
}

#[test]
fn doctor_without_an_agent_looks_at_this_machine() {
    let Some(seen) = without_an_agent(&["doctor"]) else { return };
    assert_eq!((seen.code, &seen.stderr[..]), (0, ""), "{seen:?}");
    assert!(seen.stdout.starts_with("No agent listens on the default socket."), "{seen:?}");
    for line in ["commands     yes    commands can be run\n", "terminals    yes "] {
        assert!(seen.stdout.contains(line), "{seen:?}");
    }
    let json = without_an_agent(&["doctor", "--json"]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["well"], json.get("agent")), (&json!(true), None));
    let features = json["features"].as_array().unwrap();
    let openat2 = features.iter().find(|feature| feature["name"] == "openat2").unwrap();
    assert_eq!(openat2["available"], false);
}

#[test]
fn what_nothing_replaces_makes_doctor_say_no() {
    // A machine of its own without terminals.
    let hide = "mount -t tmpfs none /dev/pts && mount -t tmpfs none /run && exec \"$0\" doctor";
    let mut trial = Command::new("unshare");
    let possible = trial.args(["--mount", "mount", "-t", "tmpfs", "none", "/dev/pts"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        skip("doctor", "no mount namespaces here");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", hide, env!("CARGO_BIN_EXE_doorward")]);
    command.env_remove("DOORWARD_ADDRESS");
    let seen: Seen = command.output().unwrap().into();
    assert_eq!(seen.code, 1, "{seen:?}");
    assert!(seen.stdout.contains("\nMissing, with nothing in its place: terminals ("), "{seen:?}");
    assert!(seen.stdout.contains("\ncommands     yes "), "{seen:?}");
}

#[test]
fn version_is_ours_and_the_agents() {
    let own = env!("CARGO_PKG_VERSION");
    let agent = Agent::start();
    let both = format!("doorward {own}\nagent    {own} at {}\n", agent.address);
    agent.run(&["version"]).is(0, &both, "");
    let json = agent.json(&["version"]);
    assert_eq!((&json["version"], &json["agent"]["address"]), (&json!(own), &json!(agent.address)));
    assert!(!json["agent"]["instance"].as_str().unwrap().is_empty());
    fs::remove_file(agent.directory.join("agent.sock")).unwrap();
    let alone = agent.run(&["version"]);
    assert_eq!((alone.code, alone.stdout), (125, format!("doorward {own}\n")));
    if let Some(alone) = without_an_agent(&["version"]) {
        alone.is(0, &format!("doorward {own}\n"), "");
    }
}
