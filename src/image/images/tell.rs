//! Says how far something is, and not too often.

use std::{
    io::{self, Read, Write},
    sync::Arc,
    time::Instant,
};

use parking_lot::Mutex;

use super::{Event, Progress, Told};
use crate::core::limits::IMAGE_WORD;

/// Tells whoever asked for something.
#[derive(Clone)]
pub(super) struct Teller {
    told: Told,
    /// Held for a few lines, in which nobody is told anything.
    state: Arc<Mutex<State>>,
}

struct State {
    progress: Progress,
    last: Option<Instant>,
}

impl Teller {
    pub(super) fn new(told: &Told, step: &'static str, total_bytes: Option<u64>) -> Self {
        let progress = Progress { step, done_bytes: 0, total_bytes, entries: 0 };
        Self { told: told.clone(), state: Arc::new(Mutex::new(State { progress, last: None })) }
    }

    /// So many more bytes are done.
    pub(super) fn add(&self, bytes: u64) {
        self.change(|progress| progress.done_bytes = progress.done_bytes.saturating_add(bytes));
    }

    /// So many bytes are done of so many.
    pub(super) fn reached(&self, done: u64, of: u64) {
        self.change(|progress| {
            progress.done_bytes = done;
            progress.total_bytes = Some(of);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        let due = {
            let mut state = self.state.lock();
            change(&mut state.progress);
            let now = Instant::now();
            let due = state.last.is_none_or(|last| now.duration_since(last) >= IMAGE_WORD);
            if due {
                state.last = Some(now);
            }
            due.then_some(state.progress)
        };
        if let Some(progress) = due {
            (self.told)(Event::Progress(progress));
        }
    }

    /// All is done.
    pub(super) fn end(&self, entries: u64) {
        let progress = {
            let mut state = self.state.lock();
            state.progress.entries = entries;
            state.progress
        };
        (self.told)(Event::Progress(progress));
    }

    pub(super) fn notice(&self, text: impl Into<String>) {
        (self.told)(Event::Notice(text.into()));
    }
}

/// What is read or written through it is told.
pub(super) struct Counted<T> {
    pub(super) inner: T,
    pub(super) teller: Teller,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.teller.add(count as u64);
        Ok(count)
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.teller.add(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
