//! The client library against a server that keeps breaking the connection.
//!
//! The server here is a page of HTTP/2: it counts and checks what arrives, and resets each
//! connection after a number of bytes. Nothing of the agent takes part but its wire types.

#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use doorward::{
    client::{Client, ClientError, Command, Options, OutputEnd},
    core::{failure::Kind, ids::Stream, outcome::ExitStatus},
    doors::{
        chunks::{Chunks, Step, respond},
        request::single_request,
        status,
        unsent::Unsent,
    },
    wire::modal::task_command_router as wire,
};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tonic::{Status, body::Body};

/// The byte that stands at `offset` of every stream.
fn byte(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

fn bytes(start: u64, end: u64) -> Bytes {
    (start..end).map(byte).collect()
}

/// What the fake agent has seen.
#[derive(Default)]
struct Fake {
    /// The length of the output that it serves.
    output: u64,
    /// How many bytes a connection may carry each way.
    budget: usize,
    connections: AtomicUsize,
    starts: Mutex<HashMap<String, usize>>,
    accepted: AtomicU64,
    closed: AtomicU64,
    /// Input that came twice or left a gap.
    wrong: Mutex<Vec<String>>,
}

impl Fake {
    fn accept(&self, offset: u64, data: &[u8]) -> Result<(), Status> {
        let accepted = self.accepted.load(Ordering::SeqCst);
        if offset > accepted {
            return Err(status::status(Kind::Refused, format!("expected offset {accepted}")));
        }
        for (place, found) in (offset..).zip(data) {
            if byte(place) != *found {
                self.wrong.lock().unwrap().push(format!("byte {place}"));
            }
        }
        self.accepted.fetch_max(offset + data.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let method = request.uri().path().rsplit('/').next().unwrap().to_string();
        let answer = match method.as_str() {
            "TaskExecStdioRead" => match single_request(request).await {
                Ok(request) => return self.read(request),
                Err(status) => Err(status),
            },
            "TaskExecStart" => self.start(request).await.map(|()| vec![]),
            "TaskExecStdinWrite" => self.write(request).await.map(|()| vec![]),
            "TaskExecStdinWriteStream" => self.write_stream(request).await.map(|()| vec![]),
            "TaskExecStdinStatus" => Ok(wire::TaskExecStdinStatusResponse {
                num_bytes_written: self.accepted.load(Ordering::SeqCst),
                closed: self.closed.load(Ordering::SeqCst) > 0,
            }
            .encode_to_vec()),
            "TaskExecWait" => {
                let exit_status = Some(wire::task_exec_wait_response::ExitStatus::Signal(9));
                Ok(wire::TaskExecWaitResponse { exit_status }.encode_to_vec())
            }
            "TaskExecPoll" => Ok(vec![]),
            other => Err(status::status(Kind::Unbuilt, other)),
        };
        unary(answer)
    }

    fn read(&self, request: wire::TaskExecStdioReadRequest) -> Response<Body> {
        if request.exec_id == "dropped" {
            let mut refused = status::status(Kind::OutOfRange, "dropped");
            refused.metadata_mut().insert("doorward-first-offset", "7".parse().unwrap());
            return unary(Err(refused));
        }
        let cut = request.exec_id == "cut short";
        let chunks = Output { offset: request.offset, end: self.output, cut };
        respond(chunks, &Unsent::new())
    }

    async fn start(&self, request: Request<Incoming>) -> Result<(), Status> {
        let request: wire::TaskExecStartRequest = single_request(request).await?;
        let mut starts = self.starts.lock().unwrap();
        let count = starts.entry(request.exec_id.clone()).or_default();
        *count += 1;
        match (request.command_args[0].as_str(), *count) {
            ("missing", _) => Err(status::status(Kind::Refused, "no such program")),
            ("flaky", 1 | 2) => Err(Status::unavailable("come back")),
            ("crowded", 1) => Err(status::status(Kind::Exhausted, "full")),
            _ => Ok(()),
        }
    }

    async fn write(&self, request: Request<Incoming>) -> Result<(), Status> {
        let request: wire::TaskExecStdinWriteRequest = single_request(request).await?;
        self.accept(request.offset, &request.data)?;
        self.closed.fetch_add(request.eof.into(), Ordering::SeqCst);
        Ok(())
    }

    async fn write_stream(&self, request: Request<Incoming>) -> Result<(), Status> {
        use wire::task_exec_stdin_write_stream_request::Payload;
        let (mut body, mut data, mut offset) = (request.into_body(), BytesMut::new(), 0);
        loop {
            let frame = body.frame().await.ok_or_else(|| Status::cancelled("no end"))?;
            let frame = frame.map_err(|_| Status::cancelled("broken"))?;
            data.extend_from_slice(&frame.into_data().unwrap_or_default());
            while data.len() >= 5 {
                let length = u32::from_be_bytes(data[1..5].try_into().unwrap()) as usize;
                if data.len() < 5 + length {
                    break;
                }
                data.advance(5);
                let message = data.split_to(length);
                let message = wire::TaskExecStdinWriteStreamRequest::decode(message).unwrap();
                match message.payload.unwrap() {
                    Payload::Start(start) => offset = start.offset,
                    Payload::Data(piece) => {
                        self.accept(offset, &piece)?;
                        offset += piece.len() as u64;
                    }
                    Payload::End(_) => {
                        self.closed.fetch_add(1, Ordering::SeqCst);
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// The output of an exec, in pieces of many sizes.
struct Output {
    offset: u64,
    end: u64,
    cut: bool,
}

impl Chunks for Output {
    async fn next(&mut self, bytes_max: usize) -> Result<Step, Status> {
        if self.offset == self.end {
            if self.cut {
                return Err(Status::unavailable("the agent went away"));
            }
            let mut trailers = HeaderMap::new();
            trailers.insert(status::END, HeaderValue::from_static("linger"));
            status::warn(&mut trailers, "3 processes still write");
            return Ok(Step::End(trailers));
        }
        let size = 1 + u64::from(byte(self.offset)) * 300;
        let end = (self.offset + size.min(bytes_max as u64)).min(self.end);
        let bytes = bytes(self.offset, end);
        self.offset = end;
        Ok(Step::Chunk { bytes, starting_offset: None })
    }
}

fn unary(answer: Result<Vec<u8>, Status>) -> Response<Body> {
    let (data, trailers) = match answer {
        Ok(message) => {
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            let framed = [&[0][..], &length, &message].concat();
            (Some(framed), status::ok(HeaderMap::new()))
        }
        Err(status) => (None, status::trailers(&status)),
    };
    let frames = data.map(|data| http_body::Frame::data(Bytes::from(data)));
    let frames = frames.into_iter().chain([http_body::Frame::trailers(trailers)]);
    let body = StreamBody::new(tokio_stream::iter(frames.map(Ok::<_, Infallible>)));
    let mut response = Response::new(Body::new(body));
    let content_type = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", content_type);
    response
}

/// A socket that is reset after so many bytes.
struct Breaking {
    socket: TcpStream,
    left: usize,
}

impl Breaking {
    fn spend(&mut self, bytes: usize) -> io::Result<()> {
        self.left = self.left.checked_sub(bytes).ok_or(io::ErrorKind::ConnectionReset)?;
        Ok(())
    }
}

impl AsyncRead for Breaking {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.socket).poll_read(context, buf))?;
        Poll::Ready(self.spend(buf.filled().len() - before))
    }
}

impl AsyncWrite for Breaking {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.spend(buf.len().min(64 << 10))?;
        Pin::new(&mut self.socket).poll_write(context, &buf[..buf.len().min(64 << 10)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// A fake agent, and a client of it.
async fn fake(output: u64, budget: usize) -> (Arc<Fake>, Client) {
    let fake = Arc::new(Fake { output, budget, ..Fake::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(serve(fake.clone(), listener));
    let address = format!("tcp://127.0.0.1:{port}").parse().unwrap();
    let client = Client::connect(Options::new(address, "task")).await.unwrap();
    (fake, client)
}

async fn serve(fake: Arc<Fake>, listener: TcpListener) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        fake.connections.fetch_add(1, Ordering::SeqCst);
        let socket = TokioIo::new(Breaking { socket, left: fake.budget });
        let fake = fake.clone();
        let service = service_fn(move |request| {
            let fake = fake.clone();
            async move { Ok::<_, Infallible>(fake.answer(request).await) }
        });
        tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(socket, service));
    }
}

#[tokio::test]
async fn a_read_goes_on_where_it_was_cut() {
    const LENGTH: u64 = 8 << 20;
    let (fake, client) = fake(LENGTH, 300 << 10).await;
    let mut reader = client.output("e", Stream::Stdout, 5);
    let mut offset = 5;
    while let Some(piece) = reader.next().await.unwrap() {
        assert!(!piece.is_empty());
        for (place, found) in (offset..).zip(&piece) {
            assert_eq!(byte(place), *found, "at {place}");
        }
        offset += piece.len() as u64;
        assert_eq!(reader.offset(), offset);
    }
    assert_eq!(offset, LENGTH);
    let warnings = vec!["3 processes still write".to_string()];
    assert_eq!(reader.end(), Some(&OutputEnd { reason: Some("linger".into()), warnings }));
    assert!(fake.connections.load(Ordering::SeqCst) > 20);
}

#[tokio::test]
async fn input_arrives_once_and_in_order_piece_by_piece() {
    const LENGTH: u64 = 4 << 20;
    let (fake, client) = fake(0, 300 << 10).await;
    let mut stdin = client.stdin("e");
    for start in (0..LENGTH).step_by(1 << 20) {
        stdin.write(bytes(start, start + (1 << 20))).await.unwrap();
    }
    stdin.finish().await.unwrap();
    assert_eq!(fake.accepted.load(Ordering::SeqCst), LENGTH);
    assert_eq!(*fake.wrong.lock().unwrap(), Vec::<String>::new());
    assert!(fake.closed.load(Ordering::SeqCst) > 0);
    assert!(fake.connections.load(Ordering::SeqCst) > 10);
}

#[tokio::test]
async fn input_arrives_once_and_in_order_as_a_stream() {
    const LENGTH: u64 = 8 << 20;
    let (fake, client) = fake(0, 300 << 10).await;
    let mut stdin = client.stdin("e");
    stdin.write(bytes(0, 1000)).await.unwrap();
    stdin.upload(&mut bytes(1000, LENGTH)).await.unwrap();
    assert_eq!(stdin.offset(), LENGTH);
    assert_eq!(fake.accepted.load(Ordering::SeqCst), LENGTH);
    assert_eq!(*fake.wrong.lock().unwrap(), Vec::<String>::new());
    assert_eq!(fake.closed.load(Ordering::SeqCst), 1);
    assert!(fake.connections.load(Ordering::SeqCst) > 20);
}

#[tokio::test]
async fn a_start_is_repeated_where_that_may_help() {
    let (fake, client) = fake(0, usize::MAX).await;
    let start = async |id: &str, program: &str| {
        let answer = client.start(id, &Command::new([program])).await;
        (answer.map_err(|error| error.to_string()), fake.starts.lock().unwrap()[id])
    };
    assert_eq!(start("a", "true").await, (Ok(()), 1));
    assert_eq!(start("b", "flaky").await, (Ok(()), 3));
    assert_eq!(start("c", "crowded").await, (Ok(()), 2));
    assert_eq!(start("d", "missing").await, (Err("no such program".into()), 1));
}

#[tokio::test]
async fn answers_are_told_as_they_are() {
    let (_fake, client) = fake(0, usize::MAX).await;
    assert_eq!(client.wait("e").await.unwrap(), ExitStatus::Signal(9));
    assert_eq!(client.poll("e").await.unwrap(), None);
    let error = client.list().await.unwrap_err();
    assert!(matches!(error, ClientError::NoControl), "{error}");
    assert!(error.to_string().contains("no such service"), "{error}");
    let error = client.resize("e", 1, 1).await.unwrap_err();
    assert!(matches!(error, ClientError::NoControl), "{error}");
    let error = client.output("dropped", Stream::Stderr, 3).next().await.unwrap_err();
    assert!(matches!(error, ClientError::Dropped { asked: 3, first: Some(7) }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_output_without_an_end_is_an_error_and_no_byte_is_lost_before_it() {
    let (_fake, client) = fake(1000, usize::MAX).await;
    let mut reader = client.output("cut short", Stream::Stdout, 0);
    let mut seen = 0;
    let error = loop {
        match reader.next().await {
            Ok(Some(piece)) => seen += piece.len(),
            Ok(None) => panic!("the end was never told"),
            Err(error) => break error,
        }
    };
    assert_eq!(seen, 1000);
    assert!(matches!(error, ClientError::Lost { .. }), "{error}");
}

#[tokio::test]
async fn a_wrong_address_is_told_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let address = format!("http://127.0.0.1:{port}").parse().unwrap();
    let error = Client::connect(Options::new(address, "task")).await.err().unwrap();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
}
