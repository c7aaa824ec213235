//! Connections of which no call has been let in yet, bounded in number.
//!
//! When there is one too many the oldest is closed: a client that means well is let in within
//! milliseconds, so whoever has been a stranger for longest is the least loss. Refusing the
//! newest instead would let 256 idle connections keep everybody out.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// All strangers of one server.
pub(super) struct Strangers {
    max: usize,
    waiting: Mutex<Waiting>,
}

struct Waiting {
    /// Counts up, so that the first key of `doors` is the oldest.
    next: u64,
    doors: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A connection's place among the strangers; dropping it gives the place back.
pub(super) struct Slot {
    strangers: Arc<Strangers>,
    number: u64,
}

/// Tells a connection that its place was given to another one.
pub(super) struct Evicted(oneshot::Receiver<()>);

impl Strangers {
    pub(super) fn new(max: usize) -> Arc<Self> {
        let waiting = Mutex::new(Waiting { next: 0, doors: BTreeMap::new() });
        Arc::new(Self { max, waiting })
    }

    /// Takes a place; the oldest stranger loses its own if there are too many.
    pub(super) fn enter(self: &Arc<Self>) -> (Slot, Evicted) {
        let (close, closed) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.doors.insert(number, close);
        if waiting.doors.len() > self.max
            && let Some((_, oldest)) = waiting.doors.pop_first()
        {
            // It may be ending by itself.
            let _ = oldest.send(());
        }
        (Slot { strangers: self.clone(), number }, Evicted(closed))
    }
}

impl Slot {
    /// The connection is no stranger any more: it cannot be evicted from here on.
    pub(super) fn known(&self) {
        self.strangers.waiting.lock().doors.remove(&self.number);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.known();
    }
}

impl Evicted {
    /// Done when the place is lost; never, once the connection is known.
    pub(super) async fn wait(self) {
        if self.0.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_stranger_goes_and_known_ones_stay() {
        let strangers = Strangers::new(2);
        let (first, mut first_lost) = strangers.enter();
        let (_second, mut second_lost) = strangers.enter();
        first.known();
        let (_third, mut third_lost) = strangers.enter();
        assert!(second_lost.0.try_recv().is_err(), "two strangers fit");
        let (_fourth, _) = strangers.enter();
        assert_eq!(second_lost.0.try_recv(), Ok(()));
        assert!(first_lost.0.try_recv().is_err() && third_lost.0.try_recv().is_err());
        drop(_third);
        assert_eq!(strangers.waiting.lock().doors.len(), 1);
    }
}
