//! The half of an attached call that answers. It is pulled by the connection and gathers nothing:
//! each message is made when there is room for it.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use http::HeaderMap;
use prost::Message;
use tokio::sync::watch;
use tonic::Status;

use super::{
    inflow::{Own, Progress, Running},
    wire_size,
};
use crate::{
    core::{failure::Kind, spec::WindowSize},
    doors::{
        chunks::{Chunks, Step},
        control::{
            follow::{ATTACH_CHUNK, Follow, From, Piece, chunk_fields},
            render, wire,
        },
        status::{leaving, status},
    },
    exec::{
        engine::{Engine, Reading},
        handle::Exec,
        seats::{Displaced, Seat},
    },
    wire::doorward::v1::attach_response::Message as Answer,
};

/// See the module comment.
pub(super) struct Outflow {
    engine: Arc<Engine>,
    exec: Arc<Exec>,
    seat: Arc<Seat>,
    /// What is to be told before anything else.
    next: VecDeque<Answer>,
    follow: Follow,
    inflow: Option<Running>,
    /// What was told of the inflow's progress.
    told: Progress,
    /// The terminal's size and its changes.
    window: Option<watch::Receiver<WindowSize>>,
    sizes: Own,
    displaced: Told,
    ended: Told,
    _reading: Reading,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Yes,
    No,
}

/// What happened.
enum Event {
    Leaving,
    Displaced(Displaced),
    Progress(Progress),
    Resized(WindowSize),
    Ended,
    /// A stream has something.
    Ready(usize),
}

impl Outflow {
    /// Nothing is followed before [`Outflow::begin`].
    pub(super) fn new(
        engine: Arc<Engine>,
        exec: Arc<Exec>,
        seat: Arc<Seat>,
        reading: Reading,
    ) -> Self {
        // What was set before this is in `opened`.
        let window = exec.watch_window();
        Self {
            follow: Follow::new(&exec, []),
            engine,
            exec,
            seat,
            next: VecDeque::new(),
            inflow: None,
            told: Progress::default(),
            window,
            sizes: Own::default(),
            displaced: Told::No,
            ended: Told::No,
            _reading: reading,
        }
    }

    /// Begins to follow the outputs from these places on.
    pub(super) fn begin(&mut self, from: [From; 2], inflow: Running, sizes: Own) {
        self.follow = Follow::new(&self.exec, from);
        self.told = inflow.progress.borrow().clone();
        self.inflow = Some(inflow);
        self.sizes = sizes;
    }

    /// Tells this before anything that comes later.
    pub(super) fn tell(&mut self, answer: Answer) {
        self.next.push_back(answer);
    }

    /// Waits for what happens next. Cancel-safe.
    async fn event(&mut self) -> Event {
        let progress = self.inflow.as_mut().map(|inflow| &mut inflow.progress);
        tokio::select! {
            biased;
            () = self.engine.leaving() => Event::Leaving,
            by = self.seat.displaced(), if self.displaced == Told::No => Event::Displaced(by),
            size = changed(self.window.as_mut()) => Event::Resized(size),
            _ = self.exec.ended(), if self.ended == Told::No => Event::Ended,
            progress = changed(progress) => Event::Progress(progress),
            index = self.follow.ready() => Event::Ready(index),
        }
    }

    fn progress(&mut self, progress: Progress) -> Result<(), Status> {
        if let Some(refused) = progress.refused {
            return Err(refused);
        }
        if progress.accepted > self.told.accepted {
            self.tell(Answer::InputAccepted(progress.accepted));
        }
        if progress.closed && !self.told.closed {
            self.tell(Answer::InputClosed(wire::AttachInputClosed {}));
        }
        self.told = progress;
        Ok(())
    }

    fn displaced(&mut self, by: Displaced) -> Result<(), Status> {
        self.displaced = Told::Yes;
        match by {
            Displaced::By(who) => {
                self.tell(Answer::Displaced(wire::AttachDisplaced { by: who.to_string() }));
                Ok(())
            }
            Displaced::Resumed => {
                Err(status(Kind::Superseded, "attach: another call goes on in place of this one"))
            }
        }
    }

    /// The next piece of a stream that is ready.
    async fn take(&mut self, index: usize, bytes_max: usize) -> Result<Step, Status> {
        Ok(match self.follow.take(index, bytes_max).await? {
            Piece::Chunk(chunk, payload) => {
                let fields = chunk_fields(ATTACH_CHUNK, &chunk, payload.len());
                Step::Message { fields, payload }
            }
            Piece::Gap(gap) => message(Answer::Gap(gap)),
            Piece::End(end) => message(Answer::End(end)),
        })
    }
}

impl Chunks for Outflow {
    async fn next(&mut self, bytes_max: usize) -> Result<Step, Status> {
        loop {
            if let Some(answer) = self.next.pop_front() {
                return Ok(message(answer));
            }
            if self.ended == Told::Yes && self.follow.is_over() {
                return Ok(Step::End(HeaderMap::new()));
            }
            match self.event().await {
                Event::Leaving => return Err(leaving()),
                Event::Displaced(by) => self.displaced(by)?,
                Event::Progress(progress) => self.progress(progress)?,
                Event::Resized(size) if self.sizes.is(size) => {}
                Event::Resized(size) => self.tell(Answer::Resized(wire_size(size))),
                Event::Ended => {
                    self.ended = Told::Yes;
                    self.tell(Answer::Ended(render::ended(&self.exec).unwrap_or_default()));
                }
                Event::Ready(index) => return self.take(index, bytes_max).await,
            }
        }
    }
}

/// The next value of what changes; waits for ever if there is nothing that can. Cancel-safe.
async fn changed<T: Clone>(watched: Option<&mut watch::Receiver<T>>) -> T {
    if let Some(watched) = watched
        && watched.changed().await.is_ok()
    {
        return watched.borrow_and_update().clone();
    }
    std::future::pending().await
}

fn message(answer: Answer) -> Step {
    let message = wire::AttachResponse { message: Some(answer) };
    Step::Message { fields: message.encode_to_vec(), payload: Bytes::new() }
}
