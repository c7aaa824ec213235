//! When the bytes of a stream came, as far back as a small table reaches.
//!
//! Bytes that come within [`ARRIVAL_STEP_MS`] of each other share one mark, so that a stream that
//! never pauses makes a hundred marks a second at most. A mark says when the first of its bytes came:
//! the last one came less than a step later.

use std::collections::VecDeque;

use super::limits::{ARRIVAL_MARKS_MAX, ARRIVAL_STEP_MS};

/// See the module comment. Takes no memory while nothing came.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// In order, both numbers rising; at most [`ARRIVAL_MARKS_MAX`].
    marks: VecDeque<Mark>,
    /// Nothing is known of bytes below this.
    start: u64,
}

/// Some bytes, and when they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    /// One past the last of them.
    end: u64,
    /// When the first of them came, in milliseconds.
    at_ms: u64,
}

impl Arrivals {
    /// Bytes up to `end` came at `now_ms`. A clock that goes back counts as one that stands.
    pub fn note(&mut self, end: u64, now_ms: u64) {
        if let Some(last) = self.marks.back_mut()
            && now_ms < last.at_ms.saturating_add(ARRIVAL_STEP_MS)
        {
            last.end = end;
            return;
        }
        if self.marks.len() == ARRIVAL_MARKS_MAX
            && let Some(oldest) = self.marks.pop_front()
        {
            self.start = oldest.end;
        }
        self.marks.push_back(Mark { end, at_ms: now_ms });
    }

    /// When the byte at `offset` came, and one past the last byte that came with it.
    pub fn find(&self, offset: u64) -> Option<(u64, u64)> {
        if offset < self.start {
            return None;
        }
        let after = self.marks.partition_point(|mark| mark.end <= offset);
        self.marks.get(after).map(|mark| (mark.at_ms, mark.end))
    }

    /// Gives back memory for marks that will not come.
    pub fn shrink(&mut self) {
        self.marks.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_of_one_step_share_a_mark() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.find(0), None);
        arrivals.note(5, 1000);
        arrivals.note(9, 1000 + ARRIVAL_STEP_MS - 1);
        arrivals.note(12, 1000 + ARRIVAL_STEP_MS);
        arrivals.note(13, 400);
        assert_eq!(arrivals.find(0), Some((1000, 9)));
        assert_eq!(arrivals.find(8), Some((1000, 9)));
        assert_eq!(arrivals.find(9), Some((1000 + ARRIVAL_STEP_MS, 13)));
        assert_eq!(arrivals.find(13), None, "it has not come");
    }

    #[test]
    fn what_is_older_than_the_table_is_unknown() {
        let mut arrivals = Arrivals::default();
        for n in 0..=ARRIVAL_MARKS_MAX as u64 {
            arrivals.note(n + 1, n * ARRIVAL_STEP_MS);
        }
        assert_eq!(arrivals.find(0), None);
        assert_eq!(arrivals.find(1), Some((ARRIVAL_STEP_MS, 2)));
    }

    proptest! {
        #[test]
        fn a_byte_came_no_later_than_said_and_a_step(
            pieces in proptest::collection::vec((1u64..100, 0u64..50), 1..600)
        ) {
            let (mut arrivals, mut end, mut now) = (Arrivals::default(), 0, 0);
            let mut came = Vec::new();
            for (bytes, pause) in pieces {
                now += pause;
                came.push((end, now));
                end += bytes;
                arrivals.note(end, now);
            }
            for (offset, at) in came {
                if let Some((said, until)) = arrivals.find(offset) {
                    prop_assert!(said <= at && at < said + ARRIVAL_STEP_MS && offset < until);
                }
            }
        }
    }
}
