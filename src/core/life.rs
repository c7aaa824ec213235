//! The life of one exec.
//!
//! ```text
//!              born            exited
//!  Starting ────────▶ Running ────────▶ Ended(outcome)
//!     │                 │  ▲
//!     │ failed          └──┘ expired, cancelled: the tree is swept, once; the first cause stays
//!     ▼
//!  Failed(failure)
//! ```
//!
//! The happy path is Starting, Running, Ended. `Ended` and `Failed` are final, and an outcome
//! never changes. A deadline or a cancel that comes after the exit changes nothing about the
//! outcome. The cause is ours only if the process ended by the signal that we sent: one that
//! returned by itself just before the signal ended by itself.

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
    Running { ending: Option<Cause> },
    Ended(Outcome),
    Failed(StartFailure),
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
            State::Starting => self.state = State::Running { ending: None },
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
            Some(deadline) if deadline <= now => self.end(Cause::Deadline),
            Some(_) | None => Effect::None,
        }
    }

    /// Its tree is to be ended for `cause`.
    pub fn end(&mut self, cause: Cause) -> Effect {
        match &mut self.state {
            State::Running { ending: ending @ None } => {
                *ending = Some(cause);
                Effect::Sweep
            }
            State::Running { ending: Some(_) }
            | State::Starting
            | State::Ended(_)
            | State::Failed(_) => Effect::None,
        }
    }

    /// Its process was reaped.
    pub fn exited(&mut self, status: ExitStatus) {
        match self.state {
            State::Running { ending } => {
                let cause = match status {
                    ExitStatus::Signal(_) => ending.unwrap_or(Cause::Own),
                    ExitStatus::Code(_) => Cause::Own,
                };
                self.state = State::Ended(Outcome { status, cause });
            }
            State::Starting | State::Ended(_) | State::Failed(_) => {}
        }
    }

    /// When [`Life::tick`] has something to do: never once it has ended.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Starting | State::Running { ending: None } => self.deadline,
            State::Running { ending: Some(_) } | State::Ended(_) | State::Failed(_) => None,
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
        assert_eq!(life.end(Cause::Shutdown), Effect::None, "the first cause stays");
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
        fn an_outcome_never_changes(events in prop::collection::vec(0u8..6, 0..40)) {
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
                    3 => life.end(Cause::Cancelled),
                    4 => { life.exited(ExitStatus::Code(1)); Effect::None }
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
