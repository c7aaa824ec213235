//! The task that keeps an attached client's call: brings what the outbox has, tells what comes, and
//! opens the call again after a break.

use std::sync::Arc;

use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{
    AttachEvent, AttachRole, AttachStart,
    outbox::{Outbox, wire_size},
    place::Place,
};
use crate::{
    client::{Client, ClientError, retry::Retry},
    core::{ids::Stream, spec::WindowSize},
    wire::doorward::v1::{
        self as wire, attach_request::Message as Request, attach_response::Message as Response,
    },
};

/// Messages on their way to the connection: the one that it takes and the next.
const QUEUE: usize = 2;

type Events = mpsc::Sender<Result<AttachEvent, ClientError>>;

/// See the module comment.
pub(super) struct Driver {
    client: Client,
    exec_id: String,
    outbox: Arc<Outbox>,
    events: Events,
    place: Place,
    /// The turn at writing that we had; 0 before and without one.
    turn: u64,
    /// The agent that answered first.
    instance: Option<String>,
    ended: Told,
    retry: Retry,
    /// Attempts since a call last held.
    attempt: u32,
}

/// An open call.
pub(super) struct Call {
    since: Instant,
    requests: mpsc::Sender<wire::AttachRequest>,
    responses: Streaming<wire::AttachResponse>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Yes,
    No,
}

/// Why a call is left.
enum Left {
    /// Everything was told.
    Done,
    /// It broke.
    Broken(Status),
    /// Nobody wants to know any more.
    Unheard,
    Failed(ClientError),
}

impl From<Status> for Left {
    fn from(status: Status) -> Self {
        Self::Broken(status)
    }
}

impl Driver {
    pub(super) fn new(
        client: Client,
        exec_id: &str,
        start: AttachStart,
        outbox: Arc<Outbox>,
        events: Events,
    ) -> Self {
        Self {
            client,
            exec_id: exec_id.into(),
            outbox,
            events,
            place: Place::new(start),
            turn: 0,
            instance: None,
            ended: Told::No,
            retry: Retry::new(),
            attempt: 0,
        }
    }

    /// Opens the first call.
    pub(super) async fn open_first(&mut self) -> Result<(Call, wire::Exec), ClientError> {
        loop {
            match self.open().await {
                Ok(opened) => return Ok(opened),
                Err(status) => self.client.after(refined(status)?, &mut self.retry).await?,
            }
        }
    }

    /// Keeps the call until everything was told, or nobody listens.
    pub(super) async fn run(mut self, call: Call) {
        let bound = self.client.bound;
        let end = bound.within(self.keep(call)).await;
        self.outbox.over();
        if let Err(error) = end {
            // Whoever listened may have left.
            let _ = self.events.send(Err(error)).await;
        }
    }

    async fn keep(&mut self, first: Call) -> Result<(), ClientError> {
        let mut call = Some(first);
        loop {
            let left = match call.take() {
                Some(mut call) => {
                    let left = self.hold(&mut call).await;
                    self.retry.lasted(call.since.elapsed());
                    left
                }
                None => match self.open().await {
                    Ok((opened, _)) => {
                        call = Some(opened);
                        if self.tell(AttachEvent::Reconnected).await.is_err() {
                            return Ok(());
                        }
                        continue;
                    }
                    Err(status) => Left::Broken(status),
                },
            };
            let status = match left {
                Left::Done | Left::Unheard => return Ok(()),
                Left::Failed(error) => return Err(error),
                Left::Broken(status) => refined(status)?,
            };
            self.attempt += 1;
            let event = AttachEvent::Reconnecting { error: words(&status), attempt: self.attempt };
            if self.tell(event).await.is_err() {
                return Ok(());
            }
            self.client.after(status, &mut self.retry).await?;
        }
    }

    /// Opens a call at the place reached; it is open when the agent has said `opened`.
    async fn open(&mut self) -> Result<(Call, wire::Exec), Status> {
        let control = self.client.control();
        let (role, size) = self.outbox.wants();
        let open = wire::AttachOpen {
            task_id: control.task_id(),
            exec_id: self.exec_id.clone(),
            write: role == AttachRole::Writer,
            size: size.map(wire_size),
            turn: self.turn,
            start: Some(self.place.start()),
        };
        let (requests, outgoing) = mpsc::channel(QUEUE);
        let first = wire::AttachRequest { message: Some(Request::Open(open)) };
        requests.try_send(first).expect("the queue is new");
        let mut responses = control.attach(ReceiverStream::new(outgoing)).await?;
        let opened = match responses.message().await?.and_then(|response| response.message) {
            Some(Response::Opened(opened)) => opened,
            _ => return Err(Status::data_loss("an attached call began without opened")),
        };
        let known = self.instance.get_or_insert_with(|| opened.agent_instance.clone());
        if *known != opened.agent_instance {
            let gone = "another agent answers than before: the exec has ended with its own";
            return Err(Status::not_found(gone));
        }
        let Some(exec) = opened.exec else {
            return Err(Status::data_loss("opened says nothing of the exec"));
        };
        self.turn = opened.turn;
        self.place.opened(&exec);
        self.outbox.opened(opened.stdin_accepted, size);
        Ok((Call { since: Instant::now(), requests, responses }, exec))
    }

    /// Brings and tells until the call ends.
    async fn hold(&mut self, call: &mut Call) -> Left {
        let outbox = self.outbox.clone();
        let events = self.events.clone();
        loop {
            let bring = async {
                match call.requests.reserve().await {
                    Ok(permit) => {
                        permit.send(wire::AttachRequest { message: Some(outbox.next().await) })
                    }
                    // The call takes no more; its end is on its way.
                    Err(_) => std::future::pending().await,
                }
            };
            let take = async {
                let room = events.reserve().await;
                (room.is_ok(), call.responses.message().await)
            };
            let taken = tokio::select! {
                () = bring => continue,
                () = events.closed() => return Left::Unheard,
                taken = take => taken,
            };
            let left = match taken {
                (false, _) => Err(Left::Unheard),
                (true, Ok(Some(response))) => self.take(response).await,
                (true, Ok(None)) => Err(self.end()),
                (true, Err(status)) => Err(Left::Broken(status)),
            };
            if let Err(left) = left {
                return left;
            }
        }
    }

    /// One message of the agent.
    async fn take(&mut self, response: wire::AttachResponse) -> Result<(), Left> {
        let Some(message) = response.message else {
            // A message of a later version.
            return Ok(());
        };
        // What brings something new is progress; a call that is merely opened is none.
        self.retry.progress();
        self.attempt = 0;
        let event = match message {
            Response::Opened(_) => return Err(protocol("opened came twice")),
            Response::Drawn(drawn) => {
                self.place.drawn(drawn.offset);
                let size = window(drawn.size.unwrap_or_default());
                let wire::AttachDrawn { data, offset, incomplete, .. } = drawn;
                AttachEvent::Drawn { data, size, offset, incomplete }
            }
            Response::Chunk(chunk) => {
                let stream = stream(chunk.stream)?;
                let wire::OutputChunk { offset, data: bytes, .. } = chunk;
                self.advance(stream, offset, offset + bytes.len() as u64)?;
                AttachEvent::Output { stream, offset, bytes }
            }
            Response::Gap(gap) => {
                let stream = stream(gap.stream)?;
                let (first, end) = (gap.first_offset, gap.end_offset);
                self.advance(stream, first, end)?;
                AttachEvent::Gap { stream, first, end }
            }
            Response::End(end) => {
                let stream = stream(end.stream)?;
                if !self.place.end(stream) {
                    return Ok(());
                }
                let wire::OutputEnd { offset, reason, .. } = end;
                AttachEvent::StreamEnd { stream, offset, reason }
            }
            Response::InputAccepted(offset) => {
                self.outbox.accept(offset);
                return Ok(());
            }
            Response::Displaced(wire::AttachDisplaced { by }) => {
                self.turn = 0;
                self.outbox.displaced();
                AttachEvent::Displaced { by }
            }
            Response::Resized(size) => AttachEvent::Resized(window(size)),
            Response::Ended(ended) => {
                if std::mem::replace(&mut self.ended, Told::Yes) == Told::Yes {
                    return Ok(());
                }
                AttachEvent::Ended(ended)
            }
            Response::InputClosed(_) => {
                if !self.outbox.closed() {
                    return Ok(());
                }
                AttachEvent::InputClosed
            }
        };
        self.tell(event).await
    }

    fn advance(&mut self, stream: Stream, from: u64, to: u64) -> Result<(), Left> {
        match self.place.advance(stream, from, to) {
            true => Ok(()),
            false => Err(protocol("output came that does not follow what came before")),
        }
    }

    /// The call ended with OK.
    fn end(&self) -> Left {
        match (self.ended, self.place.is_over()) {
            (Told::Yes, true) => Left::Done,
            (Told::Yes | Told::No, _) => protocol("an attached call ended before the exec did"),
        }
    }

    async fn tell(&self, event: AttachEvent) -> Result<(), Left> {
        self.events.send(Ok(event)).await.map_err(|_| Left::Unheard)
    }
}

/// What a broken call is judged by; an agent without the service is told apart.
fn refined(status: Status) -> Result<Status, ClientError> {
    match status.code() {
        Code::Unimplemented => Err(ClientError::NoControl),
        _ => Ok(status),
    }
}

fn words(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_string(),
        message => message.to_string(),
    }
}

fn protocol(what: &str) -> Left {
    Left::Failed(ClientError::Protocol(what.into()))
}

fn stream(number: i32) -> Result<Stream, Left> {
    match wire::OutputStream::try_from(number) {
        Ok(wire::OutputStream::Stdout) => Ok(Stream::Stdout),
        Ok(wire::OutputStream::Stderr) => Ok(Stream::Stderr),
        Ok(wire::OutputStream::Unspecified) | Err(_) => {
            Err(protocol("output of a stream that does not exist"))
        }
    }
}

fn window(size: wire::TerminalSize) -> WindowSize {
    WindowSize::new(size.rows, size.columns)
}
