//! The half of an attached call that takes messages: a task of its own, which ends with the call.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use tokio::{sync::watch, task::JoinHandle};
use tonic::{Status, codec::Streaming};

use crate::{
    core::{failure::Kind, inbox::End, limits::ATTACH_INPUT_BYTES_MAX, spec::WindowSize},
    doors::{
        control::{resize::size, signal::by_number, wire},
        inflight::Charge,
        status::status,
    },
    exec::{
        engine::Engine,
        handle::Exec,
        input::{InputError, Writer},
        orders::{self, Target},
        seats::{Seat, Taken},
    },
    wire::doorward::v1::attach_request::Message as Request,
};

/// Bytes that come with each message of a call before its own (the gRPC prefix).
const PREFIX_BYTES: usize = 5;

/// What the task needs.
pub(super) struct Inflow {
    pub(super) engine: Arc<Engine>,
    pub(super) exec: Arc<Exec>,
    pub(super) seat: Arc<Seat>,
    pub(super) sizes: Own,
    pub(super) messages: Streaming<wire::AttachRequest>,
    /// The budget of request bytes, given back as they are done with.
    pub(super) charge: Option<Charge>,
}

/// What the other half is told.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// Input below this was accepted.
    pub(super) accepted: u64,
    /// Nobody reads the input.
    pub(super) closed: bool,
    /// Why the call must end.
    pub(super) refused: Option<Status>,
}

/// The task; dropping it ends it.
pub(super) struct Running {
    pub(super) progress: watch::Receiver<Progress>,
    task: JoinHandle<()>,
}

/// The size that this caller set last: it is not told of that.
#[derive(Clone, Default)]
pub(super) struct Own(Arc<Mutex<Option<WindowSize>>>);

/// What a caller may say.
enum Role {
    Observer,
    /// It asked to write, and does as long as the turn is its own.
    Writer(Option<Writer>),
}

/// Input that arrived.
struct Piece {
    offset: u64,
    data: Bytes,
    end: End,
    /// What it counts for in the budget.
    charged: usize,
}

/// The task's state.
struct Taking {
    inflow: Inflow,
    role: Role,
    /// In order, none accepted but perhaps a part of the first.
    queue: VecDeque<Piece>,
    queued_bytes: usize,
    progress: watch::Sender<Progress>,
}

enum Step {
    Written(Result<(), InputError>),
    Came(Option<wire::AttachRequest>),
}

impl Inflow {
    /// Begins to take messages.
    pub(super) fn start(self, taken: Option<Taken>) -> Running {
        let (role, accepted) = match taken {
            None => (Role::Observer, 0),
            Some(Taken::Displaced { .. }) => (Role::Writer(None), 0),
            Some(Taken::Turn { writer, accepted, .. }) => (Role::Writer(Some(writer)), accepted),
        };
        let (sender, progress) = watch::channel(Progress { accepted, ..Progress::default() });
        let queue = VecDeque::new();
        let taking = Taking { inflow: self, role, queue, queued_bytes: 0, progress: sender };
        Running { progress, task: tokio::spawn(taking.run()) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Own {
    /// Sets the size; a terminal that is gone, or never was, is none of this caller's business.
    pub(super) fn resize(&self, exec: &Exec, size: WindowSize) {
        *self.0.lock() = Some(size);
        if let Err(error) = exec.resize(size) {
            tracing::debug!(exec = %exec.id(), "ignoring the size of a caller's terminal: {error}");
        }
    }

    /// Whether this caller set `size`.
    pub(super) fn is(&self, size: WindowSize) -> bool {
        *self.0.lock() == Some(size)
    }
}

impl Taking {
    async fn run(mut self) {
        if let Err(refused) = self.take_all().await {
            self.progress.send_modify(|progress| progress.refused = Some(refused));
        }
    }

    /// Takes messages until there are no more, and writes what came.
    async fn take_all(&mut self) -> Result<(), Status> {
        let mut open = true;
        while open || !self.queue.is_empty() {
            let Self { inflow, role, queue, queued_bytes, .. } = self;
            let may_come = open && *queued_bytes < ATTACH_INPUT_BYTES_MAX;
            let step = tokio::select! {
                biased;
                written = write(&inflow.exec, role, queue.front()) => Step::Written(written),
                came = inflow.messages.message(), if may_come => Step::Came(came?),
            };
            match step {
                Step::Written(written) => self.written(written)?,
                Step::Came(Some(request)) => self.came(request).await?,
                Step::Came(None) => open = false,
            }
        }
        Ok(())
    }

    fn written(&mut self, written: Result<(), InputError>) -> Result<(), Status> {
        match written {
            Ok(()) => {
                let Some(piece) = self.pop() else { return Ok(()) };
                let accepted = piece.offset + piece.data.len() as u64;
                self.progress.send_if_modified(|progress| {
                    let more = accepted > progress.accepted;
                    progress.accepted = progress.accepted.max(accepted);
                    more
                });
            }
            Err(InputError::Evicted { .. }) => {
                // By another caller's turn, or by one who asked through the main door how far the
                // input has come: then the turn is still ours.
                self.role = Role::Writer(None);
                if self.inflow.seat.writes() {
                    self.role = Role::Writer(Some(self.inflow.exec.input().rejoin()));
                } else {
                    self.clear();
                }
            }
            Err(InputError::Closed { .. } | InputError::Gone { .. }) => {
                self.role = Role::Writer(None);
                self.clear();
                self.progress.send_modify(|progress| progress.closed = true);
            }
            Err(error @ InputError::Offset { .. }) => return Err(status(error.kind(), error)),
        }
        Ok(())
    }

    async fn came(&mut self, request: wire::AttachRequest) -> Result<(), Status> {
        let charged = request.encoded_len() + PREFIX_BYTES;
        let Some(message) = request.message else {
            return Err(status(Kind::Invalid, "attach: a message that says nothing"));
        };
        if let (Role::Observer, Request::Input(_) | Request::Resize(_) | Request::Signal(_)) =
            (&self.role, &message)
        {
            return Err(status(Kind::Refused, "attach: this caller was not opened to write"));
        }
        let Inflow { engine, exec, seat, sizes, .. } = &self.inflow;
        match message {
            Request::Open(_) => {
                return Err(status(Kind::Invalid, "attach: open was sent twice"));
            }
            Request::Input(wire::AttachInput { offset, data, end }) => {
                let end = if end { End::Closes } else { End::Open };
                if let Role::Writer(Some(_)) = self.role {
                    self.queued_bytes += charged;
                    self.queue.push_back(Piece { offset, data, end, charged });
                    return Ok(());
                }
            }
            Request::Resize(wanted) => {
                let size = size(wanted)?;
                if seat.writes() {
                    sizes.resize(exec, size);
                }
            }
            Request::Signal(number) => {
                let signal = by_number(number)?;
                if seat.writes()
                    && let Err(error) = orders::signal(engine, exec, Target::Group, signal).await
                {
                    tracing::debug!(exec = %exec.id(), "ignoring a caller's signal: {error}");
                }
            }
        }
        self.release(charged);
        Ok(())
    }

    fn pop(&mut self) -> Option<Piece> {
        let piece = self.queue.pop_front()?;
        self.queued_bytes -= piece.charged;
        self.release(piece.charged);
        Some(piece)
    }

    fn clear(&mut self) {
        while self.pop().is_some() {}
    }

    fn release(&self, bytes: usize) {
        if let Some(charge) = &self.inflow.charge {
            charge.release(bytes);
        }
    }
}

/// Writes a piece; waits for ever if there is none. If the future is dropped, a part of it was
/// accepted, which the next try skips.
async fn write(exec: &Exec, role: &Role, piece: Option<&Piece>) -> Result<(), InputError> {
    match (role, piece) {
        (Role::Writer(Some(writer)), Some(piece)) => {
            exec.input().write(*writer, piece.offset, &piece.data, piece.end).await
        }
        (Role::Writer(Some(_)), None) | (Role::Writer(None) | Role::Observer, _) => {
            std::future::pending().await
        }
    }
}
