//! Ways to an agent that is not there or does not let us in, and what helps.

use std::{fs, process::Command};

use crate::support::{Agent, Seen, doorward};

/// Every command that needs an agent, with arguments that are well-formed.
const COMMANDS: [&[&str]; 9] = [
    &["ps"],
    &["inspect", "x"],
    &["rm", "x"],
    &["logs", "x"],
    &["wait", "x"],
    &["kill", "x"],
    &["top"],
    &["doctor"],
    &["version", "--json"],
];

fn seen(mut command: Command) -> Seen {
    command.output().unwrap().into()
}

#[test]
fn nobody_there_is_125_and_says_what_to_do() {
    let expected = "doorward: failed to connect to unix:///nonexistent/x: No such file or directory \
        (os error 2); start an agent with `doorward serve`, or name another one with --address or \
        DOORWARD_ADDRESS\n";
    for args in COMMANDS {
        let mut command = doorward(args);
        command.env("DOORWARD_ADDRESS", "unix:///nonexistent/x");
        seen(command).is(125, "", expected);
    }
    let flag = doorward(&["exec", "--address", "unix:///nonexistent/x", "--", "true"]);
    seen(flag).is(125, "", expected);
}

#[test]
fn a_token_is_a_file_or_a_variable() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    fs::write(&file, "right-token-right-token-right-token\n").unwrap();
    let file = file.to_str().unwrap();
    let agent = Agent::with(&["--token-file", file], &[]);
    for args in COMMANDS {
        assert_eq!(seen(agent.command(args)).code, 125, "{args:?}");
        let mut command = agent.command(args);
        command.env("DOORWARD_TOKEN", "wrong-token-wrong-token-wrong-token");
        let seen = seen(command);
        assert_eq!(seen.code, 125, "{args:?} {seen:?}");
        assert!(seen.stderr.starts_with("doorward: failed to "), "{args:?} {seen:?}");
    }
    let mut command = agent.command(&["ps", "-q"]);
    command.env("DOORWARD_TOKEN", "right-token-right-token-right-token");
    seen(command).is(0, "", "");
    seen(agent.command(&["ps", "-q", "--token-file", file])).is(0, "", "");
}

#[test]
fn another_task_is_not_here() {
    let agent = Agent::with(&["--task-id", "ours"], &[]);
    agent.run(&["ps", "-q", "--task-id", "ours"]).is(0, "", "");
    let seen = agent.run(&["ps", "-q", "--task-id", "theirs"]);
    assert_eq!((seen.code, &seen.stdout[..]), (1, ""));
    assert_eq!(seen.stderr, "doorward: failed to list execs: no task \"theirs\" here\n");
}

#[test]
fn mistakes_in_the_arguments_are_125() {
    for args in [
        &["ps", "--nonsense"][..],
        &["inspect"],
        &["inspect", "a/b"],
        &["logs", "--tail", "5x", "a"],
        &["logs", "--stdout", "--stderr", "a"],
        &["logs", "--tail", "5", "--offset", "5", "a"],
        &["kill", "-s", "NOPE", "a"],
        &["top", "-d", "1ms"],
        &["top", "-n", "0"],
        &["completions", "tcsh"],
        &["nonsense"],
    ] {
        let seen = seen(doorward(args));
        assert_eq!((seen.code, &seen.stdout[..]), (125, ""), "{args:?}");
        assert!(seen.stderr.starts_with("error: "), "{args:?}: {seen:?}");
    }
}

#[test]
fn every_help_tells_the_exit_codes() {
    for command in
        ["exec", "ps", "inspect", "rm", "logs", "wait", "kill", "top", "doctor", "version"]
    {
        let seen = seen(doorward(&[command, "--help"]));
        assert_eq!(seen.code, 0);
        assert!(seen.stdout.contains("\nExit code: "), "{command}: {}", seen.stdout);
    }
}

#[test]
fn completions_are_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let seen = seen(doorward(&["completions", shell]));
        assert_eq!((seen.code, &seen.stderr[..]), (0, ""), "{shell}");
        assert!(seen.stdout.contains("doorward") && seen.stdout.contains("inspect"), "{shell}");
    }
}

#[test]
fn who_does_not_read_ends_us_like_any_program() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = doorward(&["completions", "bash"]);
    seen({
        command.stdout(writer);
        command
    })
    .is(141, "", "");
}
