//! Reading an output to its end, however often the connection breaks.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use prost::Message;
use tokio::time::Instant;
use tonic::{Code, Status, body::Body};

use super::{Client, ClientError, pieces::Pieces, retry::Retry};
use crate::{
    core::ids::Stream,
    wire::modal::task_command_router::{TaskExecStdioFileDescriptor, TaskExecStdioReadRequest},
};

const PATH: &str = "/modal.task_command_router.TaskCommandRouter/TaskExecStdioRead";

/// Reads one output of an exec, byte by byte from an offset on. After any break it goes on at
/// the byte where it was cut; it ends only where the agent says that the output ends.
pub struct OutputReader {
    client: Client,
    request: TaskExecStdioReadRequest,
    retry: Retry,
    state: State,
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
    Open(Open),
    Ended(OutputEnd),
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
        Self { client, request, retry: Retry::new(), state: State::Closed }
    }

    /// The next bytes, never none, as many as came; `None` at the end. Dropping the future loses
    /// nothing. After an error the reader may be asked again and goes on where it was.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let event = match &mut self.state {
                State::Ended(_) => return Ok(None),
                State::Open(open) => open.event().await,
                State::Closed => match self.open().await {
                    Ok(state) => {
                        self.state = state;
                        continue;
                    }
                    Err(status) => Err(status),
                },
            };
            match event {
                Ok(Event::Bytes(bytes)) => {
                    self.request.offset += bytes.len() as u64;
                    self.retry.progress();
                    return Ok(Some(bytes));
                }
                Ok(Event::End(end)) => self.state = State::Ended(end),
                Err(status) => {
                    if let State::Open(open) = &self.state {
                        self.retry.lasted(open.since.elapsed());
                    }
                    self.state = State::Closed;
                    if status.code() == Code::OutOfRange {
                        return Err(dropped(self.request.offset, &status));
                    }
                    self.client.after(status, &mut self.retry).await?;
                }
            }
        }
    }

    /// The offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.request.offset
    }

    /// How the output ended, once it has.
    pub fn end(&self) -> Option<&OutputEnd> {
        match &self.state {
            State::Ended(end) => Some(end),
            State::Closed | State::Open(_) => None,
        }
    }

    async fn open(&self) -> Result<State, Status> {
        let message = self.request.encode_to_vec();
        let length = u32::try_from(message.len()).expect("ids are short");
        let framed = [&[0][..], &length.to_be_bytes(), &message].concat();
        let mut request = Request::post(PATH)
            .body(Body::new(Full::new(Bytes::from(framed))))
            .expect("the path is a path");
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        let response = self.client.link.send(request).await?;
        if !response.status().is_success() {
            return Err(Status::unknown(format!("HTTP status {}", response.status())));
        }
        match Status::from_header_map(response.headers()) {
            Some(status) if status.code() != Code::Ok => Err(status),
            // Nothing was printed, and the whole answer is in the headers.
            Some(_) => Ok(State::Ended(OutputEnd::from(response.headers()))),
            None => Ok(State::Open(Open {
                since: Instant::now(),
                body: response.into_body(),
                data: Bytes::new(),
                pieces: Pieces::new(),
            })),
        }
    }
}

impl Open {
    /// Cancel-safe: what came stays in `self` until it is returned.
    async fn event(&mut self) -> Result<Event, Status> {
        loop {
            match self.pieces.next(&mut self.data) {
                Ok(Some(bytes)) => return Ok(Event::Bytes(bytes)),
                Ok(None) => {}
                Err(malformed) => return Err(Status::data_loss(malformed.0)),
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.data = data,
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return self.ended(&trailers);
                    }
                },
                Some(Err(error)) => return Err(Status::unavailable(error.to_string())),
                None => return Err(Status::unavailable("the stream broke off without a status")),
            }
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
