//! Output by offset: exact, for any number of readers, live and after the exit.

use std::time::Duration;

use doorward::wire::modal::task_command_router::TaskExecStartRequest;
use tonic::Code;

use crate::support::{
    Agent, Exit, Setup,
    door::{Eof, refused},
    processes, sh,
};

#[tokio::test]
async fn bytes_are_bytes_at_every_offset() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let script = r"i=0; while [ $i -lt 256 ]; do printf '\'$(printf %03o $i); i=$((i+1)); done";
    let exec = door.start(&sh(script)).await.unwrap();
    let all: Vec<u8> = (0..=255).collect();
    for offset in [0_u64, 1, 10, 128, 255, 256] {
        let part = door.read(&exec, 0, offset).await.unwrap();
        assert_eq!(part.bytes, all[usize::try_from(offset).unwrap()..], "from {offset}");
        assert_eq!(part.end, "eof");
    }
    assert!(door.read(&exec, 1, 0).await.unwrap().bytes.is_empty());
    refused("past the end", door.read(&exec, 0, 257).await, Code::OutOfRange, &["256"]);
}

#[tokio::test]
async fn an_offset_past_the_end_waits_while_the_exec_lives() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let exec = door.start(&sh("printf 0123; read go; printf 456789")).await.unwrap();
    let (reader, id) = (door.clone(), exec.clone());
    let ahead = tokio::spawn(async move { reader.read(&id, 0, 8).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!ahead.is_finished());
    door.write(&exec, 0, b"\n", Eof::Yes).await.unwrap();
    assert_eq!(ahead.await.unwrap().unwrap().bytes, b"89");
    refused("past the end", door.read(&exec, 0, 11).await, Code::OutOfRange, &[]);
}

#[tokio::test]
async fn live_output_is_pushed_as_it_appears() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let exec = door.start(&sh("while read line; do echo got $line; done")).await.unwrap();
    let mut stream = door.open_read(&exec, 0, 0).await.unwrap();
    let mut offset = 0;
    for line in ["one\n", "two\n", "three\n"] {
        door.write(&exec, offset, line.as_bytes(), Eof::No).await.unwrap();
        offset += u64::try_from(line.len()).unwrap();
        let wanted = format!("got {line}");
        let mut seen = Vec::new();
        while seen.len() < wanted.len() {
            seen.extend_from_slice(&stream.message().await.unwrap().unwrap().data);
        }
        assert_eq!(seen, wanted.as_bytes());
    }
}

#[tokio::test]
async fn each_stream_goes_where_it_was_asked_to() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let script = "echo out; echo err >&2; head -c 1000000 /dev/zero | tr '\\0' x";
    for (stdout, stderr) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)] {
        let request =
            TaskExecStartRequest { stdout_config: stdout, stderr_config: stderr, ..sh(script) };
        let done = door.run(&request).await;
        assert_eq!(done.exit, Exit::Code(0));
        let out = if stdout == 1 { 1_000_004 } else { 0 };
        let out = out + if stderr == 2 { 4 } else { 0 };
        assert_eq!(done.stdout.len(), out, "stdout with {stdout}, {stderr}");
        assert_eq!(done.stderr, if stderr == 1 { "err\n" } else { "" }, "{stdout}, {stderr}");
        assert_eq!(done.stdout.starts_with("out\nerr\n"), stderr == 2);
    }
}

#[tokio::test]
async fn any_number_of_readers_read_the_same() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let exec = door.start(&sh("seq 200000")).await.unwrap();
    let wanted: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    let readers: Vec<_> = (0..20_u64)
        .map(|n| {
            let (door, exec) = (door.clone(), exec.clone());
            tokio::spawn(async move { (n * 1000, door.read(&exec, 0, n * 1000).await.unwrap()) })
        })
        .collect();
    for reader in readers {
        let (offset, output) = reader.await.unwrap();
        let from = usize::try_from(offset).unwrap();
        assert!(output.bytes == wanted.as_bytes()[from..], "from {offset}");
    }
}

#[tokio::test]
async fn unread_output_blocks_nothing_and_costs_no_memory() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let before = processes::status(agent.pid(), "VmRSS");
    let bytes: usize = 300 << 20;
    let exec = door.start(&sh(&format!("yes 0123456 | head -c {bytes}"))).await.unwrap();
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(0));
    let after = processes::status(agent.pid(), "VmRSS");
    assert!(after < before + (16 << 10), "grew from {before} to {after} KiB");
    let mut stream = door.open_read(&exec, 0, 0).await.unwrap();
    let mut at = 0;
    while let Some(message) = stream.message().await.unwrap() {
        for byte in &message.data {
            assert_eq!(*byte, b"0123456\n"[at % 8], "at {at}");
            at += 1;
        }
    }
    assert_eq!(at, bytes);
}

#[tokio::test]
async fn dropped_bytes_are_named_and_never_skipped_in_silence() {
    let agent = Setup::new().flags(["--spool-stream-max", "1MiB"]).start().await;
    let door = agent.door().await;
    let exec = door.start(&sh("yes 0123456 | head -c 8388608")).await.unwrap();
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(0));
    let status = door.read(&exec, 0, 0).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    let first = status.metadata().get("doorward-first-offset").expect("the trailer").to_str();
    let first: u64 = first.unwrap().parse().unwrap();
    assert!(status.message().contains(&first.to_string()), "{status:?}");
    assert!((8_388_608 - (1 << 20)..8_388_608).contains(&first), "first is {first}");
    let kept = door.read(&exec, 0, first).await.unwrap();
    assert_eq!(u64::try_from(kept.bytes.len()).unwrap(), 8_388_608 - first);
    for (index, byte) in kept.bytes.iter().enumerate() {
        let at = usize::try_from(first).unwrap() + index;
        assert_eq!(*byte, b"0123456\n"[at % 8], "at {at}");
    }
}

#[tokio::test]
async fn a_full_spool_can_make_the_process_wait_instead() {
    let flags = ["--spool-stream-max", "1MiB", "--spool-full", "block"];
    let agent = Setup::new().flags(flags).start().await;
    let door = agent.door().await;
    let exec = door.start(&sh("yes 0123456 | head -c 16777216")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(door.poll(&exec).await.unwrap(), None, "it must wait for a reader");
    let output = door.read(&exec, 0, 0).await.unwrap();
    assert_eq!(output.bytes.len(), 16_777_216);
    assert!(output.bytes.chunks(8).all(|line| line == b"0123456\n"));
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(0));
}

#[tokio::test]
async fn a_stalled_reader_stalls_nobody_else() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let exec = door.start(&sh("head -c 50000000 /dev/zero")).await.unwrap();
    let mut stalled = Vec::new();
    for _ in 0..50 {
        stalled.push(agent.door().await.open_read(&exec, 0, 0).await.unwrap());
    }
    assert_eq!(agent.door().await.read(&exec, 0, 0).await.unwrap().bytes.len(), 50_000_000);
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(0));
    drop(stalled);
}
