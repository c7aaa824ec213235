//! Threads that fill small files while the next entries are read.
//!
//! A file exists, under its name, before it comes here. Nobody waits for it to be filled but the end. Files
//! come in batches, with all their data in one buffer: handing over each one would cost as much as
//! filling it. Batches of a fixed number go round.

use std::{collections::VecDeque, ops::Range, os::fd::OwnedFd};

use parking_lot::{Condvar, Mutex};

use super::{
    UnpackError,
    error::shown,
    fill::Filling,
    give::{Gift, Withheld},
};
use crate::{
    archive::entry::Sparse,
    core::limits::{IMAGE_BATCH_BYTES, IMAGE_BATCH_FILES_MAX, IMAGE_BATCHES},
};

/// A file to be filled.
pub(super) struct Small {
    pub(super) file: OwnedFd,
    /// Where its data is in its batch.
    pub(super) data: Range<usize>,
    pub(super) sparse: Option<Sparse>,
    pub(super) gift: Gift,
    /// Its name in the archive, for errors.
    pub(super) path: Vec<u8>,
    pub(super) layer: usize,
}

/// Files that are filled by one thread, one after the other.
#[derive(Default)]
pub(super) struct Batch {
    /// The data of all of them.
    pub(super) data: Vec<u8>,
    files: Vec<Small>,
    /// What they hold besides their data.
    beside: usize,
}

/// Batches that wait for threads.
#[derive(Default)]
pub(super) struct Writers {
    queue: Mutex<Queue>,
    /// There is a batch, or there will be none.
    work: Condvar,
    /// A batch was done.
    done: Condvar,
}

#[derive(Default)]
struct Queue {
    full: VecDeque<Batch>,
    /// Their buffers are used again.
    empty: Vec<Batch>,
    /// Batches that are not empty, here or with a thread.
    unfinished: usize,
    closed: bool,
    failed: Option<UnpackError>,
    withheld: Withheld,
}

/// Ends the threads when it is dropped, also by a panic.
pub(super) struct Closing<'a>(pub(super) &'a Writers);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.closed = true;
        queue.full.clear();
        self.0.work.notify_all();
    }
}

/// One of the files could not be filled; [`Writers::finish`] says which.
pub(super) struct Failed;

impl Batch {
    /// Adds a file whose data was added.
    pub(super) fn add(&mut self, file: Small) {
        let extents = file.sparse.as_ref().map_or(0, |sparse| size_of_val(&sparse.extents[..]));
        self.beside += file.gift.bytes() + file.path.len() + extents;
        self.files.push(file);
    }

    /// Whether no more files should be added.
    pub(super) fn is_full(&self) -> bool {
        self.data.len() + self.beside >= IMAGE_BATCH_BYTES
            || self.files.len() >= IMAGE_BATCH_FILES_MAX
    }

    fn fill(&mut self) -> Result<Withheld, UnpackError> {
        let mut withheld = Withheld::default();
        for file in self.files.drain(..) {
            withheld.add(file.fill(&self.data)?);
        }
        Ok(withheld)
    }

    fn clear(&mut self) {
        self.data.clear();
        self.files.clear();
        self.beside = 0;
    }
}

impl Writers {
    /// Fills files until there are no more. Runs on each thread.
    pub(super) fn run(&self) {
        let mut queue = self.queue.lock();
        loop {
            let Some(mut batch) = queue.full.pop_front() else {
                if queue.closed {
                    return;
                }
                self.work.wait(&mut queue);
                continue;
            };
            drop(queue);
            let filled = batch.fill();
            batch.clear();
            queue = self.queue.lock();
            queue.unfinished -= 1;
            queue.empty.push(batch);
            match filled {
                Ok(withheld) => queue.withheld.add(withheld),
                Err(error) => queue.failed = queue.failed.take().or(Some(error)),
            }
            self.done.notify_one();
        }
    }

    /// Takes a batch, and leaves an empty one when there is one.
    pub(super) fn take(&self, batch: &mut Batch) -> Result<(), Failed> {
        if batch.files.is_empty() {
            return Ok(());
        }
        let mut queue = self.queue.lock();
        while queue.failed.is_none() && queue.unfinished >= IMAGE_BATCHES {
            self.done.wait(&mut queue);
        }
        if queue.failed.is_some() {
            return Err(Failed);
        }
        queue.unfinished += 1;
        let empty = queue.empty.pop().unwrap_or_default();
        queue.full.push_back(std::mem::replace(batch, empty));
        self.work.notify_one();
        Ok(())
    }

    /// Waits until all are filled, or one could not be.
    pub(super) fn finish(&self) -> Result<Withheld, UnpackError> {
        let mut queue = self.queue.lock();
        while queue.failed.is_none() && queue.unfinished > 0 {
            self.done.wait(&mut queue);
        }
        queue.failed.take().map_or(Ok(queue.withheld), Err)
    }
}

impl Small {
    fn fill(self, data: &[u8]) -> Result<Withheld, UnpackError> {
        let mut filling = Filling::new(&self.file, self.sparse.as_ref());
        let filled = filling.add(&data[self.data]).and_then(|()| self.gift.give_filled(filling));
        filled.map_err(|errno| UnpackError::Make {
            layer: self.layer,
            path: shown(&self.path),
            error: errno.into(),
        })
    }
}
