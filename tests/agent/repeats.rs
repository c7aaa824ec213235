//! A start may be sent any number of times, at once or later: it runs once.

use doorward::wire::modal::{client::PtyInfo, task_command_router::TaskExecStartRequest};
use tonic::Code;

use crate::support::{
    Agent, Exit, Setup,
    door::{Eof, command, refused},
    sh,
};

#[tokio::test]
async fn racing_duplicates_run_once() {
    let agent = Agent::start().await;
    let marks = agent.dir.path().join("marks");
    for round in 0..10 {
        let request = sh(&format!("echo {round} >> {}", marks.display()));
        let mut racers = Vec::new();
        for _ in 0..8 {
            let (door, request) = (agent.door().await, request.clone());
            racers.push(tokio::spawn(async move { door.start(&request).await }));
        }
        for racer in racers {
            racer.await.unwrap().unwrap();
        }
        let exit = agent.door().await.wait(&request.exec_id).await.unwrap();
        assert_eq!(exit, Exit::Code(0));
    }
    let lines = std::fs::read_to_string(&marks).unwrap();
    assert_eq!(lines, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
}

#[tokio::test]
async fn racing_duplicates_of_a_failing_start_get_one_error() {
    let agent = Agent::start().await;
    let request = command(&["/no/such/program"]);
    let mut racers = Vec::new();
    for _ in 0..8 {
        let (door, request) = (agent.door().await, request.clone());
        racers.push(tokio::spawn(async move { door.start(&request).await }));
    }
    for racer in racers {
        refused("a racer", racer.await.unwrap(), Code::FailedPrecondition, &["/no/such/program"]);
    }
}

#[tokio::test]
async fn a_repeat_finds_the_running_and_the_finished_exec() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let request = sh("read line; echo $line");
    let exec = door.start(&request).await.unwrap();
    door.start(&request).await.unwrap();
    door.write(&exec, 0, b"once\n", Eof::Yes).await.unwrap();
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(0));
    door.start(&request).await.unwrap();
    assert_eq!(door.read(&exec, 0, 0).await.unwrap().bytes, b"once\n");
}

#[tokio::test]
async fn any_difference_is_a_conflict_and_runs_nothing() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let request = sh("echo first");
    let exec = door.start(&request).await.unwrap();
    let changed: [fn(&mut TaskExecStartRequest); 8] = [
        |request| request.command_args[2] = "echo second".into(),
        |request| request.stdout_config = 0,
        |request| request.stderr_config = 0,
        |request| request.timeout_secs = Some(0),
        |request| request.workdir = Some("/".into()),
        |request| request.pty_info = Some(PtyInfo::default()),
        |request| request.runtime_debug = true,
        |request| drop(request.env.insert("A".into(), String::new())),
    ];
    for change in changed {
        let mut other = request.clone();
        change(&mut other);
        refused("a conflict", door.start(&other).await, Code::AlreadyExists, &[&exec]);
    }
    assert_eq!(door.read(&exec, 0, 0).await.unwrap().bytes, b"first\n");
}

#[tokio::test]
async fn a_forgotten_exec_leaves_a_tombstone_and_a_running_one_is_never_forgotten() {
    let agent = Setup::new().flags(["--remember-execs", "2"]).start().await;
    let door = agent.door().await;
    let running = door.start(&sh("read line; exit 5")).await.unwrap();
    let oldest = sh("echo oldest");
    door.run(&oldest).await;
    let mut newest = String::new();
    for _ in 0..5 {
        let request = sh("true");
        door.run(&request).await;
        newest = request.exec_id;
    }
    let words = ["ran and was forgotten"];
    refused("start", door.start(&oldest).await, Code::FailedPrecondition, &words);
    refused("wait", door.wait(&oldest.exec_id).await, Code::NotFound, &[]);
    refused("read", door.read(&oldest.exec_id, 0, 0).await, Code::NotFound, &[]);
    assert_eq!(door.wait(&newest).await.unwrap(), Exit::Code(0));
    door.write(&running, 0, b"\n", Eof::Yes).await.unwrap();
    assert_eq!(door.wait(&running).await.unwrap(), Exit::Code(5));
}
