//! Writing an exec's input, however often the connection breaks.
//!
//! Two ways. [`StdinWriter::write`] sends a piece, waits until the agent has accepted it, and
//! repeats it at the same offset after a break: for a terminal or a pipe, which cannot be read
//! twice. [`StdinWriter::upload`] streams a source that can be read at any offset and, after a
//! break, asks how far the agent came.

use std::{future::Future, io, pin::pin};

use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Client, ClientError, retry::Retry};
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
pub struct StdinWriter {
    client: Client,
    exec_id: String,
    /// Bytes that the agent has accepted from us.
    offset: u64,
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
        Self { client, exec_id: exec_id.into(), offset: 0 }
    }

    /// The offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Writes `bytes` and returns when the agent has accepted them. When the future is dropped
    /// or fails, [`StdinWriter::offset`] says from where on to write again.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), ClientError> {
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
        self.send(TaskExecStdinWriteRequest { eof: true, ..self.request() }).await
    }

    /// Writes all of `source` and ends the input. What was written before is not part of the
    /// source: its byte 0 comes at the offset where the writer is.
    pub async fn upload(&mut self, source: &mut impl Source) -> Result<(), ClientError> {
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
        self.client
            .call(
                request,
                |mut grpc, request| async move { grpc.task_exec_stdin_write(request).await },
            )
            .await
            .map(|_| ())
    }
}
