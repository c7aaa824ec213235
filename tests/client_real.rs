//! The client library against the real agent: TLS and tokens, and input and output through a
//! proxy that resets every connection after a few hundred KiB.

#![allow(clippy::unwrap_used)]

mod client_support;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use client_support::{Agent, noise, open};
use doorward::{
    client::{Address, Client, ClientError, Command as Program, Identity, Options, Target, Token},
    core::{ids::Stream, outcome::ExitStatus},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

const SECRET: &str = "one-token-among-others";

/// Writes certificate, key and tokens, and returns the flags that name them.
fn secured(directory: &Path) -> Vec<String> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    vec![
        "--tls-cert".into(),
        write("cert.pem", made.cert.pem()),
        "--tls-key".into(),
        write("key.pem", made.signing_key.serialize_pem()),
        "--token-file".into(),
        write("tokens", format!("another\n{SECRET}\n")),
    ]
}

#[tokio::test]
async fn tls_and_tokens_from_a_file_that_changes() {
    let agent = Agent::start(secured);
    let address: Address = format!("https://localhost:{}", agent.port).parse().unwrap();
    let mut options = Options::new(address, "");

    let error = Client::connect(options.clone()).await.err().unwrap();
    assert!(matches!(error, ClientError::Connect { .. }), "an unknown certificate: {error}");

    options.ca = Some(agent.file("cert.pem"));
    let client = Client::connect(options.clone()).await.unwrap();
    let error = client.wait("e").await.unwrap_err();
    assert!(unauthenticated(&error), "{error:?}");

    fs::write(agent.file("mine"), "stale\n").unwrap();
    options.token = Token::File(agent.file("mine"));
    let client = Client::connect(options).await.unwrap();
    assert!(unauthenticated(&client.poll("e").await.unwrap_err()));
    fs::write(agent.file("mine"), format!("{SECRET}\n")).unwrap();
    client.start("e", &Program::new(["echo", "hi"])).await.unwrap();
    let mut output = client.output("e", Stream::Stdout, 0);
    assert_eq!(output.next().await.unwrap().unwrap(), "hi\n");
    assert_eq!(output.next().await.unwrap(), None);
    assert_eq!(output.end().unwrap().reason.as_deref(), Some("eof"));
    assert_eq!(client.wait("e").await.unwrap(), ExitStatus::Code(0));
}

fn unauthenticated(error: &ClientError) -> bool {
    match error {
        ClientError::Refused(status) => status.code() == tonic::Code::Unauthenticated,
        _ => false,
    }
}

fn with_token(_: &Path) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap().keep();
    fs::write(directory.join("tokens"), format!("{SECRET}\n")).unwrap();
    vec!["--token-file".into(), directory.join("tokens").display().to_string()]
}

/// A source that gives these in turn, the last one for ever, and counts how often it was asked.
fn source(tokens: &'static [&'static str]) -> (Token, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let token = Token::source(move || {
        let turn = count.fetch_add(1, Ordering::SeqCst);
        async move {
            // A service that is asked takes a moment.
            tokio::task::yield_now().await;
            let token = tokens.get(turn).or(tokens.last()).copied();
            token.filter(|token| !token.is_empty()).map(String::from).ok_or("nobody answers")
        }
    });
    (token, asked)
}

#[tokio::test]
async fn a_source_is_asked_for_the_first_token_and_when_one_is_refused() {
    let agent = Agent::start(with_token);
    let address: Address = format!("http://127.0.0.1:{}", agent.port).parse().unwrap();
    let connect = async |token: Token| {
        Client::connect(Options { token, ..Options::new(address.clone(), "") }).await
    };
    let (token, asked) = source(&["expired", SECRET]);
    let client = connect(token).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    client.start("e", &Program::new(["true"])).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!(client.wait("e").await.unwrap(), ExitStatus::Code(0));
    assert_eq!(asked.load(Ordering::SeqCst), 2, "a token that is good is kept");

    // Many calls that find the same token expired: none fails, and few ask.
    let (token, asked) = source(&["expired", SECRET]);
    let client = connect(token).await.unwrap();
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.wait("e").await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), ExitStatus::Code(0));
    }
    let asked = asked.load(Ordering::SeqCst);
    assert!((2..10).contains(&asked), "asked {asked} times");

    // A reader gets a new one too.
    let (token, _) = source(&["expired", SECRET]);
    let client = connect(token).await.unwrap();
    assert_eq!(client.output("e", Stream::Stdout, 0).next().await.unwrap(), None);

    let (token, asked) = source(&["bad", "worse", "bad", "worse", "bad", "worse"]);
    let client = connect(token).await.unwrap();
    assert!(unauthenticated(&client.poll("e").await.unwrap_err()));
    assert!(asked.load(Ordering::SeqCst) < 6, "it comes to an end");
    let (token, _) = source(&["expired", ""]);
    let error = connect(token).await.unwrap().poll("e").await.unwrap_err();
    assert!(error.to_string().contains("nobody answers"), "{error}");
}

#[tokio::test]
async fn a_certificate_of_ours_is_shown() {
    let agent = Agent::start(|directory| {
        let mut flags = secured(directory);
        let made = rcgen::generate_simple_self_signed(["somebody".to_string()]).unwrap();
        fs::write(directory.join("mine.pem"), made.cert.pem()).unwrap();
        fs::write(directory.join("mine.key"), made.signing_key.serialize_pem()).unwrap();
        let ours = directory.join("mine.pem").display().to_string();
        flags.extend(["--client-ca".to_string(), ours]);
        flags
    });
    let address: Address = format!("https://localhost:{}", agent.port).parse().unwrap();
    let mut options = Options::new(address, "");
    options.ca = Some(agent.file("cert.pem"));
    options.token = Token::Text(SECRET.into());
    // Without one, the connection does not come about, or breaks at once (TLS 1.3).
    match Client::connect(options.clone()).await {
        Err(error) => assert!(matches!(error, ClientError::Connect { .. }), "{error}"),
        Ok(client) => {
            let client = client.with_patience(Duration::from_millis(300));
            let error = client.poll("e").await.unwrap_err();
            assert!(matches!(error, ClientError::Lost { .. }), "{error}");
        }
    }
    options.identity = Some(Identity { cert: agent.file("mine.pem"), key: agent.file("mine.key") });
    let client = Client::connect(options.clone()).await.unwrap();
    client.start("e", &Program::new(["true"])).await.unwrap();
    assert_eq!(client.wait("e").await.unwrap(), ExitStatus::Code(0));
    options.identity = Some(Identity { cert: agent.file("mine.pem"), key: agent.file("cert.pem") });
    let error = Client::connect(options).await.err().unwrap();
    assert!(error.to_string().contains("cert.pem"), "{error}");
}

#[tokio::test]
async fn orders_reach_the_exec() {
    let agent = Agent::start(open);
    let address: Address = format!("tcp://127.0.0.1:{}", agent.port).parse().unwrap();
    let client = Client::connect(Options::new(address, "")).await.unwrap();
    let script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.02; done";
    let mut program = Program::new(["sh", "-c", script]);
    program.terminal = Some(doorward::client::Terminal::default());
    client.start("e", &program).await.unwrap();
    let mut output = client.output("e", Stream::Stdout, 0);
    let mut seen = String::new();
    let mut until = async |text: &str| {
        while !seen.contains(text) {
            seen.push_str(&String::from_utf8_lossy(&output.next().await.unwrap().unwrap()));
        }
    };
    until("ready").await;
    client.resize("e", 33, 44).await.unwrap();
    until("33 44").await;
    assert_eq!(client.signal("e", 10, Target::Leader).await.unwrap(), Some(1));
    assert_eq!(client.wait("e").await.unwrap(), ExitStatus::Signal(10));
    client.start("f", &Program::new(["sleep", "60"])).await.unwrap();
    assert_eq!(client.cancel("f", None).await.unwrap().left, []);
    assert_eq!(client.wait("f").await.unwrap(), ExitStatus::Signal(15));
    let error = client.cancel("f", Some(Duration::MAX)).await.unwrap_err();
    assert!(error.to_string().contains("hour"), "{error}");
    assert!(client.cancel("no-such", None).await.is_err());
}

/// A proxy before `port` that drops each connection after `budget` bytes have gone to the agent
/// or come from it; returns its own port.
async fn proxy(port: u16, budget: u64) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let mut near = Budget { socket: near, left: budget };
                let mut far = far;
                // It ends with the error of a spent budget, and both sockets are closed.
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    own
}

/// A socket that fails once so many bytes were read from it and written to it.
struct Budget {
    socket: TcpStream,
    left: u64,
}

impl Budget {
    fn spend(&mut self, bytes: usize) -> std::io::Result<()> {
        let left = self.left.checked_sub(bytes as u64);
        self.left = left.ok_or(std::io::ErrorKind::ConnectionReset)?;
        Ok(())
    }
}

impl tokio::io::AsyncRead for Budget {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(std::pin::Pin::new(&mut self.socket).poll_read(context, buf))?;
        std::task::Poll::Ready(self.spend(buf.filled().len() - before))
    }
}

impl tokio::io::AsyncWrite for Budget {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        let written =
            std::task::ready!(std::pin::Pin::new(&mut self.socket).poll_write(context, buf))?;
        std::task::Poll::Ready(self.spend(written).map(|()| written))
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_in_comes_out_however_often_the_link_breaks() {
    let agent = Agent::start(open);
    let port = proxy(agent.port, 400 << 10).await;
    let address: Address = format!("tcp://127.0.0.1:{port}").parse().unwrap();
    let client = Client::connect(Options::new(address, "")).await.unwrap();
    for way in ["pieces", "stream"] {
        let data = noise(16 << 20);
        client.start(way, &Program::new(["cat"])).await.unwrap();
        let (writer, input) = (client.clone(), data.clone());
        let writing = tokio::spawn(async move {
            let mut stdin = writer.stdin(way);
            match way {
                "pieces" => {
                    stdin.write(input).await.unwrap();
                    stdin.finish().await.unwrap();
                }
                _ => stdin.upload(&mut input.clone()).await.unwrap(),
            }
        });
        let mut output = client.output(way, Stream::Stdout, 0);
        let mut seen = Vec::new();
        while let Some(piece) = output.next().await.unwrap() {
            seen.extend_from_slice(&piece);
        }
        writing.await.unwrap();
        assert!(seen == data, "{way}: {} of {} bytes, or other ones", seen.len(), data.len());
        assert_eq!(client.wait(way).await.unwrap(), ExitStatus::Code(0));
    }
}
