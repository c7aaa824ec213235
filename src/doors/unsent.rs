//! How much output may wait inside connections that do not take it.
//!
//! What was handed to a connection and is not yet written is charged to its reader and to a
//! budget over all. A reader may have unsent at most its allowance: generous while little is
//! used, so that a fast reader always has the next chunk under way, and shrinking as others
//! stall, down to a floor that everybody has always. So stalled readers cost little each, and
//! never stop one that reads.
//!
//! With n greedy readers each gets about pool / (16 + n), where the pool is a quarter of the budget.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::core::limits::{
    CHUNK_BYTES, UNSENT_BYTES_EACH, UNSENT_BYTES_MAX, UNSENT_READER_BYTES_MAX,
};

/// The bytes that are shared out generously.
const POOL_BYTES: usize = UNSENT_BYTES_MAX / 4;
/// One reader gets this part of what is left of the pool.
const POOL_PART: usize = 16;
/// A reader's first chunk, and its next one after little came: a reader that waits was already
/// told how much to bring, and many may wait.
const WINDOW_BYTES_MIN: usize = CHUNK_BYTES / 4;

/// The budget over all readers.
#[derive(Debug, Default)]
pub struct Unsent {
    bytes: AtomicUsize,
}

/// One reader's share of the budget.
#[derive(Debug)]
pub struct Share {
    account: Arc<Account>,
    /// How much the next chunk may be: it grows while chunks come full, as a reader that is
    /// behind needs, and shrinks when they do not.
    window: usize,
}

#[derive(Debug)]
struct Account {
    all: Arc<Unsent>,
    /// Charged to this reader, and part of `all.bytes`.
    bytes: AtomicUsize,
    returned: Notify,
}

/// Bytes on their way; dropping them returns the charge.
struct Charged {
    bytes: Bytes,
    account: Arc<Account>,
}

impl Unsent {
    /// A budget that nobody uses yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The share of one more reader.
    pub fn share(self: &Arc<Self>) -> Share {
        let account =
            Account { all: self.clone(), bytes: AtomicUsize::new(0), returned: Notify::new() };
        Share { account: Arc::new(account), window: WINDOW_BYTES_MIN }
    }

    /// Bytes handed to connections and not yet written.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn allowance(&self) -> usize {
        let part = POOL_BYTES.saturating_sub(self.bytes()) / POOL_PART;
        part.clamp(UNSENT_BYTES_EACH, UNSENT_READER_BYTES_MAX)
    }
}

impl Share {
    /// Waits until the reader may hand over more, and says how much: never 0, never more than a
    /// chunk. Dropping the future loses nothing.
    pub async fn room(&self) -> usize {
        loop {
            if let Some(room) = self.room_now() {
                return room;
            }
            // One waiter, and a notice that comes early is kept for it.
            self.account.returned.notified().await;
        }
    }

    /// Charges a chunk that was brought when `asked` bytes were asked for. The charge returns
    /// when the last piece of the result is dropped.
    pub fn charge(&mut self, bytes: Bytes, asked: usize) -> Bytes {
        let full = bytes.len() >= asked.div_ceil(2);
        let window = if full { self.window * 2 } else { self.window / 2 };
        self.window = window.clamp(WINDOW_BYTES_MIN, CHUNK_BYTES);
        let account = self.account.clone();
        account.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        account.all.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        Bytes::from_owner(Charged { bytes, account })
    }

    fn room_now(&self) -> Option<usize> {
        let mine = self.account.bytes.load(Ordering::Relaxed);
        let allowance = self.account.all.allowance();
        let chunk = self.window.min(allowance);
        let room = allowance.saturating_sub(mine);
        // Better a full chunk a little later than a crumb at once.
        let enough = mine == 0 || room >= chunk.min(allowance / 2);
        enough.then_some(chunk.min(room))
    }
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.account.bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        self.account.all.bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        self.account.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// Fills `share` until it would wait, as a connection that takes nothing does.
    fn stall(share: &mut Share) -> Vec<Bytes> {
        let mut held = Vec::new();
        while let Some(room) = share.room_now() {
            held.push(share.charge(Bytes::from(vec![0; room]), room));
        }
        held
    }

    #[test]
    fn a_lone_reader_gets_full_chunks_and_several_of_them() {
        let unsent = Unsent::new();
        let mut share = unsent.share();
        let held = stall(&mut share);
        let sizes: Vec<usize> = held.iter().map(Bytes::len).collect();
        assert_eq!(sizes[..3], [CHUNK_BYTES / 4, CHUNK_BYTES / 2, CHUNK_BYTES]);
        assert!(unsent.bytes() >= 3 * CHUNK_BYTES && unsent.bytes() <= UNSENT_READER_BYTES_MAX);
        drop(held);
        assert_eq!(unsent.bytes(), 0);
        assert_eq!(share.room_now(), Some(CHUNK_BYTES));
    }

    #[test]
    fn stalled_readers_stay_within_the_budget_and_stop_nobody() {
        let unsent = Unsent::new();
        let mut held = Vec::new();
        for readers in 1..=2000 {
            held.extend(stall(&mut unsent.share()));
            match readers {
                500 => assert!(unsent.bytes() <= 7 << 20, "{}", unsent.bytes()),
                2000 => assert!(unsent.bytes() <= UNSENT_BYTES_MAX, "{}", unsent.bytes()),
                _ => {}
            }
        }
        let mut late = unsent.share();
        let room = late.room_now().unwrap();
        assert!(room >= UNSENT_BYTES_EACH);
        let chunk = late.charge(Bytes::from(vec![0; room]), room);
        assert_eq!(late.room_now(), None);
        drop(chunk);
        assert!(late.room_now().is_some());
    }

    #[tokio::test]
    async fn a_waiting_reader_goes_on_when_its_bytes_are_written() {
        let unsent = Unsent::new();
        let mut share = unsent.share();
        let mut held = VecDeque::from(stall(&mut share));
        let waiting = tokio::spawn(async move { share.room().await });
        while let Some(chunk) = held.pop_front() {
            tokio::task::yield_now().await;
            drop(chunk);
        }
        assert!(waiting.await.unwrap() > 0);
    }

    proptest! {
        #[test]
        fn room_is_never_nothing_and_charges_always_return(
            steps in proptest::collection::vec((0usize..4, 1usize..CHUNK_BYTES, any::<bool>()), 1..200)
        ) {
            let unsent = Unsent::new();
            let mut shares: Vec<_> = (0..4).map(|_| (unsent.share(), VecDeque::new())).collect();
            for (who, size, take) in steps {
                let (share, held) = &mut shares[who];
                if take {
                    held.pop_front();
                } else if let Some(room) = share.room_now() {
                    prop_assert!((1..=CHUNK_BYTES).contains(&room));
                    held.push_back(share.charge(Bytes::from(vec![0; size.min(room)]), room));
                } else {
                    prop_assert!(!held.is_empty(), "whoever has nothing unsent never waits");
                }
                let sum: usize = shares.iter().flat_map(|(_, held)| held).map(Bytes::len).sum();
                prop_assert_eq!(unsent.bytes(), sum);
            }
        }
    }
}
