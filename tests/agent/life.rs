//! From the start of an exec to its exit: codes, moments, deadlines, what a background process
//! may and may not hold up.

use std::time::{Duration, Instant};

use doorward::wire::modal::task_command_router::{
    TaskExecStartRequest, TaskExecWaitRequest, task_command_router_client::TaskCommandRouterClient,
};
use tonic::Code;

use crate::support::{
    Agent, Exit, Setup,
    door::{Eof, TOKEN, command, refused},
    processes, sh, until,
};

fn with_timeout(script: &str, seconds: u32) -> TaskExecStartRequest {
    TaskExecStartRequest { timeout_secs: Some(seconds), ..sh(script) }
}

#[tokio::test]
async fn each_end_is_reported_as_it_was() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    for (script, exit) in [
        ("exit 0", Exit::Code(0)),
        ("exit 3", Exit::Code(3)),
        ("exit 255", Exit::Code(255)),
        ("kill -9 $$", Exit::Signal(9)),
        ("kill -TERM $$", Exit::Signal(15)),
        ("sh -c 'kill -9 $$'", Exit::Code(137)),
    ] {
        let exec = door.start(&sh(script)).await.unwrap();
        assert_eq!(door.wait(&exec).await.unwrap(), exit, "{script}");
        assert_eq!(door.wait(&exec).await.unwrap(), exit, "{script}, again");
        assert_eq!(door.poll(&exec).await.unwrap(), Some(exit), "{script}, polled");
    }
}

#[tokio::test]
async fn a_poll_says_running_and_many_waiters_get_the_exit() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let exec = door.start(&sh("read line; exit 7")).await.unwrap();
    assert_eq!(door.poll(&exec).await.unwrap(), None);
    let waiters: Vec<_> = (0..50)
        .map(|_| {
            let (door, exec) = (door.clone(), exec.clone());
            tokio::spawn(async move { door.wait(&exec).await.unwrap() })
        })
        .collect();
    door.write(&exec, 0, b"go\n", Eof::No).await.unwrap();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), Exit::Code(7));
    }
}

#[tokio::test]
async fn a_quiet_background_process_holds_up_neither_wait_nor_read() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let begun = Instant::now();
    let exec = door.start(&sh("sleep 50 & echo $!")).await.unwrap();
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(0));
    assert!(begun.elapsed() < Duration::from_secs(3), "wait took {:?}", begun.elapsed());
    let stdout = door.read(&exec, 0, 0).await.unwrap();
    assert_eq!(stdout.end, "quiet");
    assert!(begun.elapsed() < Duration::from_secs(8), "read took {:?}", begun.elapsed());
    // Asked where its number means something: the agent may be in a container.
    let survivor: u32 = String::from_utf8(stdout.bytes).unwrap().trim().parse().unwrap();
    let state = door.print(&format!("grep State: /proc/{survivor}/status")).await;
    assert!(!state.contains('Z'), "a normal exit kills nothing: {state}");
}

#[tokio::test]
async fn a_background_writer_is_not_cut_off() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let chatty = "(i=0; while [ $i -lt 40 ]; do echo $i; i=$((i+1)); sleep 0.05; done) & exit 0";
    let computing = "(i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; echo 39) & exit 0";
    for script in [chatty, computing] {
        let exec = door.start(&sh(script)).await.unwrap();
        let stdout = door.read(&exec, 0, 0).await.unwrap();
        let text = String::from_utf8(stdout.bytes).unwrap();
        assert!(text.ends_with("39\n"), "{script}: {text:?}");
        assert_eq!(stdout.end, "eof", "{script}");
    }
}

#[tokio::test]
async fn an_endless_background_writer_ends_the_stream_aloud_and_is_kept() {
    let agent = Setup::new().flags(["--linger-max", "1s"]).start().await;
    let door = agent.door().await;
    let exec = door.start(&sh("(while :; do echo xxxx; sleep 0.02; done) & exit 0")).await.unwrap();
    let first = door.read(&exec, 0, 0).await.unwrap();
    assert_eq!(first.end, "linger");
    assert!(first.trailers.contains_key("x-modal-warning"), "{:?}", first.trailers);
    let at = u64::try_from(first.bytes.len()).unwrap();
    assert!(at > 0);
    // What came later is read by its offset.
    let mut later = Vec::new();
    while later.is_empty() {
        later = door.read(&exec, 0, at).await.unwrap().bytes;
    }
    assert!(later.starts_with(b"xxxx"), "{later:?}");
}

#[tokio::test]
async fn the_deadline_kills_the_whole_tree_on_time_and_keeps_the_output() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let begun = Instant::now();
    let script = "echo hi; sleep 4321.5 & trap '' TERM; sleep 4321.25";
    let exec = door.start(&with_timeout(script, 1)).await.unwrap();
    let stdout = door.read(&exec, 0, 0).await.unwrap();
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Signal(9));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(990) && took < Duration::from_secs(4), "{took:?}");
    assert_eq!((stdout.bytes.as_slice(), stdout.end.as_str()), (b"hi\n".as_slice(), "eof"));
    for sleeper in ["sleep 4321.5", "sleep 4321.25"] {
        until(sleeper, || processes::with_command(sleeper).is_empty()).await;
    }
}

#[tokio::test]
async fn a_timeout_of_zero_is_none() {
    let agent = Agent::start().await;
    let done = agent.door().await.run(&with_timeout("sleep 0.4; echo hi", 0)).await;
    assert_eq!((done.exit, done.stdout.as_str()), (Exit::Code(0), "hi\n"));
}

#[tokio::test]
async fn the_exit_disarms_the_deadline() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let exec = door.start(&with_timeout("(sleep 2; echo late) & exit 0", 1)).await.unwrap();
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(0));
    // The survivor goes on past the deadline, and what it writes is kept.
    let mut stream = door.open_read(&exec, 0, 0).await.unwrap();
    let mut text = Vec::new();
    let begun = Instant::now();
    while text != b"late\n" && begun.elapsed() < Duration::from_secs(20) {
        match stream.message().await.unwrap() {
            Some(message) => text.extend_from_slice(&message.data),
            None => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                stream = door.open_read(&exec, 0, 0).await.unwrap();
            }
        }
    }
    assert_eq!(text, b"late\n");
}

#[tokio::test]
async fn an_exec_outlives_the_connection_that_started_it() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let exec = door.start(&sh("read line; echo got $line")).await.unwrap();
    let reader = door.open_read(&exec, 0, 0).await.unwrap();
    drop((reader, door));
    let door = agent.door().await;
    assert_eq!(door.poll(&exec).await.unwrap(), None);
    door.write(&exec, 0, b"it\n", Eof::Yes).await.unwrap();
    assert_eq!(door.read(&exec, 0, 0).await.unwrap().bytes, b"got it\n");
}

#[tokio::test]
async fn a_call_past_its_deadline_ends_and_touches_nothing() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let exec = door.start(&command(&["sleep", "30"])).await.unwrap();
    // Sent as a bare header, so that no timer of this client answers in the agent's place.
    let mut request = tonic::Request::new(TaskExecWaitRequest {
        task_id: crate::support::TASK.into(),
        exec_id: exec.clone(),
    });
    request.metadata_mut().insert("grpc-timeout", "300m".parse().unwrap());
    let begun = Instant::now();
    // Through a channel of tonic's own, its client would answer.
    let executor = hyper_util::rt::TokioExecutor::new();
    let client =
        hyper_util::client::legacy::Client::builder(executor).http2_only(true).build_http();
    let origin = format!("http://{}", agent.host_and_port()).parse().unwrap();
    let mut bare = TaskCommandRouterClient::with_origin(client, origin);
    request.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    let answer = bare.task_exec_wait(request).await;
    refused("a wait of 0.3 s", answer, Code::DeadlineExceeded, &[]);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1250) && took < Duration::from_secs(4), "{took:?}");
    assert_eq!(door.poll(&exec).await.unwrap(), None);
}
