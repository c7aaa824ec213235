//! Who sits before an exec: any number of observers, and one who writes its input.
//!
//! ```text
//! nobody ──take──▶ turn 1 ──take──▶ turn 2 ──leaves──▶ nobody (turn 2) ──resume(2)──▶ turn 2
//!                    │ told that turn 2 took over       └──take──▶ turn 3
//! ```
//!
//! A turn is one caller's, however often its connection breaks: it resumes by the turn's number as
//! long as nobody took over since. What may never happen: two who write at once. The input is taken
//! over in the same step as the seat, so that nothing of the turn before is accepted afterwards.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{handle::Exec, input::Writer, screen};

/// The seats before one exec.
#[derive(Default)]
pub(super) struct Seats {
    /// Held for a few lines, and while the input is taken over.
    state: Mutex<State>,
    /// What `state.writing` is, for those who wait for a change.
    writing: watch::Sender<Writing>,
    /// Taken seats, the writer's included.
    taken: watch::Sender<u32>,
    /// Who keeps the screen for those who sit down.
    screen: screen::Slot,
}

#[derive(Default)]
struct State {
    writing: Writing,
    /// Whether the turn's caller is there.
    present: bool,
    /// Who has, or had, the turn.
    who: Option<Arc<str>>,
}

/// Whose turn it is, and by which of its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Writing {
    /// Counts takeovers; 0: nobody ever wrote.
    turn: u64,
    /// Counts the calls that wrote, over all turns.
    call: u64,
}

/// One caller's seat; left when it is dropped.
pub struct Seat {
    exec: Arc<Exec>,
    /// What it was given; `None`: it observes.
    writing: Option<Writing>,
}

/// What a caller gets who wants to write.
pub enum Taken {
    /// The turn.
    Turn {
        /// Its number, for resuming it.
        turn: u64,
        /// What its writes are made with.
        writer: Writer,
        /// How much input was accepted before.
        accepted: u64,
    },
    /// A place to look on: somebody took over since the turn that was to be resumed.
    Displaced {
        /// Who.
        by: Arc<str>,
    },
}

/// Why a writer writes no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Displaced {
    /// Somebody took over.
    By(Arc<str>),
    /// Another call resumed the same turn.
    Resumed,
}

impl Seats {
    /// See [`Exec::attached`].
    pub(super) fn count(&self) -> (u32, bool) {
        (*self.taken.borrow(), self.state.lock().present)
    }

    /// How many seats are taken, and every change of it.
    pub(super) fn seated(&self) -> watch::Receiver<u32> {
        self.taken.subscribe()
    }

    pub(super) fn screen(&self) -> &screen::Slot {
        &self.screen
    }
}

impl Seat {
    /// A seat to look on from.
    pub fn observe(exec: &Arc<Exec>) -> Self {
        exec.seats().taken.send_modify(|taken| *taken += 1);
        Self { exec: exec.clone(), writing: None }
    }

    /// Takes the turn at writing for `who`: that of the number `resumed` if nobody took over
    /// since, or for 0 a turn of its own, from whoever had it.
    pub fn take(&mut self, who: &Arc<str>, resumed: u64) -> Taken {
        let seats = self.exec.seats();
        let mut state = seats.state.lock();
        if resumed != 0 && resumed != state.writing.turn {
            let by = state.who.clone().unwrap_or_else(|| "nobody".into());
            return Taken::Displaced { by };
        }
        if resumed == 0 {
            state.writing.turn += 1;
        }
        state.writing.call += 1;
        state.present = true;
        state.who = Some(who.clone());
        let (writer, accepted) = self.exec.input().take_over();
        let writing = state.writing;
        seats.writing.send_replace(writing);
        drop(state);
        self.writing = Some(writing);
        Taken::Turn { turn: writing.turn, writer, accepted }
    }

    /// Resolves when this seat's turn at writing is over; never for one that looks on. Cancel-safe.
    pub async fn displaced(&self) -> Displaced {
        let Some(ours) = self.writing else { return std::future::pending().await };
        let seats = self.exec.seats();
        let mut writing = seats.writing.subscribe();
        let waited = writing.wait_for(|now| *now != ours).await.map(|now| *now);
        let now = waited.expect("the sender lives in the exec");
        if now.turn == ours.turn {
            return Displaced::Resumed;
        }
        let who = seats.state.lock().who.clone();
        Displaced::By(who.unwrap_or_else(|| "nobody".into()))
    }

    /// Whether it is this seat's turn.
    pub fn writes(&self) -> bool {
        self.writing.is_some_and(|ours| self.exec.seats().state.lock().writing == ours)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let seats = self.exec.seats();
        seats.taken.send_modify(|taken| *taken -= 1);
        let mut state = seats.state.lock();
        if self.writing == Some(state.writing) {
            state.present = false;
        }
    }
}
