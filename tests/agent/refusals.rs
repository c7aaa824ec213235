//! Every refusal of the exec calls, by its code and its words. None is a code that clients retry.

use doorward::wire::modal::task_command_router::{
    TaskContainerListRequest, TaskExecPollRequest, TaskExecStartRequest, TaskExecStdioReadRequest,
    TaskExecWaitRequest, TaskReloadVolumesRequest,
};
use tonic::Code;

use crate::support::{
    Agent, Exit, Setup, TASK,
    door::{Eof, command, refused},
    sh,
};

#[tokio::test]
async fn starts_that_can_never_work() {
    let setup = Setup::new();
    let plain = setup.path("plain");
    std::fs::write(&plain, "#!/bin/sh\n").unwrap();
    let garbage = setup.path("garbage");
    std::fs::write(&garbage, "\x7fELF, it says").unwrap();
    std::process::Command::new("chmod").args(["+x", &garbage]).status().unwrap();
    let agent = setup.start().await;
    let door = agent.door().await;
    let at = |workdir: &str| TaskExecStartRequest { workdir: Some(workdir.into()), ..sh("true") };
    let named = |id: &str| TaskExecStartRequest { exec_id: id.into(), ..sh("true") };
    let env = |key: &str| TaskExecStartRequest {
        env: [(key.to_string(), "x".to_string())].into(),
        ..sh("true")
    };
    let (invalid, refused_by) = (Code::InvalidArgument, Code::FailedPrecondition);
    let long = "x".repeat(200_000);
    let too_long = "x".repeat(129);
    for (what, request, code, words) in [
        ("no command", command(&[]), invalid, vec![]),
        ("an empty command", command(&[""]), invalid, vec![]),
        ("a NUL", command(&["echo", "a\0b"]), invalid, vec!["NUL"]),
        ("an env key", env("a-b"), invalid, vec!["a-b"]),
        ("an empty env key", env(""), invalid, vec![]),
        ("a relative workdir", at("tmp"), invalid, vec!["tmp"]),
        ("one huge argument", command(&["echo", &long]), invalid, vec![]),
        ("no exec id", named(""), invalid, vec![]),
        ("a long exec id", named(&too_long), invalid, vec![]),
        ("a slash in the id", named("a/b"), invalid, vec!["/"]),
        (
            "not found",
            command(&["no-such-command"]),
            refused_by,
            vec!["no-such-command", "No such"],
        ),
        ("a missing path", command(&["/no/such"]), refused_by, vec!["/no/such", "No such"]),
        ("not executable", command(&[&plain]), refused_by, vec!["plain", "Permission denied"]),
        ("no program", command(&[&garbage]), refused_by, vec!["garbage", "format"]),
        ("a missing workdir", at("/no/dir"), refused_by, vec!["/no/dir", "No such"]),
        ("no directory", at("/etc/passwd"), refused_by, vec!["/etc/passwd", "Not a directory"]),
    ] {
        refused(what, door.start(&request).await, code, &words);
    }
}

#[tokio::test]
async fn unknown_execs_tasks_and_containers_are_not_found() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    refused("wait", door.wait("nobody").await, Code::NotFound, &["nobody"]);
    refused("poll", door.poll("nobody").await, Code::NotFound, &["nobody"]);
    refused("read", door.read("nobody", 0, 0).await, Code::NotFound, &["nobody"]);
    refused("write", door.write("nobody", 0, b"", Eof::No).await, Code::NotFound, &["nobody"]);
    refused("status", door.input("nobody").await, Code::NotFound, &["nobody"]);
    let other = TaskExecStartRequest { task_id: "ta-other".into(), ..sh("true") };
    refused("start", door.start(&other).await, Code::NotFound, &["ta-other"]);
    let inside = TaskExecStartRequest { container_id: "co-1".into(), ..sh("true") };
    refused("container", door.start(&inside).await, Code::NotFound, &["co-1"]);
    let exec = door.start(&sh("true")).await.unwrap();
    let task_id = String::from("ta-other");
    let request = TaskExecWaitRequest { task_id: task_id.clone(), exec_id: exec.clone() };
    refused("wait", door.raw.clone().task_exec_wait(request).await, Code::NotFound, &[]);
    let request = TaskExecPollRequest { task_id: task_id.clone(), exec_id: exec.clone() };
    refused("poll", door.raw.clone().task_exec_poll(request).await, Code::NotFound, &[]);
    let request =
        TaskExecStdioReadRequest { task_id, exec_id: exec, ..TaskExecStdioReadRequest::default() };
    let answer = door.raw.clone().task_exec_stdio_read(request).await;
    let answer = match answer {
        Ok(stream) => stream.into_inner().message().await,
        Err(status) => Err(status),
    };
    refused("read", answer, Code::NotFound, &[]);
}

#[tokio::test]
async fn a_failed_start_is_an_outcome() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let request = command(&["no-such-command"]);
    let exec = request.exec_id.as_str();
    let first = door.start(&request).await.unwrap_err();
    let again = door.start(&request).await.unwrap_err();
    assert_eq!((first.code(), first.message()), (again.code(), again.message()));
    let words = ["no-such-command"];
    let code = Code::FailedPrecondition;
    refused("wait", door.wait(exec).await, code, &words);
    refused("poll", door.poll(exec).await, code, &words);
    refused("read", door.read(exec, 0, 0).await, code, &words);
    refused("write", door.write(exec, 0, b"x", Eof::No).await, code, &words);
    let other = TaskExecStartRequest { exec_id: exec.into(), ..sh("true") };
    refused("another start", door.start(&other).await, Code::AlreadyExists, &[exec]);
}

#[tokio::test]
async fn what_other_parts_bring_says_that_it_is_not_built() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let request = TaskReloadVolumesRequest { task_id: TASK.into(), ..Default::default() };
    let answer = door.raw.clone().task_reload_volumes(request).await;
    refused("volumes", answer, Code::Unimplemented, &["not built"]);
    let request = TaskContainerListRequest { task_id: TASK.into(), ..Default::default() };
    let answer = door.raw.clone().task_container_list(request).await;
    refused("containers", answer, Code::Unimplemented, &["not built"]);
}

#[tokio::test]
async fn one_exec_more_than_may_live_is_refused_until_one_ends() {
    let agent = Setup::new().flags(["--max-live-execs", "3"]).start().await;
    let door = agent.door().await;
    let mut live = Vec::new();
    for _ in 0..3 {
        live.push(door.start(&sh("read line")).await.unwrap());
    }
    refused("a fourth", door.start(&sh("true")).await, Code::ResourceExhausted, &["3"]);
    door.write(&live[0], 0, b"\n", Eof::Yes).await.unwrap();
    assert_eq!(door.wait(&live[0]).await.unwrap(), Exit::Code(0));
    assert_eq!(door.run(&sh("exit 2")).await.exit, Exit::Code(2));
}
