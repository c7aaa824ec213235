//! State changes of execs as they come.
//!
//! Each watcher has a task that looks into the engine's ring of changes when its connection takes
//! a message, and holds nothing but its own place. What changed several times meanwhile is told
//! once, as it is then. A watcher that falls out of the ring is told everything anew.

use std::sync::Arc;

use tokio::sync::mpsc::{self, OwnedPermit, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Answers, Control, cursor::Cursor, render, wire};
use crate::{
    core::{ids::ExecId, limits::WATCH_MESSAGES_AHEAD},
    exec::{
        changes::{Change, Next},
        engine::Engine,
        handle::Exec,
    },
    wire::doorward::v1::watch_execs_response::{CaughtUp, Event},
};

type Message = Result<wire::WatchExecsResponse, Status>;

pub(super) fn watch(
    control: &Control,
    request: &wire::WatchExecsRequest,
) -> Answers<wire::WatchExecsResponse> {
    let (messages, answers) = mpsc::channel(WATCH_MESSAGES_AHEAD);
    let resumed = Cursor::parse(&request.cursor, control.instance());
    let watcher = Watcher {
        control: control.clone(),
        messages,
        cursor: resumed.unwrap_or_else(|| Cursor::before_all(control.engine.changes().newest())),
        state: Telling::Past,
        first: match resumed {
            None if !request.cursor.is_empty() => Beginning::Anew,
            None | Some(_) => Beginning::AsAsked,
        },
    };
    tokio::spawn(watcher.run());
    Box::pin(ReceiverStream::new(answers))
}

/// One call.
struct Watcher {
    control: Control,
    messages: Sender<Message>,
    cursor: Cursor,
    state: Telling,
    first: Beginning,
}

/// What is being told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// What was so when the call began.
    Past,
    /// What changes.
    Change,
}

/// What the next message begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// What was asked for, or nothing.
    AsAsked,
    /// Everything again: the caller must forget what it knew.
    Anew,
}

/// The caller has gone.
struct Gone;

impl Watcher {
    async fn run(mut self) {
        while self.follow().await.is_ok() {
            // It fell too far behind, or its cursor was too old.
            self.cursor = Cursor::before_all(self.engine().changes().newest());
            (self.state, self.first) = (Telling::Past, Beginning::Anew);
        }
    }

    fn engine(&self) -> &Arc<Engine> {
        &self.control.engine
    }

    /// Tells everything there is to tell; returns when a change cannot be told any more.
    async fn follow(&mut self) -> Result<(), Gone> {
        if let Some(told) = self.cursor.told {
            self.tell_all(told).await?;
        }
        let engine = self.engine().clone();
        loop {
            let room = self.room().await?;
            match engine.changes().after(self.cursor.change) {
                Next::Change { number, what } => {
                    self.cursor = Cursor::after(number);
                    match what {
                        Change::State(id) => {
                            let newest = |exec: &Arc<Exec>| exec.changed() == number;
                            if let Some(exec) = engine.find(&id).filter(newest) {
                                let exec = render::exec(&self.control, &exec);
                                self.send(room, Event::Exec(exec));
                            }
                        }
                        Change::Forgotten(id) => {
                            self.send(room, Event::ForgottenExecId(id.to_string()));
                        }
                    }
                }
                Next::Nothing if self.state == Telling::Past => {
                    self.state = Telling::Change;
                    self.send(room, Event::CaughtUp(CaughtUp {}));
                }
                Next::Nothing => {
                    drop(room);
                    tokio::select! {
                        () = engine.changes().beyond(self.cursor.change) => {}
                        () = self.messages.closed() => return Err(Gone),
                    }
                }
                Next::Lost => return Ok(()),
            }
        }
    }

    /// Tells every exec that came after the one of the number `told` and did not change since
    /// the cursor; those that did are told with their changes.
    async fn tell_all(&mut self, told: u64) -> Result<(), Gone> {
        // Only the names: an exec that is forgotten meanwhile must not be kept for this.
        let execs = self.engine().list();
        let ids: Vec<ExecId> = execs
            .iter()
            .filter(|exec| exec.number() > told)
            .map(|exec| exec.id().clone())
            .collect();
        drop(execs);
        for id in ids {
            let room = self.room().await?;
            let Some(exec) = self.engine().find(&id) else { continue };
            if exec.changed() <= self.cursor.change {
                self.cursor.told = Some(exec.number());
                let exec = render::exec(&self.control, &exec);
                self.send(room, Event::Exec(exec));
            }
        }
        self.cursor.told = None;
        Ok(())
    }

    /// Waits until the connection takes a message.
    async fn room(&self) -> Result<OwnedPermit<Message>, Gone> {
        self.messages.clone().reserve_owned().await.map_err(|_| Gone)
    }

    fn send(&mut self, room: OwnedPermit<Message>, event: Event) {
        let first = std::mem::replace(&mut self.first, Beginning::AsAsked);
        room.send(Ok(wire::WatchExecsResponse {
            cursor: self.cursor.text(self.control.instance()),
            restarted: first == Beginning::Anew,
            event: Some(event),
        }));
    }
}
