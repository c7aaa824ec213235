//! Reading an output to its end, however often the connection breaks.
//!
//! ```text
//!            opened                    end of the output
//!  Closed ─────────▶ Open ────────────────────────────▶ Ended
//!    ▲  └─ Opening ─┘  │ broke, at whatever byte
//!    │                 ▼
//!    └──────────── Pausing
//! ```

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Request, header::CONTENT_TYPE};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use prost::Message;
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use tonic::{Code, Status, body::Body};

use super::{Client, ClientError, later::Later, link::Link, pieces::Pieces, retry::Retry};
use crate::{
    core::ids::Stream,
    wire::modal::task_command_router::{TaskExecStdioFileDescriptor, TaskExecStdioReadRequest},
};

const PATH: &str = "/modal.task_command_router.TaskCommandRouter/TaskExecStdioRead";

/// Reads one output of an exec, byte by byte from an offset on. After any break it goes on at
/// the byte where it was cut; it ends only where the agent says that the output ends.
///
/// It can be read as pieces ([`OutputReader::next`], or as a `Stream`) and as bytes (`AsyncRead`),
/// also in turns; [`OutputReader::offset`] is always that of the next byte. What fails for good is
/// an error, and never looks like an end; read again, it goes on where it was.
///
/// ```no_run
/// use doorward::core::ids::Stream;
/// use tokio::io::{AsyncBufReadExt, BufReader};
///
/// # async fn example(client: doorward::client::Client) -> std::io::Result<()> {
/// let output = client.output("build-1", Stream::Stdout, 0);
/// let mut lines = BufReader::new(output).lines();
/// while let Some(line) = lines.next_line().await? {
///     println!("{line}");
/// }
/// # Ok(()) }
/// ```
pub struct OutputReader {
    client: Client,
    request: TaskExecStdioReadRequest,
    retry: Retry,
    state: State,
    /// What was read and not given out: a read as bytes may take a part of a piece.
    rest: Bytes,
    /// When the client's deadline is; made when it is first waited for.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// How an output ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputEnd {
    /// `eof`, `quiet` or `linger`, where the agent says so.
    pub reason: Option<String>,
    /// What the agent's operator should tell the user.
    pub warnings: Vec<String>,
}

enum State {
    /// The stream is to be opened.
    Closed,
    Opening(Later<Result<Opened, Status>>),
    Open(Open),
    /// After a break, until it makes sense to try again.
    Pausing(Later<Result<Retry, ClientError>>),
    Ended(OutputEnd),
}

/// What an attempt to open the stream came to.
enum Opened {
    Stream(Open),
    /// Nothing was printed, and the whole answer was in the headers.
    End(OutputEnd),
}

struct Open {
    since: Instant,
    body: Incoming,
    /// What came and was not given out.
    data: Bytes,
    pieces: Pieces,
}

/// What an open stream brings.
enum Event {
    Bytes(Bytes),
    End(OutputEnd),
}

impl OutputReader {
    pub(super) fn new(client: Client, exec_id: &str, stream: Stream, offset: u64) -> Self {
        let file_descriptor = match stream {
            Stream::Stdout => TaskExecStdioFileDescriptor::Stdout,
            Stream::Stderr => TaskExecStdioFileDescriptor::Stderr,
        };
        let request = TaskExecStdioReadRequest {
            task_id: client.task_id.to_string(),
            exec_id: exec_id.into(),
            offset,
            file_descriptor: file_descriptor.into(),
        };
        let (retry, state) = (Retry::new(), State::Closed);
        Self { client, request, retry, state, rest: Bytes::new(), deadline: None }
    }

    /// The next bytes, never none, as many as came; `None` at the end. Dropping the future loses
    /// nothing. After an error the reader may be asked again and goes on where it was.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        poll_fn(|context| self.poll_piece(context)).await
    }

    /// The offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.request.offset - self.rest.len() as u64
    }

    /// How the output ended, once it has.
    pub fn end(&self) -> Option<&OutputEnd> {
        match &self.state {
            State::Ended(end) => Some(end),
            State::Closed | State::Opening(_) | State::Open(_) | State::Pausing(_) => None,
        }
    }

    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, ClientError>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.rest))));
        }
        match self.poll_stream(context) {
            Poll::Pending => {}
            ready => return ready,
        }
        let Some(at) = self.client.bound.deadline else { return Poll::Pending };
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep_until(at)));
        deadline.as_mut().poll(context).map(|()| Err(ClientError::Deadline))
    }

    fn poll_stream(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, ClientError>> {
        loop {
            match &mut self.state {
                State::Ended(_) => return Poll::Ready(Ok(None)),
                State::Closed => {
                    let opening = open(self.client.link.clone(), self.request.encode_to_vec());
                    self.state = State::Opening(Later::new(opening));
                }
                State::Opening(opening) => match ready!(opening.poll(context)) {
                    Ok(Opened::Stream(open)) => self.state = State::Open(open),
                    Ok(Opened::End(end)) => self.state = State::Ended(end),
                    Err(status) => self.broke(status)?,
                },
                State::Open(open) => match ready!(open.poll_event(context)) {
                    Ok(Event::Bytes(bytes)) => {
                        self.request.offset += bytes.len() as u64;
                        self.retry.moved(bytes.len() as u64);
                        return Poll::Ready(Ok(Some(bytes)));
                    }
                    Ok(Event::End(end)) => self.state = State::Ended(end),
                    Err(status) => {
                        self.retry.lasted(open.since.elapsed());
                        self.broke(status)?;
                    }
                },
                State::Pausing(pause) => {
                    let paused = ready!(pause.poll(context));
                    self.state = State::Closed;
                    self.retry = paused.inspect_err(|_| self.retry.progress())?;
                }
            }
        }
    }

    /// The stream could not be opened, or broke.
    fn broke(&mut self, status: Status) -> Result<(), ClientError> {
        self.state = State::Closed;
        if status.code() == Code::OutOfRange {
            return Err(dropped(self.request.offset, &status));
        }
        let (client, mut retry) = (self.client.clone(), self.retry);
        self.state = State::Pausing(Later::new(async move {
            client.after(status, &mut retry).await?;
            Ok(retry)
        }));
        Ok(())
    }
}

/// One attempt to open the stream that `message` asks for.
async fn open(link: Link, message: Vec<u8>) -> Result<Opened, Status> {
    let length = u32::try_from(message.len()).expect("ids are short");
    let framed = [&[0][..], &length.to_be_bytes(), &message].concat();
    let mut request = Request::post(PATH)
        .body(Body::new(Full::new(Bytes::from(framed))))
        .expect("the path is a path");
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    let response = link.send(request).await?;
    if !response.status().is_success() {
        return Err(Status::unknown(format!("HTTP status {}", response.status())));
    }
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok => Err(status),
        Some(_) => Ok(Opened::End(OutputEnd::from(response.headers()))),
        None => Ok(Opened::Stream(Open {
            since: Instant::now(),
            body: response.into_body(),
            data: Bytes::new(),
            pieces: Pieces::new(),
        })),
    }
}

impl tokio_stream::Stream for OutputReader {
    type Item = Result<Bytes, ClientError>;

    /// As [`OutputReader::next`]. An error is not the last item.
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_piece(context).map(Result::transpose)
    }
}

impl AsyncRead for OutputReader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let reader = self.get_mut();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(piece) = ready!(reader.poll_piece(context))? {
            reader.rest = piece;
            let taken = reader.rest.len().min(buffer.remaining());
            buffer.put_slice(&reader.rest[..taken]);
            reader.rest.advance(taken);
        }
        Poll::Ready(Ok(()))
    }
}

impl Open {
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, Status>> {
        loop {
            match self.pieces.next(&mut self.data) {
                Ok(Some(bytes)) => return Poll::Ready(Ok(Event::Bytes(bytes))),
                Ok(None) => {}
                Err(malformed) => return Poll::Ready(Err(Status::data_loss(malformed.0))),
            }
            let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
            let broken = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.data = data;
                        continue;
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return Poll::Ready(self.ended(&trailers));
                    }
                },
                Some(Err(error)) => Status::unavailable(error.to_string()),
                None => Status::unavailable("the stream broke off without a status"),
            };
            return Poll::Ready(Err(broken));
        }
    }

    fn ended(&self, trailers: &HeaderMap) -> Result<Event, Status> {
        match Status::from_header_map(trailers) {
            Some(status) if status.code() != Code::Ok => Err(status),
            Some(_) if self.pieces.between_messages() => Ok(Event::End(OutputEnd::from(trailers))),
            Some(_) => Err(Status::unavailable("the stream ended within a message")),
            None => Err(Status::unavailable("the stream ended without a status")),
        }
    }
}

impl From<&HeaderMap> for OutputEnd {
    fn from(trailers: &HeaderMap) -> Self {
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_string);
        let warnings = trailers.get_all("x-modal-warning").iter().filter_map(text);
        let decoded = |text: String| percent_decode_str(&text).decode_utf8_lossy().into_owned();
        Self {
            reason: trailers.get("doorward-end").and_then(text),
            warnings: warnings.map(decoded).collect(),
        }
    }
}

fn dropped(asked: u64, status: &Status) -> ClientError {
    let first = status.metadata().get("doorward-first-offset");
    let first = first.and_then(|first| first.to_str().ok()?.parse().ok());
    ClientError::Dropped { asked, first }
}
