//! Commands on a terminal: its size and name, what is typed, its end, and that nothing it showed
//! is lost.

use doorward::wire::modal::client::PtyInfo;

use crate::support::{
    Agent, Exit,
    door::{Eof, terminal},
};

fn info(rows: u32, columns: u32, term: &str) -> PtyInfo {
    PtyInfo {
        enabled: true,
        winsz_rows: rows,
        winsz_cols: columns,
        env_term: term.into(),
        env_colorterm: "truecolor".into(),
        env_term_program: "tests".into(),
        ..PtyInfo::default()
    }
}

#[tokio::test]
async fn a_terminal_has_the_size_and_names_of_the_request() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let script = "stty size; echo $TERM,$COLORTERM,$TERM_PROGRAM; test -t 0 && test -t 1 && test -t 2 && tty";
    let done = door.run(&terminal(script, info(33, 101, "vt220"))).await;
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(lines[..2], ["33 101", "vt220,truecolor,tests"], "{done:?}");
    assert!(lines[2].starts_with("/dev/pts/"), "{done:?}");
    assert_eq!((done.exit, done.stderr.as_str()), (Exit::Code(0), ""));
    // Clients without a terminal of their own send zeros and empty names.
    let done = door.run(&terminal(script, PtyInfo::default())).await;
    assert!(done.stdout.starts_with("24 80\r\nxterm"), "{done:?}");
}

#[tokio::test]
async fn what_is_typed_goes_through_the_line_discipline() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let script = "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.02; done";
    let exec = door.start(&terminal(script, info(24, 80, "xterm"))).await.unwrap();
    let mut stream = door.open_read(&exec, 0, 0).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("ready") {
        seen.push_str(&String::from_utf8_lossy(&stream.message().await.unwrap().unwrap().data));
    }
    door.write(&exec, 0, b"\x03", Eof::No).await.unwrap();
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(9));
    let all = door.read(&exec, 0, 0).await.unwrap();
    assert!(String::from_utf8_lossy(&all.bytes).contains("interrupted"));
}

#[tokio::test]
async fn the_end_of_input_is_typed_twice_when_a_line_is_pending() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    for typed in ["", "whole line\n", "pending"] {
        let exec = door
            .start(&terminal("stty -echo; echo ready; cat; echo over", info(24, 80, "xterm")))
            .await
            .unwrap();
        let mut stream = door.open_read(&exec, 0, 0).await.unwrap();
        let mut seen = String::new();
        while !seen.contains("ready") {
            seen.push_str(&String::from_utf8_lossy(&stream.message().await.unwrap().unwrap().data));
        }
        door.write(&exec, 0, typed.as_bytes(), Eof::Yes).await.unwrap();
        assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(0), "{typed:?}");
        let all = door.read(&exec, 0, 0).await.unwrap();
        let text = String::from_utf8_lossy(&all.bytes).replace("\r\n", "\n");
        assert_eq!(text, format!("ready\n{typed}over\n"));
    }
}

#[tokio::test]
async fn nothing_shown_before_the_exit_is_lost() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let wanted: String = (1..=20_000).map(|n| format!("{n}\r\n")).collect();
    for _ in 0..5 {
        let exec = door.start(&terminal("seq 20000", info(24, 80, "xterm"))).await.unwrap();
        let output = door.read(&exec, 0, 0).await.unwrap();
        assert!(output.bytes == wanted.as_bytes(), "{} bytes", output.bytes.len());
        assert!(door.read(&exec, 1, 0).await.unwrap().bytes.is_empty());
    }
}

#[tokio::test]
async fn a_terminal_with_a_background_process_ends_too() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let script = "trap '' HUP; setsid sleep 60 & echo started";
    let done = door.run(&terminal(script, info(24, 80, "xterm"))).await;
    assert_eq!((done.exit, done.stdout.as_str()), (Exit::Code(0), "started\r\n"));
}
