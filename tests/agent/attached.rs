//! The library's attached client over links that break: every byte once, both ways.

use std::{sync::Arc, time::Duration};

use doorward::{
    client::{
        AttachEvent, AttachInput, AttachOptions, AttachRole, AttachStart, Attached, Client,
        ClientError, Command, NotTaken, Options, Terminal, Token,
    },
    core::ids::Stream,
};
use tokio::time::timeout;

use crate::{
    proxy::Proxy,
    support::{Agent, Noise, PATIENCE, TASK, door::TOKEN},
};

async fn client(host_and_port: &str) -> Client {
    let address = format!("http://{host_and_port}").parse().unwrap();
    let options = Options { token: Token::Text(TOKEN.into()), ..Options::new(address, TASK) };
    Client::connect(options).await.unwrap()
}

const FROM_START: AttachOptions = AttachOptions {
    role: AttachRole::Writer,
    size: None,
    start: AttachStart::Offsets { stdout: 0, stderr: 0 },
};

async fn next(attached: &mut Attached) -> Result<Option<AttachEvent>, ClientError> {
    timeout(PATIENCE, attached.next()).await.expect("an event comes")
}

/// Follows until standard output has this.
async fn until_shown(attached: &mut Attached, seen: &mut Vec<u8>, text: &str) {
    while !String::from_utf8_lossy(seen).contains(text) {
        let event = next(attached).await.unwrap();
        let event = event.unwrap_or_else(|| panic!("no {text:?}"));
        if let AttachEvent::Output { stream: Stream::Stdout, bytes, .. } = event {
            seen.extend_from_slice(&bytes);
        }
    }
}

#[tokio::test]
async fn no_byte_is_lost_or_doubled_either_way() {
    const BYTES: usize = 8 << 20;
    let agent = Agent::start().await;
    let proxy = Proxy::before(agent.host_and_port(), 7).await;
    let client = client(&proxy.host_and_port).await;
    client.start("cat", &Command::new(["sh", "-c", "tee /dev/stderr"])).await.unwrap();
    let noise = Arc::new(Noise::new(3).bytes(BYTES));
    let mut attached = client.attach("cat", FROM_START).await.unwrap();
    let feed = |input: AttachInput, noise: Arc<Vec<u8>>| async move {
        for piece in noise.chunks(10_000) {
            input.send(piece.to_vec().into()).await.unwrap();
        }
        input.accepted().await.unwrap();
        input.end().unwrap();
    };
    let fed = tokio::spawn(feed(attached.input(), noise.clone()));
    let (mut seen, mut ended, mut ends, mut breaks) = ([vec![], vec![]], 0, 0, 0);
    while let Some(event) = next(&mut attached).await.unwrap() {
        match event {
            AttachEvent::Output { stream, offset, bytes } => {
                let seen = &mut seen[stream as usize];
                assert_eq!(offset, seen.len() as u64);
                seen.extend_from_slice(&bytes);
            }
            AttachEvent::Ended(end) => {
                assert_eq!(end.exit_code, Some(0));
                ended += 1;
            }
            AttachEvent::StreamEnd { reason, .. } => {
                assert_eq!(reason, "eof");
                ends += 1;
            }
            AttachEvent::Reconnecting { attempt, .. } => breaks += usize::from(attempt == 1),
            AttachEvent::Reconnected => {}
            other => panic!("{other:?}"),
        }
    }
    fed.await.unwrap();
    for seen in seen {
        assert!(seen == *noise, "{} of {BYTES} bytes", seen.len());
    }
    assert_eq!((ended, ends), (1, 2), "each end is told once");
    assert!(breaks > 20, "only {breaks} breaks");
    assert_eq!(attached.input().end(), Err(NotTaken::Over));
}

#[tokio::test]
async fn who_was_displaced_looks_on_after_a_break_too() {
    let agent = Agent::start().await;
    // Each connection carries little, so that it breaks soon once there is output.
    let proxy = Proxy::with_allowance(agent.host_and_port(), 5, 30_000).await;
    let (flaky, steady) = (client(&proxy.host_and_port).await, client(agent.host_and_port()).await);
    let script = "stty -echo; echo ready; while read line; do seq 20000; echo \"<$line>\"; done";
    let terminal = Terminal { rows: 24, columns: 80, ..Terminal::default() };
    let shell = Command { terminal: Some(terminal), ..Command::new(["sh", "-c", script]) };
    steady.start("shell", &shell).await.unwrap();
    let mut first = flaky.attach("shell", FROM_START).await.unwrap();
    let mut first_seen = Vec::new();
    until_shown(&mut first, &mut first_seen, "ready").await;
    first.input().send("one\r".into()).await.unwrap();
    until_shown(&mut first, &mut first_seen, "<one>").await;
    assert!(proxy.resets() > 0, "the writer's link broke and it still writes");

    let mut second = steady.attach("shell", FROM_START).await.unwrap();
    let mut second_seen = Vec::new();
    second.input().send("two\r".into()).await.unwrap();
    until_shown(&mut second, &mut second_seen, "<two>").await;
    let mut displaced = 0;
    while !String::from_utf8_lossy(&first_seen).contains("<two>") {
        match next(&mut first).await.unwrap().unwrap() {
            AttachEvent::Output { bytes, .. } => first_seen.extend_from_slice(&bytes),
            AttachEvent::Displaced { by } => {
                assert_eq!(by, "static token");
                displaced += 1;
            }
            _ => {}
        }
    }
    assert_eq!(displaced, 1);
    assert_eq!(first.input().send("x".into()).await, Err(NotTaken::Observer));
    let before = proxy.resets();
    second.input().send("three\r".into()).await.unwrap();
    until_shown(&mut second, &mut second_seen, "<three>").await;
    until_shown(&mut first, &mut first_seen, "<three>").await;
    assert!(proxy.resets() > before, "the observer's link broke");
    second.input().send("four\r".into()).await.unwrap();
    until_shown(&mut second, &mut second_seen, "<four>").await;
    until_shown(&mut first, &mut first_seen, "<four>").await;
    assert!(first_seen == second_seen, "both saw the same");
}

#[tokio::test]
async fn an_agent_that_goes_away_is_an_error_and_no_end() {
    let mut agent = Agent::start().await;
    let client = client(agent.host_and_port()).await;
    client.start("sleep", &Command::new(["sleep", "1000"])).await.unwrap();
    let mut attached = client.attach("sleep", FROM_START).await.unwrap();
    agent.signal(rustix::process::Signal::KILL);
    agent.ended().await;
    let event = next(&mut attached).await.unwrap();
    assert!(matches!(event, Some(AttachEvent::Reconnecting { attempt: 1, .. })), "{event:?}");
    let input = attached.input();
    input.send("typed while there is no link".into()).await.unwrap();
    let waiting = timeout(Duration::from_millis(50), input.accepted()).await;
    assert!(waiting.is_err(), "nobody accepted it");
    drop(attached);
    assert_eq!(input.accepted().await, Err(NotTaken::Over));
}

#[tokio::test]
async fn what_is_not_there_is_told_at_once() {
    let agent = Agent::start().await;
    let client = client(agent.host_and_port()).await;
    let refused = client.attach("nobody", FROM_START).await.map(drop);
    let Err(ClientError::Refused(status)) = refused else { panic!("{refused:?}") };
    assert_eq!(status.code(), tonic::Code::NotFound);
}
