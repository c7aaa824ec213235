//! Leaving a shell and coming back to it: the screen as it is, who writes, who only looks.

use std::fs;

use crate::{
    support::{Agent, door::Eof, sh, until},
    terminal::{BASH, Terminal, editing, file_has, ready},
};

/// A shell with this id.
async fn shell(agent: &Agent, id: &str) -> Terminal {
    let terminal = Terminal::of(agent, &[&["shell", "--id", id][..], &BASH].concat());
    terminal.shows("far>").await;
    terminal
}

/// The rows of a screen, without those that are empty at its end.
fn rows(screen: &str) -> String {
    screen.trim_end().to_string()
}

#[tokio::test]
async fn the_screen_is_shown_as_it_is() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let first = shell(&agent, "s").await;
    first.enters("seq 1000; printf '\\033[31mred\\033[0m \\303\\244\\n'; echo a$((1+1))b");
    first.shows("\na2b\nfar>").await;
    first.types("typed so far");
    first.shows("far> typed so far").await;
    let seen = rows(&first.screen());
    // In the middle of a line there is no escape; another terminal takes over instead.
    let second = Terminal::of(&agent, &["attach", "s"]);
    second.shows("far> typed so far").await;
    let again = rows(&second.screen());
    assert!(again.contains("999\n1000\nred \u{e4}\na2b\nfar> typed so far"), "{again}");
    assert!(seen.contains("999\n1000\nred \u{e4}\na2b\nfar> typed so far"), "{seen}");
    second.presses(&["C-u"]);
    second.enters("exit 5");
    assert_eq!(second.left().await, 5);
    assert_eq!(first.left().await, 5);
}

#[tokio::test]
async fn an_editor_is_redrawn_and_goes_on() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let first = shell(&agent, "v").await;
    let file = first.path("text");
    let text: String = (1..200).map(|number| format!("line {number}\n")).collect();
    fs::write(&file, &text).unwrap();
    first.enters(&editing(&file));
    first.shows("line 1\nline 2\n").await;
    first.types("100Gzt");
    first.shows_when("line 100 on top", |screen| screen.starts_with("line 100\n")).await;
    first.presses(&["Escape"]);
    first.types(":\r~d");
    assert_eq!(first.left().await, 0);

    let second = Terminal::of(&agent, &["attach", "v"]);
    second.shows_when("line 100 on top", |screen| screen.starts_with("line 100\n")).await;
    until("the other screen is shown", || second.knows("alternate_on") == "1").await;
    second.types("Onew line");
    second.presses(&["Escape"]);
    second.enters(":wq");
    file_has(&file, &text.replace("line 100\n", "new line\nline 100\n")).await;
    second.shows("far>").await;
    second.enters("exit");
    assert_eq!(second.left().await, 0);
}

#[tokio::test]
async fn a_pager_is_redrawn_in_another_size() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let first = shell(&agent, "l").await;
    let file = first.path("text");
    fs::write(&file, (1..500).map(|number| format!("line {number}\n")).collect::<String>())
        .unwrap();
    first.enters(&format!("less {}", file.display()));
    first.shows("line 23\n").await;
    first.types("200g");
    first.shows_when("line 200 on top", |screen| screen.starts_with("line 200\n")).await;
    let second = Terminal::of(&agent, &["attach", "l"]);
    second.shows_when("line 200 on top", |screen| screen.starts_with("line 200\n")).await;
    first.shows("another terminal writes").await;
    second.resize(40, 100);
    second.shows("line 238\n").await;
    second.types("q");
    second.shows("far>").await;
    second.enters("exit");
    assert_eq!(second.left().await, 0);
    assert_eq!(first.left().await, 0);
}

#[tokio::test]
async fn who_comes_last_writes_and_the_other_may_write_again() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let first = shell(&agent, "w").await;
    let second = Terminal::of(&agent, &["attach", "w"]);
    second.shows("far>").await;
    first.shows("doorward: another terminal writes").await;
    second.enters("echo a$((1+1))b");
    for terminal in [&first, &second] {
        terminal.shows("\na2b").await;
    }
    // What the one that only looks types goes nowhere: the other's line has nothing of it.
    first.types("lost");
    second.enters("echo c$((1+1))d");
    first.shows("\nc2d").await;
    assert!(!second.screen().contains("lost"), "{}", second.screen());
    first.presses(&["Enter"]);
    first.types("~w");
    second.shows("doorward: another terminal writes").await;
    first.enters("echo e$((1+1))f; exit 9");
    second.shows("\ne2f").await;
    assert_eq!(first.left().await, 9);
    assert_eq!(second.left().await, 9);
}

#[tokio::test]
async fn who_only_looks_changes_nothing() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let writer = shell(&agent, "o").await;
    let looker = Terminal::of(&agent, &["attach", "--read-only", "o"]);
    looker.shows("far>").await;
    looker.resize(10, 40);
    looker.enters("echo lost");
    writer.enters("stty size; echo a$((1+1))b");
    looker.shows("\na2b").await;
    writer.shows("24 80\na2b").await;
    assert!(!writer.screen().contains("lost"), "{}", writer.screen());
    assert!(!writer.screen().contains("another terminal"), "{}", writer.screen());
    looker.types("~.");
    assert_eq!(looker.left().await, 0);
    writer.enters("echo c$((1+1))d; exit 1");
    writer.shows("\nc2d").await;
    assert_eq!(writer.left().await, 1);
}

#[tokio::test]
async fn an_exec_without_a_terminal_has_its_streams_shown_and_lines_sent() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let door = agent.door().await;
    let script = "echo out; echo err >&2; while read line; do echo \"got $line\"; done; exit 8";
    let id = door.start(&sh(script)).await.unwrap();
    door.write(&id, 0, b"early\n", Eof::No).await.unwrap();
    let terminal = Terminal::of(&agent, &["attach", &id]);
    terminal.shows("got early").await;
    terminal.shows("out\n").await;
    terminal.shows("err\n").await;
    terminal.enters("a line");
    terminal.shows("got a line").await;
    terminal.presses(&["C-d"]);
    assert_eq!(terminal.left().await, 8);
}

#[tokio::test]
async fn one_that_has_ended_shows_its_last_screen_and_its_code() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let first = shell(&agent, "e").await;
    first.enters("echo a$((1+1))b; exit 11");
    assert_eq!(first.left().await, 11);
    let second = Terminal::of(&agent, &["attach", "e"]);
    assert_eq!(second.left().await, 11);
    second.shows("\na2b").await;
}
