//! The client library's reader and writer as tokio's `AsyncRead`, `AsyncWrite` and `Stream`, before the
//! real agent, over links that are reset, stall and close by half.

#![allow(clippy::unwrap_used)]

mod client_support;

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use client_support::{Agent, noise, open};
use doorward::{
    client::{
        Address, AttachEvent, AttachOptions, Client, ClientError, Command, NotTaken, Options,
    },
    core::{ids::Stream, outcome::ExitStatus},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_stream::StreamExt;

/// What happens to a connection once so many bytes have passed.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Both sides are reset, in the middle of whatever is on its way.
    Reset,
    /// Nothing moves for a moment, then it goes on for as many bytes again.
    Pause(Duration),
    /// Nothing ever moves again, and nobody is told.
    Stall,
    /// The client is told that nothing more comes; what it sends still arrives.
    EndDown,
    /// The agent is told that nothing more comes; what it sends still arrives.
    EndUp,
}

/// A proxy before an agent.
struct Proxy {
    client: Client,
    connections: Arc<AtomicU64>,
}

/// A client whose every connection suffers `fault` once between `least` and three times as many
/// bytes have passed.
async fn through(agent: &Agent, least: u64, fault: fn(u64) -> Option<Fault>) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: Address = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (port, connections) = (agent.port, Arc::new(AtomicU64::new(0)));
    let count = connections.clone();
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let number = count.fetch_add(1, Ordering::SeqCst);
            let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16;
            let allowance = least + spread % (2 * least);
            tokio::spawn(forward(near, far, allowance, fault(number)));
        }
    });
    let client = Client::connect(Options::new(address, "")).await.unwrap();
    Proxy { client, connections }
}

async fn forward(mut near: TcpStream, mut far: TcpStream, allowance: u64, fault: Option<Fault>) {
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let (mut left, mut ended) = (allowance, [false; 2]);
    while !(ended[0] && ended[1]) {
        let (way, count) = tokio::select! {
            count = near.read(&mut up), if !ended[0] => (0, count),
            count = far.read(&mut down), if !ended[1] => (1, count),
        };
        let Ok(count) = count else { return };
        let (bytes, to) = if way == 0 { (&up, &mut far) } else { (&down, &mut near) };
        if count == 0 {
            ended[way] = true;
            let _ = to.shutdown().await;
            continue;
        }
        let dropped = ended == [false; 2] && to.write_all(&bytes[..count]).await.is_err();
        if dropped {
            return;
        }
        left = left.saturating_sub(count as u64);
        if left > 0 || ended != [false; 2] {
            continue;
        }
        match fault {
            None => {}
            Some(Fault::Reset) => {
                for socket in [&near, &far] {
                    let _ = socket.set_zero_linger();
                }
                return;
            }
            Some(Fault::Pause(time)) => {
                tokio::time::sleep(time).await;
                left = allowance;
            }
            Some(Fault::Stall) => std::future::pending().await,
            Some(Fault::EndDown) => {
                let _ = near.shutdown().await;
                ended[1] = true;
            }
            Some(Fault::EndUp) => {
                let _ = far.shutdown().await;
                ended[0] = true;
            }
        }
    }
}

/// Writes bytes to `cat` and reads them again, all at once, and compares.
async fn round_trip(client: &Client, id: &str, bytes: usize) {
    let data = noise(bytes);
    client.start(id, &Command::new(["cat"])).await.unwrap();
    let (mut stdin, input) = (client.stdin(id), data.clone());
    let writing = tokio::spawn(async move {
        // In pieces that have nothing to do with those of the wire.
        for piece in input.chunks(100_003) {
            stdin.write_all(piece).await.unwrap();
        }
        stdin.flush().await.unwrap();
        assert_eq!(stdin.offset(), input.len() as u64);
        stdin.shutdown().await.unwrap();
        stdin.shutdown().await.unwrap();
        let late = stdin.write_all(b"x").await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::BrokenPipe);
    });
    let mut output = client.output(id, Stream::Stdout, 0);
    let mut seen = Vec::new();
    output.read_to_end(&mut seen).await.unwrap();
    writing.await.unwrap();
    assert!(seen == data, "{} of {} bytes, or other ones", seen.len(), data.len());
    assert_eq!(output.end().unwrap().reason.as_deref(), Some("eof"));
    assert_eq!(client.wait(id).await.unwrap(), ExitStatus::Code(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_go_through_cat_over_a_link_that_is_reset() {
    let agent = Agent::start(open);
    let proxy = through(&agent, 1 << 20, |_| Some(Fault::Reset)).await;
    round_trip(&proxy.client, "e", 24 << 20).await;
    assert!(proxy.connections.load(Ordering::SeqCst) > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn much_output_is_read_whole_over_a_link_that_is_reset() {
    const LENGTH: usize = 128 << 20;
    let agent = Agent::start(open);
    std::fs::write(agent.file("noise"), noise(LENGTH)).unwrap();
    let direct: Address = format!("tcp://127.0.0.1:{}", agent.port).parse().unwrap();
    let direct = Client::connect(Options::new(direct, "")).await.unwrap();
    let noise = agent.file("noise").display().to_string();
    direct.start("e", &Command::new(["cat", &noise])).await.unwrap();
    direct.wait("e").await.unwrap();
    let proxy = through(&agent, 1 << 20, |_| Some(Fault::Reset)).await;
    let expected = std::fs::read(agent.file("noise")).unwrap();
    // As a stream.
    let mut pieces = proxy.client.output("e", Stream::Stdout, 0);
    let mut at = 0;
    while let Some(piece) = StreamExt::next(&mut pieces).await {
        let piece = piece.unwrap();
        assert!(expected[at..].starts_with(&piece), "at {at}");
        at += piece.len();
    }
    assert_eq!(at, LENGTH);
    assert!(proxy.connections.load(Ordering::SeqCst) > 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_pauses_or_closes_by_half_loses_nothing() {
    let agent = Agent::start(open);
    let faults: [fn(u64) -> Option<Fault>; 3] = [
        |_| Some(Fault::Pause(Duration::from_millis(200))),
        |number| (number < 6).then_some(Fault::EndDown),
        |number| (number < 6).then_some(Fault::EndUp),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let proxy = through(&agent, 300 << 10, fault).await;
        round_trip(&proxy.client, &format!("e{number}"), 4 << 20).await;
        let connections = proxy.connections.load(Ordering::SeqCst);
        assert!(number == 0 || connections > 6, "{number}: {connections}");
    }
}

/// Takes as long as it takes to notice: a question after 20 s of silence, and 10 s for its answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_stalls_is_noticed_and_replaced() {
    let agent = Agent::start(open);
    let stalls = |number| (number == 0).then_some(Fault::Stall);
    let proxy = through(&agent, 1 << 20, stalls).await;
    let begun = Instant::now();
    round_trip(&proxy.client, "e", 4 << 20).await;
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
    assert!(proxy.connections.load(Ordering::SeqCst) >= 2);
}

async fn direct(agent: &Agent) -> Client {
    let address: Address = format!("tcp://127.0.0.1:{}", agent.port).parse().unwrap();
    Client::connect(Options::new(address, "")).await.unwrap()
}

#[tokio::test]
async fn pieces_and_bytes_are_read_in_turns() {
    let agent = Agent::start(open);
    let client = direct(&agent).await;
    client.start("e", &Command::new(["printf", "0123456789"])).await.unwrap();
    client.wait("e").await.unwrap();
    let mut output = client.output("e", Stream::Stdout, 2);
    let mut three = [0; 3];
    output.read_exact(&mut three).await.unwrap();
    assert_eq!((&three, output.offset()), (b"234", 5));
    assert_eq!(output.next().await.unwrap().unwrap(), "56789");
    assert_eq!(output.offset(), 10);
    assert_eq!(output.read(&mut three).await.unwrap(), 0);
    assert_eq!(output.next().await.unwrap(), None);
    // What is no output is an error, not an end.
    let mut none = client.output("no-such", Stream::Stdout, 0);
    let error = none.read(&mut three).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ClientError>());
    assert!(matches!(inner, Some(ClientError::Refused(_))), "{error:?}");
}

#[tokio::test]
async fn a_deadline_ends_an_attached_call() {
    let agent = Agent::start(open);
    let client = direct(&agent).await;
    client.start("e", &Command::new(["sh", "-c", "echo ready; exec sleep 60"])).await.unwrap();
    let begun = Instant::now();
    let bounded =
        |millis| client.with_deadline(tokio::time::Instant::now() + Duration::from_millis(millis));
    let mut attached = bounded(500).attach("e", AttachOptions::default()).await.unwrap();
    let error = loop {
        match attached.next().await {
            Ok(event) => assert!(matches!(event, Some(AttachEvent::Output { .. })), "{event:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ClientError::Deadline), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(500));
    assert!(attached.next().await.unwrap().is_none(), "nothing comes after it");
    assert_eq!(attached.input().send("x".into()).await, Err(NotTaken::Over));
    // Nobody is there any more: before the call is open it is bounded too.
    drop(agent);
    let error = bounded(300).attach("e", AttachOptions::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::Deadline), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_writer_says_when_nobody_reads_and_mixes_its_ways() {
    let agent = Agent::start(open);
    let client = direct(&agent).await;
    client.start("cat", &Command::new(["cat"])).await.unwrap();
    let mut stdin = client.stdin("cat");
    stdin.write_all(b"a").await.unwrap();
    stdin.write(bytes::Bytes::from("b")).await.unwrap();
    stdin.write_all(b"c").await.unwrap();
    stdin.upload(&mut bytes::Bytes::from("d")).await.unwrap();
    let mut seen = String::new();
    client.output("cat", Stream::Stdout, 0).read_to_string(&mut seen).await.unwrap();
    assert_eq!(seen, "abcd");
    client.start("deaf", &Command::new(["true"])).await.unwrap();
    client.wait("deaf").await.unwrap();
    let mut stdin = client.stdin("deaf");
    // Taken, and then found to be wanted by nobody, once and again.
    for _ in 0..2 {
        let _ = stdin.write_all(b"x").await;
        assert_eq!(stdin.flush().await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
    assert_eq!(stdin.offset(), 0);
}

#[tokio::test]
async fn a_deadline_bounds_everything_and_patience_only_failures() {
    let agent = Agent::start(open);
    let client = direct(&agent).await;
    client.start("e", &Command::new(["sleep", "60"])).await.unwrap();
    let begun = Instant::now();
    let bounded =
        |millis| client.with_deadline(tokio::time::Instant::now() + Duration::from_millis(millis));
    let error = bounded(200).wait("e").await.unwrap_err();
    assert!(matches!(error, ClientError::Deadline), "{error}");
    let mut output = bounded(200).output("e", Stream::Stdout, 0);
    let error = output.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    // A pipe that nobody reads is full some time.
    let mut stdin = bounded(500).stdin("e");
    let error = stdin.write_all(&vec![0; 1 << 20]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let sooner = bounded(100).with_deadline(tokio::time::Instant::now() + Duration::from_secs(60));
    assert!(sooner.wait("e").await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // What goes well is not bounded by patience …
    let impatient = client.with_patience(Duration::from_millis(300));
    let patient = tokio::time::timeout(Duration::from_secs(1), impatient.wait("e")).await;
    assert!(patient.is_err(), "{patient:?}");
    // … and what fails is.
    drop(agent);
    let begun = Instant::now();
    let error = impatient.wait("e").await.unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let error = bounded(300).wait("e").await.unwrap_err();
    assert!(matches!(error, ClientError::Deadline), "{error}");
}
