//! What others see of an exec: its life, its streams, its input. The exec's own task (`run`)
//! alone changes its life; everybody else watches and gives orders.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::sync::{Notify, watch};

pub use super::terminal::ResizeError;
use super::{
    facts::Facts,
    input::Input,
    orders::Cancelling,
    seats::Seats,
    spool::{Spool, Store},
    terminal::Terminal,
};
use crate::{
    core::{
        ids::{ExecId, Stream},
        life::Life,
        outcome::{Cause, ExitStatus, Outcome, Reason, StartFailure},
        spec::WindowSize,
    },
    os::tree::Tree,
};

/// One run of a program, from its request until it is forgotten.
pub struct Exec {
    id: ExecId,
    listing: Listing,
    facts: Facts,
    /// Held for one step or one look. A watch channel would take half a kilobyte for each exec that
    /// is remembered.
    life: Mutex<Life>,
    /// Its life has changed.
    turned: Notify,
    stdout: Arc<Spool>,
    stderr: Arc<Spool>,
    input: Input,
    /// What its task has not yet been told.
    orders: Mutex<Orders>,
    ordered: Notify,
    /// Streams that a pump fills; the others end with the process.
    pumped: [AtomicBool; 2],
    /// Processes of its tree that lived when its streams were last brought to an end.
    survivors: AtomicUsize,
    /// All that came of it; there once its process exists.
    tree: OnceLock<Arc<Tree>>,
    /// Its terminal, if it has one; there before its process.
    terminal: OnceLock<Terminal>,
    /// Who asked for its end first.
    cancelled_by: OnceLock<Arc<str>>,
    /// Its streams have ended too, and it may be forgotten.
    finished: AtomicBool,
    /// Its place in the order of all starts.
    number: u64,
    /// The number of its newest change.
    changed: AtomicU64,
    /// Who sits before it; there once somebody did.
    seats: OnceLock<Box<Seats>>,
    /// Its end on request, while it is under way.
    cancelling: Mutex<Option<Cancelling>>,
    /// Which signals it was sent on request: bit n-1 for number n.
    sent: AtomicU64,
}

/// Where an exec is in its life, as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its process is being made.
    Starting,
    /// Its process runs.
    Running,
    /// Its process has ended; a process that it left behind still holds an output.
    Lingering,
    /// Its process and its streams have ended.
    Ended,
    /// Its process could not be made.
    Failed,
}

/// A request as the engine admitted it.
pub(super) struct Admitted {
    pub(super) id: ExecId,
    pub(super) listing: Listing,
    pub(super) number: u64,
    pub(super) facts: Facts,
    /// When it will be ended.
    pub(super) deadline: Option<Instant>,
}

/// Whether clients can name an exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    /// Its id is the registry's.
    Listed,
    /// Its id is a name for the log: a client's exec may have the same one.
    Hidden,
}

/// What an exec's task is told by whoever ends the exec, before its tree is sent the signal: a
/// process that ends by it has this cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The tree is sent TERM.
    Ask(Cause),
    /// The tree is sent KILL.
    Kill(Cause),
}

/// Orders that were given and not yet taken; of each kind, the first.
#[derive(Default)]
struct Orders {
    ask: Option<Cause>,
    kill: Option<Cause>,
}

impl Exec {
    /// An exec whose request was admitted just now.
    pub(super) fn new(admitted: Admitted, store: &Arc<Store>) -> Self {
        let Admitted { id, listing, number, facts, deadline } = admitted;
        Self {
            id,
            listing,
            facts,
            life: Mutex::new(Life::new(deadline)),
            turned: Notify::new(),
            stdout: store.spool(),
            stderr: store.spool(),
            input: Input::new(),
            orders: Mutex::default(),
            ordered: Notify::new(),
            pumped: [AtomicBool::new(false), AtomicBool::new(false)],
            survivors: AtomicUsize::new(0),
            tree: OnceLock::new(),
            terminal: OnceLock::new(),
            cancelled_by: OnceLock::new(),
            finished: AtomicBool::new(false),
            number,
            changed: AtomicU64::new(0),
            seats: OnceLock::new(),
            cancelling: Mutex::default(),
            sent: AtomicU64::new(0),
        }
    }

    /// Its id.
    pub fn id(&self) -> &ExecId {
        &self.id
    }

    pub(super) fn listing(&self) -> Listing {
        self.listing
    }

    /// What was asked for, and when what happened.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        let life = self.life.lock();
        match (life.outcome(), life.failure()) {
            (_, Some(_)) => State::Failed,
            (Some(_), None) if self.finished.load(Ordering::Relaxed) => State::Ended,
            (Some(_), None) => State::Lingering,
            (None, None) if life.is_starting() => State::Starting,
            (None, None) => State::Running,
        }
    }

    /// Why it ended, if it has.
    pub fn reason(&self) -> Option<Reason> {
        let shortage = self.facts.ended()?.shortage;
        match self.poll() {
            Ok(outcome) => outcome.map(|outcome| outcome.reason(shortage)),
            Err(_) => Some(Reason::StartFailure),
        }
    }

    /// Its place in the order of all starts, from 1 on; an id that was given back and is used
    /// again has another one.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The number of its newest change: see [`super::changes`].
    pub fn changed(&self) -> u64 {
        self.changed.load(Ordering::Relaxed)
    }

    pub(super) fn note_change(&self, number: u64) {
        self.changed.store(number, Ordering::Relaxed);
    }

    /// Its streams have ended too.
    pub(super) fn note_finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }

    /// One of its output streams.
    pub fn output(&self, stream: Stream) -> &Arc<Spool> {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    /// How many processes of its tree lived when its streams were brought to an end before
    /// their end of file.
    pub fn survivors(&self) -> usize {
        self.survivors.load(Ordering::Relaxed)
    }

    pub(super) fn note_survivors(&self, count: usize) {
        self.survivors.store(count, Ordering::Relaxed);
    }

    pub(super) fn pumped(&self, stream: Stream) {
        self.pumped[stream as usize].store(true, Ordering::Relaxed);
    }

    pub(super) fn is_pumped(&self, stream: Stream) -> bool {
        self.pumped[stream as usize].load(Ordering::Relaxed)
    }

    /// All processes that came of it; none before its own exists.
    pub fn tree(&self) -> Option<&Arc<Tree>> {
        self.tree.get()
    }

    pub(super) fn rooted(&self, tree: Arc<Tree>) {
        // A process is born once.
        let _ = self.tree.set(tree);
    }

    /// It will have a terminal of this size.
    pub(super) fn plan_terminal(&self, size: WindowSize) {
        // Its task says so once.
        let _ = self.terminal.set(Terminal::new(size));
    }

    pub(super) fn terminal(&self) -> Option<&Terminal> {
        self.terminal.get()
    }

    /// The size of its terminal; `None` if it has none.
    pub fn window(&self) -> Option<WindowSize> {
        self.terminal().map(|terminal| *terminal.window().borrow())
    }

    /// The size of its terminal, and every change of it; `None` if it has none.
    pub fn watch_window(&self) -> Option<watch::Receiver<WindowSize>> {
        self.terminal().map(Terminal::window)
    }

    /// Changes the size of its terminal. The group in the terminal's foreground gets SIGWINCH if
    /// it is another one.
    pub fn resize(&self, size: WindowSize) -> Result<(), ResizeError> {
        let terminal = self.terminal().ok_or(ResizeError::NoTerminal)?;
        terminal.resize(size, || self.stdout.range().end)
    }

    /// The sizes that its terminal had, each with the offset of `stdout` from which on: the first
    /// at 0, at most [`WINDOW_SIZES_MAX`]. Empty if it has none.
    ///
    /// [`WINDOW_SIZES_MAX`]: crate::core::limits::WINDOW_SIZES_MAX
    pub fn sizes(&self) -> Vec<(u64, WindowSize)> {
        self.terminal().map(Terminal::sizes).unwrap_or_default()
    }

    /// Who asked for its end, if anybody did; the first one.
    pub fn cancelled_by(&self) -> Option<&str> {
        self.cancelled_by.get().map(|who| &**who)
    }

    /// Remembers who asks for its end, unless somebody did before.
    pub fn note_cancel(&self, who: Arc<str>) {
        let _ = self.cancelled_by.set(who);
    }

    pub(super) fn cancelling(&self) -> &Mutex<Option<Cancelling>> {
        &self.cancelling
    }

    /// Whether a caller had this signal sent to it, or to a part of its tree.
    pub fn was_sent(&self, signal: Signal) -> bool {
        self.sent.load(Ordering::Relaxed) & bit(signal) != 0
    }

    pub(super) fn note_sent(&self, signal: Signal) {
        self.sent.fetch_or(bit(signal), Ordering::Relaxed);
    }

    /// How many callers are attached, and whether one of them writes.
    pub fn attached(&self) -> (u32, bool) {
        self.seats.get().map_or((0, false), |seats| seats.count())
    }

    pub(super) fn seats(&self) -> &Seats {
        self.seats.get_or_init(Box::default)
    }

    /// Its input.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// How it ended, if it has.
    pub fn poll(&self) -> Result<Option<Outcome>, StartFailure> {
        let life = self.life.lock();
        life.failure().map_or(Ok(life.outcome()), |failure| Err(failure.clone()))
    }

    /// Resolves when its process exists or could not be made. Cancel-safe.
    pub async fn started(&self) -> Result<(), StartFailure> {
        self.when(|life| !life.is_starting()).await;
        self.poll().map(|_| ())
    }

    /// Resolves when its process has ended, or could not be made. Cancel-safe.
    pub async fn ended(&self) -> Result<Outcome, StartFailure> {
        loop {
            self.when(|life| life.outcome().is_some() || life.failure().is_some()).await;
            if let Some(outcome) = self.poll()? {
                return Ok(outcome);
            }
        }
    }

    /// Tells its task what is being done to its tree. Without effect once the exec has ended.
    pub fn order(&self, order: Order) {
        {
            let mut orders = self.orders.lock();
            match order {
                Order::Ask(cause) => orders.ask.get_or_insert(cause),
                Order::Kill(cause) => orders.kill.get_or_insert(cause),
            };
        }
        self.ordered.notify_one();
    }

    /// An order that was given and not yet taken.
    pub(super) fn take_order(&self) -> Option<Order> {
        let mut orders = self.orders.lock();
        let ask = orders.ask.take().map(Order::Ask);
        ask.or_else(|| orders.kill.take().map(Order::Kill))
    }

    /// The next order. Cancel-safe: an order is taken in the step in which it is returned.
    pub(super) async fn next_order(&self) -> Order {
        loop {
            if let Some(order) = self.take_order() {
                return order;
            }
            self.ordered.notified().await;
        }
    }

    /// Changes its life; only its task calls this.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Life) -> T) -> T {
        let result = change(&mut self.life.lock());
        self.turned.notify_waiters();
        result
    }

    /// Whether an end by KILL would be somebody else's doing: not the agent's, nor a client's
    /// through it.
    pub(super) fn is_kill_foreign(&self) -> bool {
        let mut life = self.life.lock().clone();
        life.exited(ExitStatus::Signal(libc::SIGKILL));
        let own = life.outcome().is_some_and(|outcome| outcome.cause == Cause::Own);
        own && !self.was_sent(Signal::KILL)
    }

    /// When its deadline has to be looked at.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.life.lock().deadline()
    }

    async fn when(&self, condition: impl Fn(&Life) -> bool) {
        loop {
            // Taken before the look, so that no change between the two is missed.
            let turned = self.turned.notified();
            if condition(&self.life.lock()) {
                return;
            }
            turned.await;
        }
    }
}

fn bit(signal: Signal) -> u64 {
    u32::try_from(signal.as_raw() - 1).map_or(0, |n| 1u64.checked_shl(n).unwrap_or(0))
}
