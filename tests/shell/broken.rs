//! The link is cut under a shell and comes back.

use crate::{
    proxy::Proxy,
    support::{Agent, PATIENCE, until},
    terminal::{BASH, Terminal, editing, ready},
};

/// A shell whose link can be cut.
async fn shell(agent: &Agent) -> (Proxy, Terminal) {
    let proxy = Proxy::lasting(agent.host_and_port()).await;
    let address = format!("tcp://{}", proxy.host_and_port);
    let args = [&["shell", "--id", "s"][..], &BASH].concat();
    let terminal = Terminal::at(&address, &args);
    terminal.shows("far>").await;
    (proxy, terminal)
}

#[tokio::test]
async fn a_shell_goes_on_where_it_was_cut() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let (proxy, terminal) = shell(&agent).await;
    terminal.types("echo a$((1+1))");
    terminal.shows("far> echo a$((1+1))").await;
    proxy.cut();
    terminal.shows("doorward: the connection broke").await;
    // Typed while there is nobody to type to.
    terminal.enters("b; echo c$((1+1))d");
    proxy.mend();
    terminal.shows("doorward: connected again").await;
    // The line that was begun is whole, and behind its prompt.
    terminal.shows("far> echo a$((1+1))b; echo c$((1+1))d\na2b\nc2d\nfar>").await;
    terminal.enters("exit 3");
    assert_eq!(terminal.left().await, 3);
}

#[tokio::test]
async fn output_that_comes_meanwhile_is_not_lost() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let (proxy, terminal) = shell(&agent).await;
    let (begin, end) = (terminal.path("begin"), terminal.path("end"));
    let script = format!(
        "clear; until [ -e {} ]; do sleep 0.05; done; seq 1000 1015; touch {}",
        begin.display(),
        end.display()
    );
    terminal.enters(&script);
    terminal.shows_when("a clear screen", |screen| screen.trim().is_empty()).await;
    proxy.cut();
    terminal.shows("doorward: the connection broke").await;
    std::fs::write(&begin, "").unwrap();
    until("the command has printed", || end.exists()).await;
    proxy.mend();
    terminal.shows("connected again").await;
    let numbers: String = (1000..=1015).map(|number| format!("{number}\n")).collect();
    terminal.shows(&format!("{numbers}far>")).await;
    terminal.enters("exit");
    assert_eq!(terminal.left().await, 0);
}

#[tokio::test]
async fn an_editor_is_whole_after_a_cut() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let (proxy, terminal) = shell(&agent).await;
    let file = terminal.path("text");
    let text: String = (1..100).map(|number| format!("line {number}\n")).collect();
    std::fs::write(&file, text).unwrap();
    terminal.enters(&editing(&file));
    terminal.shows("\nline 23\n").await;
    terminal.types("jj");
    let before = terminal.screen();
    proxy.cut();
    terminal.shows("doorward: the connection broke").await;
    proxy.mend();
    terminal.shows_when("the editor's screen", |screen| screen == before).await;
    terminal.types("ddggO");
    terminal.types("first");
    terminal.presses(&["Escape"]);
    terminal.shows("first\nline 1\nline 2\nline 4\n").await;
    terminal.enters(":q!");
    terminal.shows("far>").await;
    terminal.enters("exit");
    assert_eq!(terminal.left().await, 0);
}

#[tokio::test]
async fn escapes_work_while_the_link_is_broken() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let (proxy, terminal) = shell(&agent).await;
    proxy.cut();
    terminal.shows("doorward: the connection broke").await;
    terminal.types("~?");
    terminal.shows("~d").await;
    terminal.types("~.");
    assert_eq!(terminal.left().await, 125);
    terminal.shows("left exec s").await;
    assert_eq!(agent.door().await.poll("s").await.unwrap(), None);

    // It can be come back to by another way.
    let again = Terminal::of(&agent, &["attach", "s"]);
    again.shows("far>").await;
    proxy.mend();
    again.enters("exit 2");
    assert_eq!(again.left().await, 2);
}

#[tokio::test]
async fn a_link_that_stays_away_is_waited_for() {
    if !ready() {
        return;
    }
    let agent = Agent::start().await;
    let (proxy, terminal) = shell(&agent).await;
    proxy.cut();
    // The client library gives up after a minute; who sits before a shell does not.
    let trying = |screen: &str| screen.contains("still trying");
    terminal.shows_within(3 * PATIENCE, "still trying", trying).await;
    terminal.enters("echo lost");
    // What was typed before this was taken, while there was nobody to take it to.
    terminal.types("~?");
    terminal.shows("that character").await;
    proxy.mend();
    terminal.shows("connected again").await;
    terminal.enters("echo a$((1+1))b; exit 4");
    terminal.shows("\na2b").await;
    assert!(!terminal.screen().contains("lost\n"), "{}", terminal.screen());
    assert_eq!(terminal.left().await, 4);
}
