//! Typing in a shell: keys, control keys, sizes, pastes, codes.

use std::process::Command;

use rustix::process::Signal;

use crate::{
    support::{Agent, until},
    terminal::{BASH, Terminal, file_has, ready},
};

/// A shell, once its prompt is there.
async fn shell(agent: &Agent) -> Terminal {
    let terminal = Terminal::of(agent, &[&["shell"][..], &BASH].concat());
    terminal.shows("far>").await;
    terminal
}

/// Presses ^C, and waits for the prompt: what is typed before it may be thrown away.
async fn interrupts(terminal: &Terminal) {
    terminal.presses(&["C-c"]);
    let prompts = |screen: &str| screen.trim_end().ends_with("^C\nfar>");
    terminal.shows_when("a prompt after ^C", prompts).await;
}

#[tokio::test]
async fn lines_and_control_keys_are_the_shells() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let terminal = shell(&agent).await;
    terminal.enters("echo a$((1+1))b; tty -s && echo is a tty");
    terminal.shows("a2b\nis a tty").await;
    terminal.enters("echo going; sleep 1000");
    terminal.shows("\ngoing").await;
    interrupts(&terminal).await;
    terminal.enters("echo code=$?");
    terminal.shows("code=130").await;

    terminal.enters("echo cat; cat; echo cat ended");
    terminal.shows("\ncat\n").await;
    terminal.enters("some line");
    terminal.shows("some line\nsome line").await;
    terminal.presses(&["C-d"]);
    terminal.shows("\ncat ended").await;

    // It tells when it goes on: only then has it the terminal again.
    let job = "sh -c 'trap \"echo woken\" CONT; echo sleeps; while :; do sleep 0.1; done'";
    terminal.enters(job);
    terminal.shows("\nsleeps").await;
    terminal.presses(&["C-z"]);
    terminal.shows("Stopped").await;
    terminal.enters("echo still here $((5+5)); fg");
    terminal.shows("still here 10\nsh -c").await;
    terminal.shows("\nwoken").await;
    interrupts(&terminal).await;
    terminal.enters("exit 7");
    assert_eq!(terminal.left().await, 7);
}

#[tokio::test]
async fn the_end_of_input_ends_a_shell() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let terminal = shell(&agent).await;
    terminal.enters("false");
    terminal.presses(&["C-d"]);
    assert_eq!(terminal.left().await, 1);
}

#[tokio::test]
async fn without_a_command_it_is_a_login_shell() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let terminal = Terminal::of(&agent, &["shell", "-w", "/usr", "-e", "A=b c"]);
    terminal.enters("echo \"$A in $PWD with $TERM, $SHELL is $0\"");
    terminal.shows_when("variables", |screen| screen.contains("b c in /usr with screen")).await;
    terminal.enters("exit 3");
    assert_eq!(terminal.left().await, 3);
}

#[tokio::test]
async fn the_shell_knows_the_size_and_each_new_one() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let terminal = shell(&agent).await;
    terminal.enters("trap 'echo \"now $(stty size)\"' WINCH; stty size");
    terminal.shows("24 80").await;
    terminal.resize(30, 100);
    terminal.enters("echo trap; stty size");
    terminal.shows("30 100").await;
    terminal.shows("now 30 100").await;
    terminal.resize(10, 40);
    terminal.enters("stty size");
    terminal.shows("10 40").await;
    terminal.enters("exit");
    assert_eq!(terminal.left().await, 0);
}

#[tokio::test]
async fn a_long_paste_arrives_whole_and_in_order() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let terminal = shell(&agent).await;
    let file = terminal.path("copied");
    terminal.enters(&format!("stty -echo; echo ready; cat >{}", file.display()));
    terminal.shows("\nready").await;
    let text: String =
        (0..20_000).map(|number| format!("~{number}: a line of a paste\n")).collect();
    terminal.pastes(&text);
    terminal.presses(&["C-d"]);
    file_has(&file, &text).await;
    terminal.enters("exit");
    assert_eq!(terminal.left().await, 0);
}

#[tokio::test]
async fn who_was_stopped_and_continued_has_its_terminal_again() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let terminal = shell(&agent).await;
    terminal.signal(Signal::STOP).await;
    let stty = |args: &[&str]| {
        let tty = terminal.knows("pane_tty");
        let output = Command::new("stty").args(["-F", &tty]).args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    // As the shell that one is stopped from has it.
    stty(&["sane"]);
    assert!(stty(&["-a"]).contains(" icanon"));
    terminal.signal(Signal::CONT).await;
    until("the terminal is raw", || stty(&["-a"]).contains("-icanon")).await;
    terminal.enters("echo going; cat");
    terminal.shows("\ngoing").await;
    interrupts(&terminal).await;
    terminal.enters("echo a$((1+1))b; exit 4");
    terminal.shows("\na2b").await;
    assert_eq!(terminal.left().await, 4);
}
