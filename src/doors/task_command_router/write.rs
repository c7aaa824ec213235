//! Input: single writes, and streams of them.

use std::sync::Arc;

use tonic::{Status, Streaming};

use crate::{
    core::{failure::Kind, inbox::End, limits::EPIPE_EXIT_WAIT},
    doors::{inflight::Charge, status::status},
    exec::{
        handle::Exec,
        input::{InputError, Writer},
    },
    wire::modal::task_command_router::{
        TaskExecStdinWriteStreamRequest, TaskExecStdinWriteStreamStart,
        task_exec_stdin_write_stream_request::Payload,
    },
};

/// Accepts `data` at `offset`.
pub(super) async fn single(exec: &Exec, offset: u64, data: &[u8], end: End) -> Result<(), Status> {
    let written = exec.input().write(Writer::Single, offset, data, end).await;
    written.map_err(|error| refusal(exec, error)).or_else_visible(exec).await
}

/// A stream of writes, its start taken off.
pub(super) struct Stream {
    exec: Arc<Exec>,
    messages: Streaming<TaskExecStdinWriteStreamRequest>,
    writer: Writer,
    offset: u64,
    /// The budget of request bytes, given back as they are accepted.
    charge: Option<Charge>,
}

/// The first message of a stream, which must say where it starts.
pub(super) async fn first(
    messages: &mut Streaming<TaskExecStdinWriteStreamRequest>,
) -> Result<TaskExecStdinWriteStreamStart, Status> {
    match messages.message().await?.and_then(|message| message.payload) {
        Some(Payload::Start(start)) => Ok(start),
        Some(Payload::Data(_) | Payload::End(_)) | None => {
            Err(status(Kind::Invalid, "write input stream: the first message is not start"))
        }
    }
}

impl Stream {
    /// Opens a stream at `offset`.
    pub(super) fn open(
        exec: Arc<Exec>,
        messages: Streaming<TaskExecStdinWriteStreamRequest>,
        offset: u64,
        charge: Option<Charge>,
    ) -> Result<Self, Status> {
        let opened = exec.input().open_stream(offset);
        let writer = opened.map_err(|error| status(error.kind(), error))?;
        Ok(Self { exec, messages, writer, offset, charge })
    }

    /// Accepts everything that comes. A stream that stops without saying `end` leaves the input
    /// open.
    pub(super) async fn accept(mut self) -> Result<(), Status> {
        while let Some(payload) = self.next().await? {
            let (data, end) = match payload {
                Payload::Data(data) => (data, End::Open),
                Payload::End(_) => (bytes::Bytes::new(), End::Closes),
                Payload::Start(_) => {
                    let again = "write input stream: start was sent twice";
                    return Err(status(Kind::Invalid, again));
                }
            };
            let written = self.exec.input().write(self.writer, self.offset, &data, end).await;
            written.map_err(|error| refusal(&self.exec, error)).or_else_visible(&self.exec).await?;
            self.offset += data.len() as u64;
            if let Some(charge) = &self.charge {
                charge.release(data.len());
            }
            if end == End::Closes {
                break;
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Payload>, Status> {
        let message = tokio::select! {
            biased;
            error = self.exec.input().evicted(self.writer) => return Err(status(error.kind(), error)),
            message = self.messages.message() => message?,
        };
        match message {
            None => Ok(None),
            Some(TaskExecStdinWriteStreamRequest { payload: Some(payload) }) => Ok(Some(payload)),
            Some(TaskExecStdinWriteStreamRequest { payload: None }) => {
                Err(status(Kind::Invalid, "write input stream: a message without payload"))
            }
        }
    }
}

/// A refusal, and whether the command may be at its end.
struct Refused {
    status: Status,
    ending: bool,
}

fn refusal(exec: &Exec, error: InputError) -> Refused {
    let ending = matches!(error, InputError::Gone { .. });
    Refused { status: status(error.kind(), format_args!("{}: {error}", exec.id())), ending }
}

trait OrElseVisible {
    async fn or_else_visible(self, exec: &Exec) -> Result<(), Status>;
}

impl OrElseVisible for Result<(), Refused> {
    /// A process closes its input before it can be reaped, and clients poll right after this
    /// refusal: the answer waits until they can find the exit.
    async fn or_else_visible(self, exec: &Exec) -> Result<(), Status> {
        let Err(Refused { status, ending }) = self else { return Ok(()) };
        if ending {
            // A command that closed its input and goes on is refused all the same.
            let _ = tokio::time::timeout(EPIPE_EXIT_WAIT, exec.ended()).await;
        }
        Err(status)
    }
}
