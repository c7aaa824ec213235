//! Leaving a shell and coming back to it: the screen as it is, who writes, who only looks.

use std::fs;

use doorward::wire::modal::client::PtyInfo;
use rustix::process::Signal;

use crate::{
    support::{
        Agent,
        door::{Eof, terminal},
        sh, until,
    },
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
async fn an_editor_is_redrawn_in_another_size_with_what_lies_beneath() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let first = shell(&agent, "v").await;
    first.enters("seq 3");
    first.shows("3\nfar>").await;
    let file = first.path("text");
    fs::write(&file, (1..200).map(|number| format!("line {number}\n")).collect::<String>())
        .unwrap();
    first.enters(&editing(&file));
    first.shows("line 1\nline 2\n").await;
    // Where a line begins for our keys, nothing of it for the editor.
    first.types(":\r~d");
    assert_eq!(first.left().await, 0);

    let second = Terminal::of_size(&agent, (30, 100), &["attach", "v"]);
    second.shows("line 28\n").await;
    second.types("100Gzt");
    second.shows_when("line 100 on top", |screen| screen.starts_with("line 100\n")).await;
    second.resize(20, 80);
    second.types("150Gzt");
    let fits = |screen: &str| screen.starts_with("line 150\n") && screen.contains("line 168\n");
    second.shows_when("line 150 on top", fits).await;
    second.enters(":q!");
    // The screen of before the editor, in a terminal that had not seen it.
    second.shows("seq 3\n1\n2\n3\nfar>").await;
    second.enters("exit");
    assert_eq!(second.left().await, 0);
}

#[tokio::test]
async fn a_pager_is_redrawn_and_goes_on() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let first = shell(&agent, "p").await;
    let file = first.path("text");
    fs::write(&file, (1..500).map(|number| format!("line {number}\n")).collect::<String>())
        .unwrap();
    first.enters(&format!("less {}", file.display()));
    first.shows("line 23\n").await;
    first.types("200g");
    first.shows_when("line 200 on top", |screen| screen.starts_with("line 200\n")).await;
    let seen = first.screen();
    first.presses(&["Enter"]);
    first.shows_when("line 201 on top", |screen| screen.starts_with("line 201\n")).await;
    first.types("~d");
    assert_eq!(first.left().await, 0);
    let second = Terminal::of(&agent, &["attach", "p"]);
    second.shows_when("line 201 on top", |screen| screen.starts_with("line 201\n")).await;
    until("the other screen is shown", || second.knows("alternate_on") == "1").await;
    second.types("k");
    second.shows_when("the pager's screen of before", |screen| screen == seen).await;
    second.types("q");
    second.shows("far>").await;
    second.enters("exit");
    assert_eq!(second.left().await, 0);
}

#[tokio::test]
async fn questions_that_were_asked_before_are_not_answered() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let door = agent.door().await;
    // Where the cursor is, what the terminal is, which colour it has; nobody is there to say.
    let script = "stty raw -echo; printf 'asked\\033[6n\\033[c\\033[>c\\033]11;?\\007'; \
                  echo ready; head -c 3 | od -An -tx1; printf done; sleep 1000";
    let info = PtyInfo { enabled: true, winsz_rows: 24, winsz_cols: 80, ..PtyInfo::default() };
    let id = door.start(&terminal(script, info)).await.unwrap();
    for _ in 0..2 {
        let terminal = Terminal::of(&agent, &["attach", &id]);
        terminal.shows("asked").await;
        terminal.shows("ready").await;
        terminal.signal(Signal::TERM).await;
        assert_eq!(terminal.left().await, 143);
    }
    let terminal = Terminal::of(&agent, &["attach", &id]);
    terminal.shows("ready").await;
    // Nothing came before what is typed.
    terminal.types("xyz");
    terminal.shows("78 79 7a").await;
    terminal.shows("done").await;
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
