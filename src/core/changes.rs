//! What changed, in the order in which it did: a bounded ring, read by number.
//!
//! Each change has the next number, from 1 on. A reader keeps the number that it has come to, and
//! asks for the next one; whoever fell behind by more than the ring holds is told so and has to
//! look at everything anew. Readers cost nothing here, however slow they are.
//!
//! Invariants: the ring holds the newest changes without a gap, at most `kept` of them; no
//! number is given twice.

use std::collections::VecDeque;

/// The newest changes.
#[derive(Debug)]
pub struct Changes<T> {
    ring: VecDeque<T>,
    /// The number of the newest change; 0: none.
    newest: u64,
    kept: usize,
}

/// What comes after a number.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// This change.
    Change {
        /// Its number.
        number: u64,
        /// What changed.
        what: T,
    },
    /// Nothing yet.
    Nothing,
    /// Changes that are not kept any more, or a number that was never given.
    Lost,
}

impl<T: Clone> Changes<T> {
    /// No changes, of which the newest `kept` will be held.
    pub fn new(kept: usize) -> Self {
        Self { ring: VecDeque::new(), newest: 0, kept }
    }

    /// Writes a change down and returns its number.
    pub fn push(&mut self, what: T) -> u64 {
        if self.ring.len() >= self.kept {
            self.ring.pop_front();
        }
        self.ring.push_back(what);
        self.newest += 1;
        self.newest
    }

    /// The number of the newest change; 0 if there was none.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// What comes after the change of this number; 0 is before all of them.
    pub fn after(&self, number: u64) -> Next<T> {
        if number == self.newest {
            return Next::Nothing;
        }
        let first = self.newest + 1 - self.ring.len() as u64;
        let place = (number + 1).checked_sub(first);
        let what = place.and_then(|place| self.ring.get(usize::try_from(place).ok()?));
        match what {
            Some(what) => Next::Change { number: number + 1, what: what.clone() },
            None => Next::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_kept_is_read_in_order_and_what_is_not_is_said() {
        let mut changes = Changes::new(2);
        assert_eq!(changes.after(0), Next::Nothing);
        assert_eq!(changes.after(1), Next::Lost, "never given");
        assert_eq!((changes.push('a'), changes.push('b')), (1, 2));
        assert_eq!(changes.after(0), Next::Change { number: 1, what: 'a' });
        changes.push('c');
        assert_eq!(changes.after(0), Next::Lost);
        assert_eq!(changes.after(1), Next::Change { number: 2, what: 'b' });
        assert_eq!(changes.after(3), Next::Nothing);
        assert_eq!(changes.after(4), Next::Lost);
    }

    proptest! {
        /// A reader that asks often enough sees each change once, in order; another is told.
        #[test]
        fn nothing_is_skipped_unseen(events in prop::collection::vec(any::<bool>(), 0..100)) {
            let mut changes = Changes::new(5);
            let (mut reader, mut pushed) = (0, 0);
            for push in events {
                if push {
                    pushed += 1;
                    prop_assert_eq!(changes.push(pushed), pushed);
                } else {
                    match changes.after(reader) {
                        Next::Change { number, what } => {
                            prop_assert_eq!((number, what), (reader + 1, reader + 1));
                            reader = number;
                        }
                        Next::Nothing => prop_assert_eq!(reader, pushed),
                        Next::Lost => {
                            prop_assert!(pushed - reader > 5);
                            reader = changes.newest();
                        }
                    }
                }
            }
        }
    }
}
