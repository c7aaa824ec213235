//! The table of all execs and what they share: the one exec engine behind every door.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{
    birth::Ground,
    changes::Changes,
    facts::{Common, Facts},
    handle::{Admitted, Exec, Listing},
    run::{self, Request},
    spool::Store,
};
use crate::{
    core::{
        caller::Caller,
        failure::Kind,
        ids::{ExecId, Stream},
        outcome::StartFailure,
        registry::{Admission, Bounds, Fingerprint, Forgetting, Registry},
        spec::ExecSpec,
    },
    os::work::Work,
};

/// Runs execs and keeps what they print.
pub struct Engine {
    ground: Arc<Ground>,
    /// What the facts of execs share.
    common: Common,
    store: Arc<Store>,
    work: Work,
    linger: Linger,
    /// Guards which ids are taken; held for one decision.
    registry: Mutex<Table>,
    changes: Changes,
    readers: AtomicUsize,
    /// A reader has gone.
    calmer: Notify,
    /// A reader has come.
    busier: Notify,
    /// Whether calls are to end: nothing more will come of this agent.
    leaving: watch::Sender<bool>,
}

struct Table {
    registry: Registry<Arc<Exec>>,
    door: Door,
    /// How many execs were made.
    made: u64,
}

/// Whether starts are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Closed,
}

/// When the streams of an exec that left processes behind end.
#[derive(Debug, Clone, Copy)]
pub struct Linger {
    /// Silence after which they end.
    pub quiet: Duration,
    /// When they end at the latest, after the exit.
    pub longest: Duration,
}

/// A request to run something.
pub struct Start {
    /// The id it will have.
    pub id: ExecId,
    /// A hash over the whole request as sent.
    pub fingerprint: Fingerprint,
    /// What is to run.
    pub spec: ExecSpec,
    /// When the request arrived; its timeout counts from here.
    pub received: Instant,
    /// Who asks, for the log; whoever repeats the request may be another one.
    pub caller: Option<Caller>,
}

/// Why a start was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The id stands for another request.
    #[error("start {0}: the id was used for another request")]
    Conflict(ExecId),
    /// The id ran, and was forgotten.
    #[error("start {0}: it ran and was forgotten")]
    Forgotten(ExecId),
    /// Too many are live.
    #[error("start {id}: {limit} execs are live, no more are allowed")]
    Full {
        /// The id.
        id: ExecId,
        /// How many are allowed.
        limit: usize,
    },
    /// The agent is ending.
    #[error("start {0}: the agent is shutting down")]
    Closing(ExecId),
    /// The process could not be made.
    #[error("{0}")]
    Failed(StartFailure),
}

/// Why an exec was not forgotten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForgetError {
    /// Its process runs, or something that it left behind holds its streams.
    #[error("forget {0}: it has not ended, or its streams are open")]
    Live(ExecId),
    /// Nothing of that id ran.
    #[error("no exec {0} here")]
    Unknown(ExecId),
}

impl ForgetError {
    /// What the caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Live(_) => Kind::Refused,
            Self::Unknown(_) => Kind::Unknown,
        }
    }
}

impl StartError {
    /// What the caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Conflict(_) => Kind::Taken,
            Self::Forgotten(_) | Self::Closing(_) => Kind::Refused,
            Self::Full { .. } => Kind::Exhausted,
            Self::Failed(failure) => failure.kind(),
        }
    }
}

impl Engine {
    /// An engine with no execs. `seed` keys the tombstones.
    pub fn new(
        ground: Ground,
        store: Arc<Store>,
        work: Work,
        linger: Linger,
        bounds: Bounds,
        seed: [u8; 16],
    ) -> Arc<Self> {
        let table = Table { registry: Registry::new(bounds, seed), door: Door::Open, made: 0 };
        Arc::new(Self {
            common: Common::new(&ground),
            ground: Arc::new(ground),
            store,
            work,
            linger,
            registry: Mutex::new(table),
            changes: Changes::new(),
            readers: AtomicUsize::new(0),
            calmer: Notify::new(),
            busier: Notify::new(),
            leaving: watch::Sender::new(false),
        })
    }

    /// Starts an exec, or joins the one that this request started before. Returns once its
    /// process exists. If the future is dropped, the start goes on.
    pub async fn start(self: &Arc<Self>, start: Start) -> Result<(), StartError> {
        let Start { id, fingerprint, spec, received, caller } = start;
        let admission = {
            let mut table = self.registry.lock();
            let Table { registry, door, made } = &mut *table;
            if *door == Door::Closed && registry.find(&id).is_none() {
                return Err(StartError::Closing(id));
            }
            let deadline = spec.timeout.and_then(|timeout| received.checked_add(timeout));
            let make = || {
                let facts = Facts::new(&self.common, &spec, received);
                *made += 1;
                let (listing, number) = (Listing::Listed, *made);
                let admitted = Admitted { id: id.clone(), listing, number, facts, deadline };
                Arc::new(Exec::new(admitted, &self.store))
            };
            registry.admit(&id, fingerprint, make)
        };
        let exec = match admission {
            Admission::New(exec) => {
                self.changed(&exec);
                let request = Box::new(Request { spec, caller });
                tokio::spawn(run::run(self.clone(), exec.clone(), request));
                exec
            }
            Admission::Same(exec) => exec,
            Admission::Conflict => return Err(StartError::Conflict(id)),
            Admission::Forgotten => return Err(StartError::Forgotten(id)),
            Admission::Full { limit } => return Err(StartError::Full { id, limit }),
        };
        exec.started().await.map_err(StartError::Failed)
    }

    /// Starts an exec that no client can name: the container's main command.
    pub fn launch(self: &Arc<Self>, id: ExecId, spec: ExecSpec) -> Arc<Exec> {
        let facts = Facts::new(&self.common, &spec, Instant::now());
        let listing = Listing::Hidden;
        let admitted = Admitted { id, listing, number: 0, facts, deadline: None };
        let exec = Arc::new(Exec::new(admitted, &self.store));
        let request = Box::new(Request { spec, caller: None });
        tokio::spawn(run::run(self.clone(), exec.clone(), request));
        exec
    }

    /// The exec of that id.
    pub fn find(&self, id: &ExecId) -> Option<Arc<Exec>> {
        self.registry.lock().registry.find(id)
    }

    /// Every exec that clients can name, the oldest start first.
    pub fn list(&self) -> Vec<Arc<Exec>> {
        let mut execs = self.registry.lock().registry.execs();
        // Outside of the lock.
        execs.sort_unstable_by_key(|exec| exec.number());
        execs
    }

    /// Forgets an exec that has ended and returns how many bytes of output that frees, once those
    /// who read it at this moment let go of it; 0 if it was forgotten before.
    pub fn forget(&self, id: &ExecId) -> Result<u64, ForgetError> {
        let answer = self.registry.lock().registry.forget(id, Instant::now());
        match answer {
            Forgetting::Gone(exec) => {
                self.changes.forgotten(id);
                let kept = |stream| {
                    let range = exec.output(stream).range();
                    range.end - range.first
                };
                Ok(kept(Stream::Stdout) + kept(Stream::Stderr))
            }
            Forgetting::Before => Ok(0),
            Forgetting::Live => Err(ForgetError::Live(id.clone())),
            Forgetting::Unknown => Err(ForgetError::Unknown(id.clone())),
        }
    }

    /// How many execs are live, and how many ended ones are remembered.
    pub fn counts(&self) -> (usize, usize) {
        let registry = &self.registry.lock().registry;
        (registry.live(), registry.remembered())
    }

    /// What changes, for those who watch.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// What keeps the output.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Refuses new starts from now on; returns what is live.
    pub fn close(&self) -> Vec<Arc<Exec>> {
        let mut table = self.registry.lock();
        table.door = Door::Closed;
        table.registry.live_execs()
    }

    /// Whether starts and writes are still taken.
    pub fn is_open(&self) -> bool {
        self.registry.lock().door == Door::Open
    }

    /// Forgets finished execs that are too old.
    pub fn expire(&self, now: Instant) {
        let gone = self.registry.lock().registry.expire(now);
        // Outside of the lock.
        gone.iter().for_each(|exec| self.changes.forgotten(exec.id()));
    }

    /// Counts a reader for as long as the guard lives.
    pub fn reading(self: &Arc<Self>) -> Reading {
        self.readers.fetch_add(1, Ordering::Relaxed);
        self.busier.notify_waiters();
        Reading(self.clone())
    }

    /// Resolves when somebody begins to read. Cancel-safe.
    pub async fn read_again(&self) {
        self.busier.notified().await;
    }

    /// Resolves when nobody reads. Cancel-safe.
    pub async fn unread(&self) {
        loop {
            let calmer = self.calmer.notified();
            if self.readers.load(Ordering::Relaxed) == 0 {
                return;
            }
            calmer.await;
        }
    }

    /// Everything has ended and was read: calls that still wait for something end.
    pub fn leave(&self) {
        self.leaving.send_replace(true);
    }

    /// Resolves when calls are to end. Cancel-safe.
    pub async fn leaving(&self) {
        // The sender lives in `self`.
        let _ = self.leaving.subscribe().wait_for(|leaving| *leaving).await;
    }

    /// Blocking work, shared by all.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// What every birth stands on.
    pub fn ground(&self) -> &Arc<Ground> {
        &self.ground
    }

    pub(super) fn linger(&self) -> (Duration, Duration) {
        (self.linger.quiet, self.linger.longest)
    }

    /// The state of an exec has changed in this very step.
    pub(super) fn changed(&self, exec: &Exec) {
        match exec.listing() {
            Listing::Listed => self.changes.changed(exec),
            Listing::Hidden => {}
        }
    }

    pub(super) fn withdraw(&self, exec: &Exec) {
        match exec.listing() {
            Listing::Listed => {
                self.registry.lock().registry.withdraw(exec.id());
                self.changes.forgotten(exec.id());
            }
            Listing::Hidden => {}
        }
    }

    pub(super) fn finished(&self, exec: &Exec) {
        exec.note_finish();
        match exec.listing() {
            Listing::Listed => {}
            Listing::Hidden => return,
        }
        let gone = {
            let mut table = self.registry.lock();
            let lost = table.registry.tombstones_lost();
            let gone = table.registry.finish(exec.id(), Instant::now());
            if lost == 0 && table.registry.tombstones_lost() > 0 {
                tracing::warn!(
                    "more execs a day than ids can be remembered: an old id could run again"
                );
            }
            gone
        };
        self.changes.changed(exec);
        // Outside of the lock.
        gone.iter().for_each(|exec| self.changes.forgotten(exec.id()));
    }
}

/// Counts as a reader while it lives.
pub struct Reading(Arc<Engine>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::Relaxed);
        self.0.calmer.notify_waiters();
    }
}
