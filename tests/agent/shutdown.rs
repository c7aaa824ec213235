//! The end of an agent: everything is ended in order, readers get their rest, and it is all over
//! before a container runtime loses its patience.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tonic::Code;

use crate::support::{
    Agent, Exit, Setup,
    door::{Eof, refused},
    processes, sh, until,
};

#[tokio::test]
async fn an_idle_agent_ends_at_once() {
    let mut agent = Agent::start().await;
    let begun = Instant::now();
    assert_eq!(agent.stop().await.code(), Some(0), "{}", agent.log());
    assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
}

#[tokio::test]
async fn term_then_grace_then_kill_and_reads_go_on() {
    let mut agent = Setup::new().flags(["--grace", "1s"]).start().await;
    let door = agent.door().await;
    let polite = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.02; done";
    let polite = door.start(&sh(polite)).await.unwrap();
    let deaf = "trap '' TERM; echo up; while :; do sleep 0.02; done";
    let deaf = door.start(&sh(deaf)).await.unwrap();
    for exec in [&polite, &deaf] {
        assert!(door.open_read(exec, 0, 0).await.unwrap().message().await.unwrap().is_some());
    }
    let mut waits = Vec::new();
    for exec in [&polite, &deaf] {
        let (door, exec) = (door.clone(), exec.clone());
        waits.push(tokio::spawn(
            async move { (door.wait(&exec).await, door.read(&exec, 0, 0).await) },
        ));
    }
    agent.signal(Signal::TERM);
    let begun = Instant::now();
    until("new starts are refused", || agent.log().contains("ending everything")).await;
    // New connections are still served; new work is not taken.
    let late = agent.door().await;
    let start = late.start(&sh("true")).await;
    refused("a start", start, Code::FailedPrecondition, &[]);
    refused("a write", late.write(&deaf, 0, b"x", Eof::No).await, Code::FailedPrecondition, &[]);
    let (exit, output) = waits.remove(0).await.unwrap();
    assert_eq!(exit.unwrap(), Exit::Code(3));
    assert_eq!(output.unwrap().bytes, b"up\nbye\n");
    let (exit, output) = waits.remove(0).await.unwrap();
    assert_eq!(exit.unwrap(), Exit::Signal(9));
    assert_eq!(output.unwrap().bytes, b"up\n");
    assert!(begun.elapsed() >= Duration::from_millis(990), "killed after {:?}", begun.elapsed());
    drop((door, late));
    assert_eq!(agent.ended().await.code(), Some(0), "{}", agent.log());
    assert!(begun.elapsed() < Duration::from_secs(10), "took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_reader_that_never_reads_cannot_hold_it_up() {
    let mut agent = Setup::new().flags(["--grace", "500ms", "--drain", "1s"]).start().await;
    let door = agent.door().await;
    let exec = door.start(&sh("yes")).await.unwrap();
    let stalled = door.open_read(&exec, 0, 0).await.unwrap();
    let begun = Instant::now();
    assert_eq!(agent.stop().await.code(), Some(0), "{}", agent.log());
    assert!(begun.elapsed() < Duration::from_secs(6), "took {:?}", begun.elapsed());
    drop(stalled);
}

#[tokio::test]
async fn a_second_term_ends_it_at_once() {
    let mut agent = Setup::new().flags(["--grace", "60s", "--drain", "60s"]).start().await;
    let door = agent.door().await;
    let script = "trap '' TERM; echo up; while :; do sleep 0.02; done";
    let exec = door.start(&sh(script)).await.unwrap();
    let mut stream = door.open_read(&exec, 0, 0).await.unwrap();
    assert!(stream.message().await.unwrap().is_some());
    agent.signal(Signal::TERM);
    tokio::time::sleep(Duration::from_millis(300)).await;
    agent.signal(Signal::TERM);
    let begun = Instant::now();
    agent.ended().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "took {:?}", begun.elapsed());
    until("its commands are gone", || agent.offspring().is_empty()).await;
}

#[tokio::test]
async fn with_an_entrypoint_it_ends_with_that_code() {
    let script = "trap 'exit 21' TERM; echo up; while :; do sleep 0.02; done";
    let mut agent = Setup::new().entrypoint(["sh", "-c", script]).start().await;
    until("the entrypoint runs", || agent.stdout() == "up\n").await;
    assert_eq!(agent.stop().await.code(), Some(21), "{}", agent.log());
}

#[tokio::test]
async fn killed_outright_it_leaves_no_state_for_the_next_one() {
    let mut agent = Agent::start().await;
    let door = agent.door().await;
    let exec = door.start(&sh("head -c 80000000 /dev/zero")).await.unwrap();
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(0));
    agent.signal(Signal::KILL);
    agent.ended().await;
    let state = agent.dir.path().join("state");
    let size = || {
        let output = std::process::Command::new("du").args(["-sk"]).arg(&state).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let next = Setup::new().state(state.to_str().unwrap()).start().await;
    until("stale spools are removed", || size() < 1000).await;
    assert_eq!(processes::zombies_of(next.pid()).len(), 0);
}
