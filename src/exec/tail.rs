//! The bytes of a stream that are in memory: whole segments that are shared with readers without
//! a copy, and one growing buffer into which small pieces are copied.
//!
//! It owns the memory and knows its offsets, and nothing about files, limits or readers.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::core::limits::CHUNK_BYTES;

/// The bytes `[start, end)` of a stream.
pub(super) struct Tail {
    /// In order and without gaps.
    segments: VecDeque<Segment>,
    /// Follows the last segment.
    open: Vec<u8>,
    open_start: u64,
    /// Memory held by the segments.
    room: usize,
}

struct Segment {
    start: u64,
    bytes: Bytes,
    /// Memory held: at most twice the length, see [`Tail::push_segment`].
    room: usize,
}

impl Tail {
    /// Nothing yet; the first byte will be the one at `start`.
    pub(super) fn new(start: u64) -> Self {
        Self { segments: VecDeque::new(), open: Vec::new(), open_start: start, room: 0 }
    }

    /// The offset of the first byte.
    pub(super) fn start(&self) -> u64 {
        self.segments.front().map_or(self.open_start, |segment| segment.start)
    }

    /// One past the last byte.
    pub(super) fn end(&self) -> u64 {
        self.open_start + self.open.len() as u64
    }

    /// How much memory is held, in bytes.
    pub(super) fn room(&self) -> usize {
        self.room + self.open.capacity()
    }

    /// Takes a copy of `piece`.
    pub(super) fn push_small(&mut self, piece: &[u8]) {
        for piece in piece.chunks(CHUNK_BYTES) {
            if self.open.len() + piece.len() > CHUNK_BYTES {
                self.seal();
            }
            let needed = self.open.len() + piece.len();
            if needed > self.open.capacity() {
                let room = needed.max(2 * self.open.capacity()).clamp(64, CHUNK_BYTES);
                self.open.reserve_exact(room - self.open.len());
            }
            self.open.extend_from_slice(piece);
        }
    }

    /// Takes `piece` as it is, or a copy if it would waste more than half of its memory; then
    /// the buffer is given back.
    pub(super) fn push_segment(&mut self, piece: Vec<u8>) -> Option<Vec<u8>> {
        if piece.len() < piece.capacity() / 2 {
            self.push_small(&piece);
            return Some(piece);
        }
        self.seal();
        self.push_sealed(piece);
        None
    }

    /// Makes the growing buffer a segment, so that all of the bytes can be shared.
    pub(super) fn seal(&mut self) {
        if !self.open.is_empty() {
            let mut open = std::mem::take(&mut self.open);
            if open.len() < open.capacity() / 2 {
                open.shrink_to_fit();
            }
            self.push_sealed(open);
        }
    }

    fn push_sealed(&mut self, piece: Vec<u8>) {
        let (start, length, room) = (self.open_start, piece.len() as u64, piece.capacity());
        self.segments.push_back(Segment { start, bytes: piece.into(), room });
        self.room += room;
        self.open_start += length;
    }

    /// Up to `bytes_max` bytes from `offset`, which lies within: shared where that does not pin
    /// much more memory than asked for, else copied.
    pub(super) fn slice(&self, offset: u64, bytes_max: usize) -> Bytes {
        if offset >= self.open_start {
            return copy(&self.open, offset - self.open_start, bytes_max);
        }
        let after = self.segments.partition_point(|segment| segment.start <= offset);
        let segment = &self.segments[after - 1];
        let from = within(offset - segment.start);
        let length = bytes_max.min(segment.bytes.len() - from);
        if length < segment.room / 4 {
            return Bytes::copy_from_slice(&segment.bytes[from..from + length]);
        }
        segment.bytes.slice(from..from + length)
    }

    /// The segments from `offset` on, up to `count_max` of them. Seals first.
    pub(super) fn batch(&mut self, offset: u64, count_max: usize) -> Vec<Bytes> {
        self.seal();
        let segments = self.segments.iter().filter(|segment| segment.end() > offset);
        segments
            .take(count_max)
            .map(|segment| segment.bytes.slice(within(offset.saturating_sub(segment.start))..))
            .collect()
    }

    /// Lets go of whole segments below `offset`, giving each to `recycle`.
    pub(super) fn trim_to(&mut self, offset: u64, mut recycle: impl FnMut(Bytes)) {
        while self.segments.front().is_some_and(|segment| segment.end() <= offset) {
            if let Some(segment) = self.segments.pop_front() {
                self.room -= segment.room;
                recycle(segment.bytes);
            }
        }
        if self.segments.is_empty() && self.open_start < offset {
            let dropped = within(offset - self.open_start).min(self.open.len());
            self.open.drain(..dropped);
            self.open_start += dropped as u64;
        }
        if self.open.is_empty() {
            self.open = Vec::new();
        }
    }

    /// All bytes in one piece without room to spare.
    pub(super) fn into_boxed(self) -> Box<[u8]> {
        if self.segments.is_empty() {
            return self.open.into_boxed_slice();
        }
        let mut all = Vec::with_capacity(within(self.end() - self.start()));
        for segment in &self.segments {
            all.extend_from_slice(&segment.bytes);
        }
        all.extend_from_slice(&self.open);
        all.into_boxed_slice()
    }
}

impl Segment {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// Up to `bytes_max` bytes of `piece` from `offset`, copied.
pub(super) fn copy(piece: &[u8], offset: u64, bytes_max: usize) -> Bytes {
    let from = within(offset).min(piece.len());
    Bytes::copy_from_slice(&piece[from..from + bytes_max.min(piece.len() - from)])
}

/// A distance inside of memory as an index.
pub(super) fn within(distance: u64) -> usize {
    usize::try_from(distance).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Small(usize),
        Segment { length: usize, room: usize },
        Seal,
        Trim(u64),
        Slice { offset: u64, max: usize },
        Batch(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let sizes = prop_oneof![1..200_usize, 1..(2 * CHUNK_BYTES)];
        prop_oneof![
            sizes.clone().prop_map(Step::Small),
            (sizes.clone(), sizes.clone())
                .prop_map(|(length, more)| Step::Segment { length, room: length + more }),
            Just(Step::Seal),
            any::<u64>().prop_map(Step::Trim),
            (any::<u64>(), sizes).prop_map(|(offset, max)| Step::Slice { offset, max }),
            any::<u64>().prop_map(Step::Batch),
        ]
    }

    fn bytes(from: u64, length: usize) -> Vec<u8> {
        let mut all: Vec<u8> = (from..from + 251).map(|at| (at % 251) as u8).collect();
        while all.len() < length {
            all.extend_from_within(..);
        }
        all.truncate(length);
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn holds_what_was_pushed_at_its_offset(steps in prop::collection::vec(step(), 0..40)) {
            let mut tail = Tail::new(7);
            for step in steps {
                let (start, end) = (tail.start(), tail.end());
                match step {
                    Step::Small(length) => tail.push_small(&bytes(end, length)),
                    Step::Segment { length, room } => {
                        let mut piece = Vec::with_capacity(room);
                        piece.extend_from_slice(&bytes(end, length));
                        tail.push_segment(piece);
                    }
                    Step::Seal => tail.seal(),
                    Step::Trim(offset) => {
                        let offset = start + offset % (end - start + 1);
                        tail.trim_to(offset, drop);
                        prop_assert!(tail.start() <= offset && tail.end() == end);
                    }
                    Step::Slice { offset, max } if end > start => {
                        let offset = start + offset % (end - start);
                        let slice = tail.slice(offset, max);
                        prop_assert!(!slice.is_empty() && slice.len() <= max);
                        prop_assert!(slice == bytes(offset, slice.len()));
                    }
                    Step::Slice { .. } => {}
                    Step::Batch(offset) => {
                        let offset = start + offset % (end - start + 1);
                        let all = tail.batch(offset, usize::MAX).concat();
                        prop_assert!(all == bytes(offset, (end - offset) as usize));
                    }
                }
                let length = (tail.end() - tail.start()) as usize;
                prop_assert!(tail.room() <= 2 * length + 2 * CHUNK_BYTES);
            }
            let (start, end) = (tail.start(), tail.end());
            prop_assert!(*tail.into_boxed() == *bytes(start, (end - start) as usize));
        }
    }
}
