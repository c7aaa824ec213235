//! Every way to leave: the terminal is as it was before, the code says how it ended, and what was to
//! run on runs on.

use rustix::process::Signal;

use crate::{
    support::{Agent, until},
    terminal::{BASH, Terminal, ready},
};

/// What makes a terminal unusable, as full-screen programs do: another screen, the mouse, no
/// cursor, marked pastes, keys of applications.
const TAKEN: &str =
    "printf '\\033[?1049h\\033[?1002h\\033[?1006h\\033[?25l\\033[?2004h\\033[?1h\\033='";

/// A shell with this id whose terminal is taken by a program.
async fn taken(agent: &Agent, id: &str) -> Terminal {
    let terminal = Terminal::of(agent, &[&["shell", "--id", id][..], &BASH].concat());
    terminal.shows("far>").await;
    terminal.enters(&format!("{TAKEN}; echo taken; cat"));
    terminal.shows("taken").await;
    until("the other screen is shown", || terminal.knows("alternate_on") == "1").await;
    until("the mouse is reported", || terminal.knows("mouse_any_flag") == "1").await;
    until("the cursor is hidden", || terminal.knows("cursor_flag") == "0").await;
    terminal.enters("line");
    terminal.shows("line\nline").await;
    terminal
}

/// Whether a process with this exec's cookie is there: asked of the exec itself.
async fn runs(agent: &Agent, id: &str) -> bool {
    agent.door().await.poll(id).await.unwrap().is_none()
}

#[tokio::test]
async fn leaving_a_program_that_has_the_screen_gives_the_screen_back() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let terminal = taken(&agent, "kept").await;
    terminal.types("~d");
    assert_eq!(terminal.left().await, 0);
    terminal.shows("doorward: left exec kept running").await;
    terminal.shows("doorward attach kept").await;
    assert!(runs(&agent, "kept").await);
}

#[tokio::test]
async fn what_was_typed_just_before_the_escape_reaches_the_exec() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let terminal = Terminal::of(&agent, &[&["shell", "--id", "last"][..], &BASH].concat());
    terminal.shows("far>").await;
    let file = terminal.path("typed");
    // In one burst, as a paste is.
    terminal.types(&format!("touch {}\r~d", file.display()));
    assert_eq!(terminal.left().await, 0);
    until("the line was run", || file.exists()).await;
}

#[tokio::test]
async fn the_escape_that_ends_ends_all_that_the_shell_started() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let terminal = taken(&agent, "ended").await;
    terminal.types("~.");
    assert_eq!(terminal.left().await, 129);
    assert!(!runs(&agent, "ended").await);
    until("nothing is left", || agent.offspring().is_empty()).await;
}

#[tokio::test]
async fn signals_leave_it_running() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    for (signal, code) in
        [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130), (Signal::QUIT, 131)]
    {
        let id = format!("signal-{code}");
        let terminal = taken(&agent, &id).await;
        terminal.signal(signal).await;
        assert_eq!(terminal.left().await, code);
        terminal.shows(&format!("doorward: left exec {id} running")).await;
        assert!(runs(&agent, &id).await);
    }
}

#[tokio::test]
async fn a_window_that_is_closed_leaves_it_running() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let terminal = taken(&agent, "window").await;
    terminal.close();
    terminal.has_gone().await;
    assert!(runs(&agent, "window").await);
}

#[tokio::test]
async fn an_agent_that_ends_is_told() {
    if !ready() {
        return;
    }
    let mut agent = Agent::start().await;
    let terminal = taken(&agent, "gone").await;
    agent.stop().await;
    // A shell ignores TERM, so that it was killed; the agent stayed until that was told.
    assert_eq!(terminal.left().await, 137);
}

#[tokio::test]
async fn an_agent_that_was_killed_is_waited_for_until_one_leaves() {
    if !ready() {
        return;
    }
    let mut agent = Agent::start().await;
    let terminal = taken(&agent, "killed").await;
    agent.signal(Signal::KILL);
    agent.ended().await;
    terminal.shows("doorward: the connection broke").await;
    terminal.presses(&["Enter"]);
    terminal.types("~.");
    assert_eq!(terminal.left().await, 125);
}

#[tokio::test]
async fn a_killed_client_leaves_what_stty_sane_repairs() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let terminal = taken(&agent, "nine").await;
    terminal.signal(Signal::KILL).await;
    assert_eq!(terminal.ended().await, 137);
    assert!(runs(&agent, "nine").await);
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_doorward"))
        .args(["shell", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("stty sane") && help.contains("reset"), "{help}");
}

#[tokio::test]
async fn help_is_shown_and_the_prompt_stays() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let terminal = Terminal::of(&agent, &[&["shell"][..], &BASH].concat());
    terminal.shows("far>").await;
    terminal.types("~?");
    terminal.shows("~d").await;
    terminal.types("echo a$((1+1))b");
    // What is typed stands behind the prompt, beneath the help.
    terminal.shows("far> echo a$((1+1))b").await;
    terminal.presses(&["Enter"]);
    terminal.shows("\na2b").await;
    terminal.enters("~~. is; echo ~~.; exit 4");
    terminal.shows("far> ~. is").await;
    assert_eq!(terminal.left().await, 4);
}

#[tokio::test]
async fn another_escape_character_or_none() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let terminal = Terminal::of(&agent, &[&["shell", "-E", "%"][..], &BASH].concat());
    terminal.shows("far>").await;
    terminal.types("%d");
    assert_eq!(terminal.left().await, 0);

    let terminal = Terminal::of(&agent, &[&["shell", "-E", "none"][..], &BASH].concat());
    terminal.shows("far>").await;
    terminal.enters("~.");
    terminal.enters("echo a$((1+1))b; exit 2");
    terminal.shows("a2b").await;
    assert_eq!(terminal.left().await, 2);
}

#[tokio::test]
async fn a_shell_of_an_embedded_agent_ends_with_it() {
    if !ready() {
        return;
    }
    let terminal = Terminal::with(&[], &[&["shell"][..], &BASH].concat());
    terminal.shows("far>").await;
    terminal.types("~d");
    terminal.shows("its agent ends with us").await;
    terminal.enters("echo a$((1+1))b; exit 6");
    terminal.shows("a2b").await;
    assert_eq!(terminal.left().await, 6);

    let terminal = Terminal::with(&[], &[&["shell"][..], &BASH].concat());
    terminal.shows("far>").await;
    terminal.signal(Signal::TERM).await;
    assert_eq!(terminal.left().await, 143);
}

#[tokio::test]
async fn a_command_that_cannot_start_changes_nothing() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let terminal = Terminal::of(&agent, &["shell", "--", "no-such-program"]);
    assert_eq!(terminal.left().await, 125);
    terminal.shows("no-such-program").await;
    let terminal = Terminal::at("unix:///nonexistent/socket", &["attach", "x"]);
    assert_eq!(terminal.left().await, 125);
    terminal.shows("failed to connect to unix:///nonexistent/socket").await;
    let terminal = Terminal::of(&agent, &["attach", "nobody"]);
    assert_eq!(terminal.left().await, 125);
    terminal.shows("nobody").await;
}
