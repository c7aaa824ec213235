//! The life of one exec.
//!
//! ```text
//!              born            exited
//!  Starting ────────▶ Running ────────▶ Ended(outcome)
//!     │                 │  ▲
//!     │ failed          └──┘ asked to end: TERM, and time to obey
//!     ▼                 └──┘ killed: the tree is swept, once; this cause stays
//!  Failed(failure)
//! ```
//!
//! The happy path is Starting, Running, Ended. `Ended` and `Failed` are final, and an outcome
//! never changes. A deadline or a cancel that comes after the exit changes nothing about the
//! outcome. The cause is ours only if the process ended by a signal that we sent: one that
//! returned by itself just before the signal ended by itself. Being asked to end does not put a
//! deadline off: when it passes first, it kills, and is the cause.

use std::time::Instant;

use super::outcome::{Cause, ExitStatus, Outcome, StartFailure};

/// What is true of an exec.
#[derive(Debug, Clone)]
pub struct Life {
    state: State,
    deadline: Option<Instant>,
}

#[derive(Debug, Clone)]
enum State {
    Starting,
    Running { ending: Ending },
    Ended(Outcome),
    Failed(StartFailure),
}

/// What was done to end a running exec.
#[derive(Debug, Clone, Copy)]
enum Ending {
    /// Nothing.
    None,
    /// It was sent TERM.
    Asked(Cause),
    /// It was sent KILL.
    Killed(Cause),
}

/// What the exec's task has to do after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Kill its tree.
    Sweep,
    /// Nothing.
    None,
}

impl Life {
    /// An exec whose request was just received.
    pub fn new(deadline: Option<Instant>) -> Self {
        Self { state: State::Starting, deadline }
    }

    /// Its process exists.
    pub fn born(&mut self) {
        match self.state {
            State::Starting => self.state = State::Running { ending: Ending::None },
            State::Running { .. } | State::Ended(_) | State::Failed(_) => {}
        }
    }

    /// No process came to be.
    pub fn failed(&mut self, failure: StartFailure) {
        match self.state {
            State::Starting => self.state = State::Failed(failure),
            State::Running { .. } | State::Ended(_) | State::Failed(_) => {}
        }
    }

    /// Time has come to `now`.
    pub fn tick(&mut self, now: Instant) -> Effect {
        match self.deadline {
            Some(deadline) if deadline <= now => self.kill(Cause::Deadline),
            Some(_) | None => Effect::None,
        }
    }

    /// Its tree is sent TERM for `cause`.
    pub fn ask(&mut self, cause: Cause) {
        match &mut self.state {
            State::Running { ending: ending @ Ending::None } => *ending = Ending::Asked(cause),
            State::Running { ending: Ending::Asked(_) | Ending::Killed(_) }
            | State::Starting
            | State::Ended(_)
            | State::Failed(_) => {}
        }
    }

    /// Its tree is to be killed for `cause`.
    pub fn kill(&mut self, cause: Cause) -> Effect {
        match &mut self.state {
            State::Running { ending: ending @ (Ending::None | Ending::Asked(_)) } => {
                *ending = Ending::Killed(cause);
                Effect::Sweep
            }
            State::Running { ending: Ending::Killed(_) }
            | State::Starting
            | State::Ended(_)
            | State::Failed(_) => Effect::None,
        }
    }

    /// Its process was reaped.
    pub fn exited(&mut self, status: ExitStatus) {
        match self.state {
            State::Running { ending } => {
                let cause = match (status, ending) {
                    (
                        ExitStatus::Signal(libc::SIGTERM | libc::SIGKILL),
                        Ending::Asked(cause) | Ending::Killed(cause),
                    ) => cause,
                    (ExitStatus::Signal(_) | ExitStatus::Code(_), _) => Cause::Own,
                };
                self.state = State::Ended(Outcome { status, cause });
            }
            State::Starting | State::Ended(_) | State::Failed(_) => {}
        }
    }

    /// When [`Life::tick`] has something to do: never once it has ended.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Starting | State::Running { ending: Ending::None | Ending::Asked(_) } => {
                self.deadline
            }
            State::Running { ending: Ending::Killed(_) } | State::Ended(_) | State::Failed(_) => {
                None
            }
        }
    }

    /// How it ended, if it ran and has ended.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.state {
            State::Ended(outcome) => Some(outcome),
            State::Starting | State::Running { .. } | State::Failed(_) => None,
        }
    }

    /// Why it could not start.
    pub fn failure(&self) -> Option<&StartFailure> {
        match &self.state {
            State::Failed(failure) => Some(failure),
            State::Starting | State::Running { .. } | State::Ended(_) => None,
        }
    }

    /// Whether it is still being started.
    pub fn is_starting(&self) -> bool {
        match self.state {
            State::Starting => true,
            State::Running { .. } | State::Ended(_) | State::Failed(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const KILLED: ExitStatus = ExitStatus::Signal(9);

    #[test]
    fn the_deadline_sweeps_once_and_names_itself() {
        let now = Instant::now();
        let mut life = Life::new(Some(now + Duration::from_secs(1)));
        life.born();
        assert_eq!(life.tick(now), Effect::None);
        assert_eq!(life.tick(now + Duration::from_secs(1)), Effect::Sweep);
        assert_eq!(life.tick(now + Duration::from_secs(2)), Effect::None);
        assert_eq!(life.kill(Cause::Shutdown), Effect::None, "the first cause stays");
        life.exited(KILLED);
        assert_eq!(life.outcome(), Some(Outcome { status: KILLED, cause: Cause::Deadline }));
    }

    #[test]
    fn a_process_that_returned_by_itself_was_not_killed() {
        let now = Instant::now();
        let mut life = Life::new(Some(now));
        life.born();
        assert_eq!(life.tick(now), Effect::Sweep);
        life.exited(ExitStatus::Code(0));
        assert_eq!(life.outcome().map(|o| o.cause), Some(Cause::Own));
    }

    #[test]
    fn a_deadline_kills_what_was_only_asked_to_end() {
        let now = Instant::now();
        let mut life = Life::new(Some(now));
        life.born();
        life.ask(Cause::Cancelled);
        life.ask(Cause::Shutdown);
        let mut obeyed = life.clone();
        obeyed.exited(ExitStatus::Signal(15));
        assert_eq!(obeyed.outcome().map(|o| o.cause), Some(Cause::Cancelled));
        let mut crashed = life.clone();
        crashed.exited(ExitStatus::Signal(11));
        assert_eq!(crashed.outcome().map(|o| o.cause), Some(Cause::Own));
        assert_eq!(life.deadline(), Some(now));
        assert_eq!(life.tick(now), Effect::Sweep);
        assert_eq!(life.kill(Cause::Cancelled), Effect::None);
        life.exited(KILLED);
        assert_eq!(life.outcome().map(|o| o.cause), Some(Cause::Deadline));
    }

    #[test]
    fn the_exit_disarms_the_deadline() {
        let now = Instant::now();
        let mut life = Life::new(Some(now + Duration::from_secs(1)));
        life.born();
        life.exited(ExitStatus::Code(3));
        assert_eq!(life.deadline(), None);
        assert_eq!(life.tick(now + Duration::from_secs(9)), Effect::None);
    }

    proptest! {
        /// Final states stay, and at most one sweep is asked for.
        #[test]
        fn an_outcome_never_changes(events in prop::collection::vec(0u8..7, 0..40)) {
            let now = Instant::now();
            let mut life = Life::new(Some(now));
            let (mut outcome, mut failed, mut sweeps) = (None, false, 0);
            for event in events {
                let effect = match event {
                    0 => { life.born(); Effect::None }
                    1 => {
                        life.failed(StartFailure {
                            stage: crate::core::outcome::Stage::Exec,
                            value: String::new(),
                            reason: String::new(),
                            errno: None,
                        });
                        Effect::None
                    }
                    2 => life.tick(now),
                    3 => life.kill(Cause::Cancelled),
                    4 => { life.ask(Cause::Cancelled); Effect::None }
                    5 => { life.exited(ExitStatus::Code(1)); Effect::None }
                    _ => { life.exited(KILLED); Effect::None }
                };
                sweeps += u8::from(effect == Effect::Sweep);
                prop_assert!(outcome.is_none() || life.outcome() == outcome);
                prop_assert!(!failed || life.failure().is_some());
                outcome = life.outcome();
                failed = life.failure().is_some();
                prop_assert!(outcome.is_none() || !failed);
                prop_assert!(outcome.is_none() || life.deadline().is_none());
            }
            prop_assert!(sweeps <= 1);
        }
    }
}
