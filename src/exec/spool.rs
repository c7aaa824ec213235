//! One output stream of an exec, by absolute offset from its first byte.
//!
//! The newest bytes are in memory; the rest is in a file that is made when they become too many.
//! There is one appender, the stream's [`pump`](super::pump), and any number of
//! [`Reader`]s; others may drop the oldest bytes at any time, to make room.
//!
//! What may never happen: a reader gets a byte that was not appended at its offset, or a byte
//! gets lost between memory and file. Bytes leave memory only after they were written, and
//! `first` is advanced before the file's space is given back.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    disk::GivenBack,
    kept::{Appended, Kept, Peek, Size},
    reader::Counts,
    store::Full,
};
pub use super::{
    reader::{Next, ReadError, Reader},
    store::Store,
};
pub use crate::core::extent::End;
use crate::core::limits::{TAIL_BYTES_MAX, VICTIM_BYTES_MIN};

/// One output stream. An idle one takes some hundred bytes of memory and no descriptor.
pub struct Spool {
    store: Arc<Store>,
    number: u64,
    /// Guards everything that changes; held for a few lines, never while a file is used.
    state: Mutex<Kept>,
}

/// What tasks wait for.
#[derive(Default)]
pub(super) struct Events {
    /// Bytes came, or an end.
    pub(super) data: Notify,
    /// The stream was closed.
    pub(super) closed: Notify,
}

/// What is kept of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolRange {
    /// The first byte that is kept.
    pub first: u64,
    /// One past the last byte that came.
    pub end: u64,
    /// How many bytes were dropped: those before the first.
    pub dropped: u64,
    /// Whether it is at end of file.
    pub ended: bool,
}

/// Whether a piece was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// It needs a thread: for the disk, or to make room.
    NeedsWork,
}

impl Spool {
    pub(super) fn new(store: Arc<Store>, number: u64) -> Self {
        Self { store, number, state: Mutex::new(Kept::new()) }
    }

    /// What is kept.
    pub fn range(&self) -> SpoolRange {
        let state = self.state.lock();
        let extent = &state.extent;
        let (first, end) = (extent.first(), extent.end());
        SpoolRange { first, end, dropped: first, ended: extent.ended() == Some(End::Eof) }
    }

    /// The stream is at end of file. A repeat changes nothing.
    pub fn close(&self) {
        let events = self.change(|state| {
            state.extent.close();
            state.compact();
            state.events.take()
        });
        if let Some(events) = events {
            events.data.notify_waiters();
            events.closed.notify_waiters();
        }
    }

    /// Says how the stream ends for readers although somebody may still hold it.
    ///
    /// - [`End::Quiet`]: whoever holds it was quiet since `at`, the end. Readers there end, until
    ///   the next byte comes. If one came since `at`, nothing changes.
    /// - [`End::Linger`]: whoever holds it does not stop. Readers that have everything below `at`
    ///   end. What comes later is kept, and given to readers that are opened later.
    /// - [`End::Eof`]: the same as [`Spool::close`].
    pub fn settle(&self, end: End, at: u64) {
        match end {
            End::Quiet => self.change(|state| state.extent.settle_quiet(at)),
            End::Linger => self.change(|state| state.extent.settle_linger(at)),
            End::Eof => self.close(),
        }
        self.notify_data();
    }

    /// A reader from `offset` on, which may lie anywhere.
    pub fn reader(self: &Arc<Self>, offset: u64) -> Reader {
        let end = self.reader_came();
        Reader::new(self.clone(), Counts::From(offset), offset, end)
    }

    /// A reader whose reading is none: what it was given counts as delivered to nobody.
    pub(super) fn onlooker(self: &Arc<Self>, offset: u64) -> Reader {
        let end = self.reader_came();
        Reader::new(self.clone(), Counts::Never, offset, end)
    }

    /// When the byte at `offset` came, in milliseconds since 1970 and with an error of some
    /// milliseconds, and one past the last byte that came with it. `None` for what is too old.
    pub fn arrival(&self, offset: u64) -> Option<(u64, u64)> {
        self.look(|state| state.arrival(offset))
    }

    /// Waits until the stream was closed. Nothing is lost if the future is dropped.
    pub async fn eof(&self) {
        while !self.range().ended {
            let events = self.events();
            let closed = events.closed.notified();
            // A close before the line above notifies nobody.
            if !self.range().ended {
                closed.await;
            }
        }
    }

    /// Waits until the stream has more than `past` bytes, or was closed. Nothing is lost if the
    /// future is dropped.
    pub async fn grown(&self, past: u64) {
        let waits = |range: SpoolRange| !range.ended && range.end <= past;
        while waits(self.range()) {
            let events = self.events();
            let data = events.data.notified();
            if waits(self.range()) {
                data.await;
            }
        }
    }

    /// Bytes that stand in its file.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.look(|state| match state.file {
            Some(_) => state.extent.written() - state.extent.first(),
            None => 0,
        })
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Looks at the state.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Kept) -> T) -> T {
        look(&self.state.lock())
    }

    /// Changes the state and keeps the store's sums right.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        let mut state = self.state.lock();
        let (kept, room) = (state.extent.kept(), state.room());
        let value = change(&mut state);
        adjust(&self.store.kept, kept, state.extent.kept());
        adjust(&self.store.memory, room, state.room());
        value
    }

    /// Appends a copy of `piece` if that needs neither the disk nor room that others have.
    pub(super) fn try_append(self: &Arc<Self>, piece: &[u8]) -> Taken {
        let (bytes, limits) = (piece.len() as u64, &self.store.limits);
        let fits = self.store.memory.load(Relaxed) + bytes <= limits.memory_max
            && self.store.kept.load(Relaxed) + bytes <= limits.total_max;
        let appended = self.change(|state| {
            let fits = fits
                && state.extent.kept() + bytes <= limits.stream_max
                && (self.store.disk.is_none() || state.dirty() + bytes <= TAIL_BYTES_MAX as u64);
            fits.then(|| {
                state.tail().push_small(piece);
                state.append(bytes, VICTIM_BYTES_MIN)
            })
        });
        match appended {
            Some(appended) => {
                self.tell(appended);
                Taken::Yes
            }
            None => Taken::NeedsWork,
        }
    }

    /// Appends `piece`, whatever it needs; [`super::room::balance`] must follow. Returns a
    /// buffer for the next one.
    pub(super) fn append(self: &Arc<Self>, piece: Vec<u8>) -> Vec<u8> {
        let (buffer, appended) = self.change(|state| {
            let bytes = piece.len() as u64;
            let buffer = state.tail().push_segment(piece);
            // However small, it can be asked for room itself where nobody else has any.
            (buffer, state.append(bytes, 0))
        });
        self.tell(appended);
        match buffer {
            Some(mut buffer) => {
                buffer.clear();
                buffer
            }
            None => self.store.buffer(),
        }
    }

    fn tell(self: &Arc<Self>, appended: Appended) {
        if let Some(events) = appended.events {
            events.data.notify_waiters();
        }
        match appended.size {
            Size::BecameBig => self.store.register(self.number, Arc::downgrade(self)),
            Size::AsBefore => {}
        }
    }

    /// Drops everything below `offset`, here and in the file.
    pub(super) fn drop_to(&self, offset: u64) {
        let file = self.change(|state| {
            state.extent.drop_to(offset);
            state.trim_to(state.extent.first(), drop);
            state.file.clone()
        });
        let Some(file) = file else { return };
        let extent = || self.look(|state| (state.extent.first(), state.extent.written()));
        match (file.give_back(extent), self.store.limits.full) {
            (GivenBack::Yes, Full::DropOldest | Full::Block) => {}
            // All that was written goes, since no part of it can.
            (GivenBack::OnlyWhole, Full::DropOldest) => {
                self.change(|state| {
                    state.extent.drop_to(state.extent.written());
                    state.trim_to(state.extent.first(), drop);
                });
                file.give_back(extent);
            }
            (GivenBack::OnlyWhole, Full::Block) => {}
        }
    }

    /// What a reader at `offset` gets.
    pub(super) fn peek(&self, offset: u64, opened_end: u64, bytes_max: usize) -> Peek {
        self.look(|state| state.peek(offset, opened_end, bytes_max))
    }

    /// A reader that began at `start` was given bytes up to `given`, and those below `had`
    /// reached whoever it reads for.
    ///
    /// Only what is read without a gap counts: a reader that begins further on says nothing about
    /// the bytes before it. But one may resume where another was cut off.
    pub(super) fn deliver(&self, start: u64, given: u64, had: u64) {
        if self.store.limits.full == Full::DropOldest {
            return;
        }
        let more = self.change(|state| state.deliver(start, given, had));
        if more {
            self.store.tell_freed();
        }
    }

    /// Returns where the stream ends.
    fn reader_came(&self) -> u64 {
        self.change(|state| {
            state.readers += 1;
            state.extent.end()
        })
    }

    pub(super) fn reader_gone(&self) {
        self.change(|state| {
            state.readers -= 1;
            state.trim_written(|segment| self.store.recycle(segment));
        });
    }

    pub(super) fn events(&self) -> Arc<Events> {
        self.state.lock().events.get_or_insert_default().clone()
    }

    fn notify_data(&self) {
        let events = self.state.lock().events.clone();
        if let Some(events) = events {
            events.data.notify_waiters();
        }
    }
}

/// Moves a sum by the difference of two of its terms.
fn adjust(sum: &std::sync::atomic::AtomicU64, before: u64, after: u64) {
    if before != after {
        sum.fetch_add(after.wrapping_sub(before), Relaxed);
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        adjust(&self.store.kept, state.extent.kept(), 0);
        adjust(&self.store.memory, state.room(), 0);
        if state.registered {
            self.store.forget(self.number);
        }
        self.store.tell_freed();
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("number", &self.number).field("range", &self.range()).finish()
    }
}
