//! Writing an exec's input, however often the connection breaks.
//!
//! Three ways. [`StdinWriter::write`] sends a piece, waits until the agent has accepted it, and
//! repeats it at the same offset after a break: for a terminal or a pipe, which cannot be read
//! twice. As an `AsyncWrite` it does the same, and gathers what comes while a piece is under way.
//! [`StdinWriter::upload`] streams a source that can be read at any offset and, after a break, asks
//! how far the agent came.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::{io::AsyncWrite, sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{Client, ClientError, calls::Grpc, later::Later, retry::Retry};
use crate::{
    core::limits::CLIENT_INPUT_BYTES,
    wire::modal::task_command_router::{
        TaskExecStdinWriteRequest, TaskExecStdinWriteStreamEnd, TaskExecStdinWriteStreamRequest,
        TaskExecStdinWriteStreamStart, task_exec_stdin_write_stream_request::Payload,
    },
};

/// Messages of an upload that wait for the connection; each is one piece of input.
const UPLOAD_QUEUE: usize = 2;

/// Writes an exec's input from its first byte to its end.
///
/// As an `AsyncWrite`, `flush` waits until the agent has accepted all, and `shutdown` ends the input.
/// A writer that is dropped without leaves the input open: a source that broke must not look
/// like one that ended.
///
/// ```no_run
/// use tokio::io::{AsyncWriteExt, copy};
///
/// # async fn example(client: doorward::client::Client) -> std::io::Result<()> {
/// let mut stdin = client.stdin("sort-1");
/// copy(&mut &b"b\na\n"[..], &mut stdin).await?;
/// stdin.shutdown().await?;
/// # Ok(()) }
/// ```
pub struct StdinWriter {
    client: Client,
    exec_id: String,
    /// Bytes that the agent has accepted from us.
    offset: u64,
    /// What was taken by `poll_write` and has no message yet; at most one message's worth.
    gathered: BytesMut,
    /// The message of such input that the agent is to accept next. It stays here until it has, so
    /// that after an error whatever is asked for next sends it again.
    sending: Bytes,
    /// An attempt at it that is under way.
    call: Option<Call>,
    ending: Ending,
}

type Call = Later<Result<(), ClientError>>;

/// How far `poll_shutdown` is.
enum Ending {
    Open,
    Asked(Call),
    Ended,
}

/// Something that can be read at any offset, again and again.
pub trait Source: Send {
    /// Reads up to `bytes_max` bytes at `offset`; none at the end.
    fn read_at(
        &mut self,
        offset: u64,
        bytes_max: usize,
    ) -> impl Future<Output = io::Result<Bytes>> + Send;
}

impl Source for Bytes {
    async fn read_at(&mut self, offset: u64, bytes_max: usize) -> io::Result<Bytes> {
        let start = usize::try_from(offset).map_or(self.len(), |offset| offset.min(self.len()));
        Ok(self.slice(start..start.saturating_add(bytes_max).min(self.len())))
    }
}

/// Why one attempt at an upload ended.
enum Broken {
    Link(Status),
    Source(io::Error),
}

impl StdinWriter {
    pub(super) fn new(client: Client, exec_id: &str) -> Self {
        Self {
            client,
            exec_id: exec_id.into(),
            offset: 0,
            gathered: BytesMut::new(),
            sending: Bytes::new(),
            call: None,
            ending: Ending::Open,
        }
    }

    /// The offset of the next byte: how many the agent has accepted.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Writes `bytes` and returns when the agent has accepted them. When the future is dropped
    /// or fails, [`StdinWriter::offset`] says from where on to write again.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), ClientError> {
        self.sent().await?;
        while !bytes.is_empty() {
            let data = bytes.split_to(bytes.len().min(CLIENT_INPUT_BYTES));
            let length = data.len() as u64;
            self.send(TaskExecStdinWriteRequest { data, ..self.request() }).await?;
            self.offset += length;
        }
        Ok(())
    }

    /// Ends the input; a second end does nothing.
    pub async fn finish(&mut self) -> Result<(), ClientError> {
        self.sent().await?;
        self.send(TaskExecStdinWriteRequest { eof: true, ..self.request() }).await
    }

    /// Resolves when all that was written as to an `AsyncWrite` is accepted.
    async fn sent(&mut self) -> Result<(), ClientError> {
        poll_fn(|context| self.poll_sent(context)).await
    }

    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        loop {
            if self.sending.is_empty() {
                if self.gathered.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                self.sending = self.gathered.split().freeze();
            }
            let mut call = self.call.take().unwrap_or_else(|| {
                let data = self.sending.clone();
                self.later(TaskExecStdinWriteRequest { data, ..self.request() })
            });
            let Poll::Ready(accepted) = call.poll(context) else {
                self.call = Some(call);
                return Poll::Pending;
            };
            accepted?;
            self.offset += self.sending.len() as u64;
            self.sending = Bytes::new();
        }
    }

    /// Writes all of `source` and ends the input. What was written before is not part of the
    /// source: its byte 0 comes at the offset where the writer is.
    pub async fn upload(&mut self, source: &mut impl Source) -> Result<(), ClientError> {
        self.sent().await?;
        self.client.bound.within(self.upload_on(source)).await
    }

    async fn upload_on(&mut self, source: &mut impl Source) -> Result<(), ClientError> {
        let base = self.offset;
        let mut retry = Retry::new();
        loop {
            let since = Instant::now();
            let status = match self.stream(base, source).await {
                Ok(end) => {
                    self.offset = end;
                    return Ok(());
                }
                Err(Broken::Source(error)) => return Err(ClientError::Source(error)),
                Err(Broken::Link(status)) => status,
            };
            retry.lasted(since.elapsed());
            self.client.after(status, &mut retry).await?;
            let accepted = self.client.stdin_status(&self.exec_id).await?;
            if accepted.num_bytes_written > self.offset {
                retry.progress();
                self.offset = accepted.num_bytes_written;
            }
            if accepted.closed {
                // The end arrived and its answer was lost; or somebody else ended the input.
                let left = source.read_at(self.offset - base, 1).await;
                return match left.map_err(ClientError::Source)? {
                    none if none.is_empty() => Ok(()),
                    _ => Err(ClientError::Refused(Status::failed_precondition(format!(
                        "input was closed after {} bytes",
                        self.offset
                    )))),
                };
            }
        }
    }

    /// One attempt at the rest of `source`; the offset of its end.
    async fn stream(&self, base: u64, source: &mut impl Source) -> Result<u64, Broken> {
        let (sender, receiver) = mpsc::channel(UPLOAD_QUEUE);
        let mut grpc = self.client.grpc.clone();
        let mut call = pin!(grpc.task_exec_stdin_write_stream(ReceiverStream::new(receiver)));
        let mut feed = pin!(self.feed(base, source, sender));
        let fed = tokio::select! {
            // An early OK means that the agent wants no more.
            answer = &mut call => return answer.map(|_| self.offset).map_err(Broken::Link),
            fed = &mut feed => fed.map_err(Broken::Source)?,
        };
        call.await.map_err(Broken::Link)?;
        Ok(fed)
    }

    /// Sends the start, the rest of `source` and the end; stops early when nobody takes them.
    async fn feed(
        &self,
        base: u64,
        source: &mut impl Source,
        sender: mpsc::Sender<TaskExecStdinWriteStreamRequest>,
    ) -> io::Result<u64> {
        let message = |payload| TaskExecStdinWriteStreamRequest { payload: Some(payload) };
        let mut offset = self.offset;
        let start = TaskExecStdinWriteStreamStart {
            task_id: self.client.task_id.to_string(),
            exec_id: self.exec_id.clone(),
            offset,
        };
        let mut next = Payload::Start(start);
        while sender.send(message(next)).await.is_ok() {
            let data = source.read_at(offset - base, CLIENT_INPUT_BYTES).await?;
            if data.is_empty() {
                let _ = sender.send(message(Payload::End(TaskExecStdinWriteStreamEnd {}))).await;
                break;
            }
            offset += data.len() as u64;
            next = Payload::Data(data);
        }
        Ok(offset)
    }

    fn request(&self) -> TaskExecStdinWriteRequest {
        TaskExecStdinWriteRequest {
            task_id: self.client.task_id.to_string(),
            exec_id: self.exec_id.clone(),
            offset: self.offset,
            ..TaskExecStdinWriteRequest::default()
        }
    }

    async fn send(&self, request: TaskExecStdinWriteRequest) -> Result<(), ClientError> {
        send(&self.client, request).await
    }

    /// The same, as something to be kept.
    fn later(&self, request: TaskExecStdinWriteRequest) -> Call {
        let client = self.client.clone();
        Later::new(async move { send(&client, request).await })
    }
}

async fn send(client: &Client, request: TaskExecStdinWriteRequest) -> Result<(), ClientError> {
    let call = |mut grpc: Grpc, request| async move { grpc.task_exec_stdin_write(request).await };
    client.call(request, call).await.map(|_| ())
}

impl AsyncWrite for StdinWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let writer = self.get_mut();
        match &writer.ending {
            Ending::Open => {}
            Ending::Asked(_) | Ending::Ended => {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
        }
        if let Poll::Ready(Err(error)) = writer.poll_sent(context) {
            return Poll::Ready(Err(broken(error)));
        }
        let room = CLIENT_INPUT_BYTES - writer.gathered.len();
        if room == 0 {
            return Poll::Pending;
        }
        let taken = room.min(bytes.len());
        writer.gathered.extend_from_slice(&bytes[..taken]);
        if writer.call.is_none() {
            // On its way at once. Whatever fails is found again by the next call: these bytes are ours.
            let _ = writer.poll_sent(context);
        }
        Poll::Ready(Ok(taken))
    }

    /// Returns when the agent has accepted all.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_sent(context).map_err(broken)
    }

    /// Ends the input, and returns when the agent has accepted that.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let writer = self.get_mut();
        ready!(writer.poll_sent(context)).map_err(broken)?;
        loop {
            match &mut writer.ending {
                Ending::Ended => return Poll::Ready(Ok(())),
                Ending::Open => {
                    let request = TaskExecStdinWriteRequest { eof: true, ..writer.request() };
                    writer.ending = Ending::Asked(writer.later(request));
                }
                Ending::Asked(call) => {
                    let answer = ready!(call.poll(context));
                    writer.ending = if answer.is_ok() { Ending::Ended } else { Ending::Open };
                    answer.map_err(broken)?;
                }
            }
        }
    }
}

/// Input that nobody takes any more is what std calls a broken pipe.
fn broken(error: ClientError) -> io::Error {
    match error {
        ClientError::Refused(status) if status.code() == Code::FailedPrecondition => {
            io::Error::new(io::ErrorKind::BrokenPipe, ClientError::Refused(status))
        }
        other => other.into(),
    }
}
