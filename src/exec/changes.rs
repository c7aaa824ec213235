//! What changed of which exec, for those who watch: each step of a life, and the forgetting.
//!
//! A change names the exec and no more: who is told of it looks at the exec as it is then. So of
//! several changes of one exec only the newest needs to be told, which is the one whose number
//! the exec remembers. A change of a life and its entry here are one step on the thread that
//! runs all execs; nobody sees one without the other.

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::handle::Exec;
pub use crate::core::changes::Next;
use crate::core::{changes, ids::ExecId, limits::CHANGES_KEPT};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An exec is new, or its state has changed.
    State(ExecId),
    /// An exec was forgotten, or its start came to nothing and its id is free again.
    Forgotten(ExecId),
}

/// The newest changes of all execs.
pub struct Changes {
    /// Guards the ring; held for one entry.
    ring: Mutex<changes::Changes<Change>>,
    news: Notify,
}

impl Changes {
    pub(super) fn new() -> Self {
        Self { ring: Mutex::new(changes::Changes::new(CHANGES_KEPT)), news: Notify::new() }
    }

    /// The number of the newest change.
    pub fn newest(&self) -> u64 {
        self.ring.lock().newest()
    }

    /// What comes after the change of this number.
    pub fn after(&self, number: u64) -> Next<Change> {
        self.ring.lock().after(number)
    }

    /// Resolves when there is a change newer than that of this number. Cancel-safe.
    pub async fn beyond(&self, number: u64) {
        loop {
            let news = self.news.notified();
            if self.newest() != number {
                return;
            }
            news.await;
        }
    }

    pub(super) fn changed(&self, exec: &Exec) {
        exec.note_change(self.push(Change::State(exec.id().clone())));
    }

    pub(super) fn forgotten(&self, id: &ExecId) {
        self.push(Change::Forgotten(id.clone()));
    }

    fn push(&self, change: Change) -> u64 {
        let number = self.ring.lock().push(change);
        self.news.notify_waiters();
        number
    }
}
