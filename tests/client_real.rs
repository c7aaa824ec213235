//! The client library against the real agent: TLS and tokens, and input and output through a
//! proxy that resets every connection after a few hundred KiB.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use bytes::Bytes;
use doorward::{
    client::{Address, Client, ClientError, Command as Program, Options, Token},
    core::{ids::Stream, outcome::ExitStatus},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

const SECRET: &str = "one-token-among-others";

/// An agent on a free port, with a directory of its own.
struct Agent {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Agent {
    fn start(flags: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_doorward"))
            .args(["serve", "--listen", "tcp://127.0.0.1:0", "--log", "error", "--state-dir"])
            .arg(directory.path().join("state"))
            .args(flags(directory.path()))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the agent ended");
            eprint!("{line}");
            if let Some(address) = line.strip_prefix("doorward: listening on tcp://127.0.0.1:") {
                break address.trim().parse().unwrap();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::stderr()));
        Self { child, port, directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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
    let unauthenticated = |error: &ClientError| match error {
        ClientError::Refused(status) => status.code() == tonic::Code::Unauthenticated,
        _ => false,
    };
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

fn open(_: &Path) -> Vec<String> {
    vec!["--allow-anonymous".into()]
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

/// Bytes without a pattern that a shift would keep.
fn noise(length: usize) -> Bytes {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
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
