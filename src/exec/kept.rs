//! What a spool knows of its stream: its extent, the bytes in memory, and the file for the rest.
//!
//! Memory ends where the stream ends and begins no later than the file ends, so that each kept
//! byte is in one of them or in both. This is plain data behind the spool's lock: it reads and
//! writes no file and wakes nobody.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    disk::SpoolFile,
    spool::{End, Events},
    store::Full,
    tail::{self, Tail},
};
use crate::core::{
    arrivals::Arrivals,
    extent::{Extent, Place},
    limits::{CHUNK_BYTES, TAIL_BYTES_MAX},
};

/// One stream's state.
pub(super) struct Kept {
    pub(super) extent: Extent,
    memory: Memory,
    pub(super) file: Option<Arc<SpoolFile>>,
    /// There once somebody waited.
    pub(super) events: Option<Arc<Events>>,
    /// Bytes below this were given to some reader …
    given: u64,
    /// … and below this they surely arrived; at most `given`.
    delivered: u64,
    /// When the newest bytes came, if any did.
    arrivals: Option<Box<Arrivals>>,
    pub(super) readers: u32,
    /// The store knows it as one that may be asked to drop something.
    pub(super) registered: bool,
}

/// The bytes in memory; they end where the stream ends and begin no later than the file ends.
enum Memory {
    Nothing,
    /// All that is left in memory of a stream at its end, without room to spare.
    Small(Box<[u8]>),
    Tail(Box<Tail>),
}

/// What is to be done after an append, without the lock.
pub(super) struct Appended {
    pub(super) events: Option<Arc<Events>>,
    pub(super) size: Size,
}

pub(super) enum Size {
    /// The stream keeps enough to be asked for room.
    BecameBig,
    AsBefore,
}

/// What [`Kept::peek`] found at a reader's offset.
pub(super) enum Peek {
    Bytes(Bytes),
    File { file: Arc<SpoolFile>, until: u64 },
    Not(Place),
}

impl Kept {
    /// That of a stream of which nothing came.
    pub(super) fn new() -> Self {
        Self {
            extent: Extent::new(),
            memory: Memory::Nothing,
            file: None,
            events: None,
            given: 0,
            delivered: 0,
            arrivals: None,
            readers: 0,
            registered: false,
        }
    }

    /// What a reader at `offset` gets that was opened when the stream ended at `opened_end`.
    pub(super) fn peek(&self, offset: u64, opened_end: u64, bytes_max: usize) -> Peek {
        let until = match self.extent.place(offset, opened_end) {
            Place::Data { until } => until,
            place
            @ (Place::Dropped { .. } | Place::Wait | Place::End(_) | Place::Beyond { .. }) => {
                return Peek::Not(place);
            }
        };
        let bytes_max = bytes_max.min(tail::within(until - offset));
        let end = self.extent.end();
        match (&self.memory, &self.file) {
            (Memory::Tail(tail), _) if offset >= tail.start() => {
                Peek::Bytes(tail.slice(offset, bytes_max))
            }
            (Memory::Small(bytes), _) if offset >= end - bytes.len() as u64 => {
                let start = end - bytes.len() as u64;
                Peek::Bytes(tail::copy(bytes, offset - start, bytes_max))
            }
            (Memory::Nothing | Memory::Small(_) | Memory::Tail(_), Some(file)) => {
                let until = until.min(self.extent.written());
                Peek::File { file: file.clone(), until }
            }
            (Memory::Nothing | Memory::Small(_) | Memory::Tail(_), None) => {
                unreachable!("kept bytes are in memory or in the file")
            }
        }
    }

    /// Counts what a reader that began at `start` was given, and what arrived; tells whether
    /// more may be dropped now.
    pub(super) fn deliver(&mut self, start: u64, given: u64, had: u64) -> bool {
        let before = self.delivered;
        if start <= self.given {
            self.given = self.given.max(given);
            self.delivered = before.max(had);
        }
        self.delivered > before
    }

    /// Bytes that are only in memory.
    pub(super) fn dirty(&self) -> u64 {
        self.extent.end() - self.extent.written()
    }

    /// Memory held.
    pub(super) fn room(&self) -> u64 {
        self.memory.room()
    }

    /// Bytes below this may be dropped.
    pub(super) fn droppable_to(&self, full: Full) -> u64 {
        match full {
            Full::DropOldest => self.extent.end(),
            Full::Block => self.delivered,
        }
    }

    /// What is only in memory, up to `count_max` pieces, and its offset.
    pub(super) fn batch(&mut self, count_max: usize) -> (u64, Vec<Bytes>) {
        let offset = self.extent.written();
        let batch = match &mut self.memory {
            Memory::Nothing => Vec::new(),
            Memory::Small(bytes) => {
                let dirty = tail::within(self.extent.end() - offset).min(bytes.len());
                vec![Bytes::copy_from_slice(&bytes[bytes.len() - dirty..])]
            }
            Memory::Tail(tail) => tail.batch(offset, count_max),
        };
        (offset, batch)
    }

    /// Lets go of what is in the file too: of all of it if nobody reads or nothing more comes,
    /// else of what is too old to be of use for a reader that follows.
    pub(super) fn trim_written(&mut self, recycle: impl FnMut(Bytes)) {
        let written = self.extent.written();
        let follow = match (self.readers, self.extent.ended()) {
            (0, _) | (_, Some(End::Eof)) => written,
            (_, None | Some(End::Quiet | End::Linger)) => {
                written.min(self.extent.end().saturating_sub(TAIL_BYTES_MAX as u64))
            }
        };
        self.trim_to(follow, recycle);
    }

    /// Lets go of memory below `offset`.
    pub(super) fn trim_to(&mut self, offset: u64, recycle: impl FnMut(Bytes)) {
        match &mut self.memory {
            Memory::Nothing => {}
            Memory::Small(_) if offset >= self.extent.end() => self.memory = Memory::Nothing,
            Memory::Small(_) => {}
            Memory::Tail(tail) => tail.trim_to(offset, recycle),
        }
    }

    /// Brings the memory of a stream that ended, or is quiet, into its smallest form.
    pub(super) fn compact(&mut self) {
        let closed = self.extent.ended() == Some(End::Eof);
        if closed && let Some(arrivals) = &mut self.arrivals {
            arrivals.shrink();
        }
        match std::mem::replace(&mut self.memory, Memory::Nothing) {
            Memory::Tail(tail) if tail.start() == tail.end() => {}
            Memory::Tail(tail) if closed && tail.end() - tail.start() <= CHUNK_BYTES as u64 => {
                self.memory = Memory::Small(tail.into_boxed());
            }
            memory @ (Memory::Nothing | Memory::Small(_) | Memory::Tail(_)) => {
                self.memory = memory;
            }
        }
    }

    /// See [`Arrivals::find`].
    pub(super) fn arrival(&self, offset: u64) -> Option<(u64, u64)> {
        self.arrivals.as_ref()?.find(offset)
    }

    /// Counts bytes that were pushed to memory. A stream that keeps `big` bytes is a big one.
    pub(super) fn append(&mut self, bytes: u64, big: u64) -> Appended {
        self.extent.append(bytes);
        self.arrivals.get_or_insert_default().note(self.extent.end(), coarse_now_ms());
        let big = self.extent.kept() >= big;
        let size = if big && !self.registered { Size::BecameBig } else { Size::AsBefore };
        self.registered |= big;
        Appended { events: self.events.clone(), size }
    }

    /// Memory that ends where the stream ends. What is pushed to it must be counted afterwards.
    pub(super) fn tail(&mut self) -> &mut Tail {
        if let Memory::Nothing | Memory::Small(_) = self.memory {
            self.memory = Memory::Tail(Box::new(Tail::new(self.extent.end())));
        }
        match &mut self.memory {
            Memory::Tail(tail) => tail,
            Memory::Nothing | Memory::Small(_) => unreachable!("it was just made one"),
        }
    }
}

/// The wall's clock in milliseconds, as the kernel keeps it from tick to tick: reading it costs some
/// nanoseconds and no system call.
fn coarse_now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

impl Memory {
    fn room(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Small(bytes) => bytes.len() as u64,
            Self::Tail(tail) => tail.room() as u64,
        }
    }
}
