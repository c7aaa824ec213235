//! The container's main command: supervised, logged, readable and writable over gRPC, and the
//! reason why an agent ends.

use std::time::Duration;

use doorward::wire::modal::task_command_router::{
    SandboxStdinWriteV2Request, SandboxStdioReadV2Request, SandboxWaitUntilReadyTcrRequest,
};
use tonic::{Code, Status};

use crate::support::{Agent, Door, Setup, TASK, door::refused, until};

/// Reads the entrypoint's stdout to its end: where it began and what it was.
async fn read(door: &Door, offset: u64) -> Result<(u64, Vec<u8>), Status> {
    let request = SandboxStdioReadV2Request { task_id: TASK.into(), offset, file_descriptor: 0 };
    let mut stream = door.raw.clone().sandbox_stdio_read_v2(request).await?.into_inner();
    let (mut begin, mut bytes) = (None, Vec::new());
    while let Some(message) = stream.message().await? {
        assert!(!message.data.is_empty());
        let begin = *begin.get_or_insert(message.starting_offset);
        let at = begin + u64::try_from(bytes.len()).unwrap();
        assert_eq!(message.starting_offset, at, "chunks follow each other");
        bytes.extend_from_slice(&message.data);
    }
    Ok((begin.unwrap_or(offset), bytes))
}

async fn write(door: &Door, offset: u64, data: &[u8], end: &str) -> Result<(), Status> {
    let request = SandboxStdinWriteV2Request {
        task_id: TASK.into(),
        offset,
        data: data.to_vec().into(),
        eof: end == "eof",
    };
    door.raw.clone().sandbox_stdin_write_v2(request).await.map(drop)
}

async fn ready(door: &Door, timeout: f32) -> Result<f64, Status> {
    let request = SandboxWaitUntilReadyTcrRequest { task_id: TASK.into(), timeout };
    let answer = door.raw.clone().sandbox_wait_until_ready(request).await?;
    Ok(answer.into_inner().ready_at)
}

#[tokio::test]
async fn the_agent_ends_with_its_entrypoint_and_its_code() {
    for (script, code) in [("echo out; echo err >&2; exit 7", 7), ("kill -9 $$", 137)] {
        let mut agent = Setup::new().entrypoint(["sh", "-c", script]).spawn();
        let status = agent.ended().await;
        assert_eq!(status.code(), Some(code), "{}", agent.log());
        if code == 7 {
            until("its output was passed on", || {
                agent.stdout() == "out\n" && agent.log().lines().any(|line| line == "err")
            })
            .await;
        }
    }
}

#[tokio::test]
async fn an_entrypoint_that_cannot_start() {
    for (program, code) in [("no-such-program", 127), ("/etc/passwd", 126)] {
        let mut agent = Setup::new().entrypoint([program]).spawn();
        let status = agent.ended().await;
        assert_eq!(status.code(), Some(code), "{program}: {}", agent.log());
        until("it says why", || agent.log().contains(program)).await;
    }
}

#[tokio::test]
async fn its_streams_are_read_and_written_over_grpc() {
    let setup = Setup::new().flags(["--entrypoint-stdin", "rpc", "--keep"]);
    let agent = setup.entrypoint(["sh", "-c", "echo begin; cat; echo end"]).start().await;
    let door = agent.door().await;
    write(&door, 0, b"one ", "").await.unwrap();
    write(&door, 0, b"one two\n", "").await.unwrap();
    write(&door, 8, b"", "eof").await.unwrap();
    assert_eq!(read(&door, 0).await.unwrap(), (0, b"begin\none two\nend\n".to_vec()));
    assert_eq!(read(&door, 6).await.unwrap(), (6, b"one two\nend\n".to_vec()));
    refused(
        "a write after the end",
        write(&door, 8, b"x", "").await,
        Code::FailedPrecondition,
        &[],
    );
    // Kept up: it goes on serving after its entrypoint's end.
    assert_eq!(door.print("echo more").await, "more\n");
}

#[tokio::test]
async fn a_reader_gets_everything_before_the_agent_ends() {
    let mut agent = Setup::new()
        .entrypoint(["sh", "-c", "read x; seq 100000"])
        .flags(["--entrypoint-stdin", "rpc"])
        .start()
        .await;
    let door = agent.door().await;
    let reader = tokio::spawn({
        let door = door.clone();
        async move { read(&door, 0).await }
    });
    write(&door, 0, b"go\n", "eof").await.unwrap();
    let wanted: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    let (begin, bytes) = reader.await.unwrap().unwrap();
    assert!(begin == 0 && bytes == wanted.as_bytes(), "{} bytes", bytes.len());
    drop(door);
    assert_eq!(agent.ended().await.code(), Some(0), "{}", agent.log());
}

#[tokio::test]
async fn ready_when_started_or_when_a_probe_says_so() {
    let agent = Setup::new().entrypoint(["sleep", "60"]).start().await;
    assert!(ready(&agent.door().await, 5.0).await.unwrap() > 1.7e9);
    let setup = Setup::new();
    let flag = setup.path("ready");
    let probe = format!("test -e {flag}");
    let agent = setup.flags(["--ready-command", &probe]).entrypoint(["sleep", "60"]).start().await;
    let door = agent.door().await;
    refused("too early", ready(&door, 0.5).await, Code::DeadlineExceeded, &[]);
    let waiting = tokio::spawn({
        let door = door.clone();
        async move { ready(&door, 30.0).await }
    });
    std::fs::write(&flag, "").unwrap();
    assert!(waiting.await.unwrap().unwrap() > 1.7e9);
}

#[tokio::test]
async fn without_an_entrypoint_its_calls_say_so() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    refused("read", read(&door, 0).await, Code::NotFound, &["entrypoint"]);
    refused("write", write(&door, 0, b"x", "").await, Code::NotFound, &["entrypoint"]);
}

#[tokio::test]
async fn a_blocked_log_holds_up_neither_entrypoint_nor_spool() {
    // Nobody reads the agent's own stdout: a pipe whose other end sleeps.
    let setup = Setup::new().flags(["--keep"]);
    let script = "\"$0\" \"$@\" | sleep 600";
    let agent = setup
        .wrapped(["sh", "-c", script])
        .entrypoint(["sh", "-c", "seq 300000; echo done >&2"])
        .start()
        .await;
    until("the entrypoint is done", || agent.log().lines().any(|line| line == "done")).await;
    let wanted: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
    let read = tokio::time::timeout(Duration::from_secs(30), read(&agent.door().await, 0)).await;
    assert!(read.unwrap().unwrap().1 == wanted.as_bytes());
}
