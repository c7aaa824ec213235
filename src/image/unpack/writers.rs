//! Threads that fill small files while the next entries are read.
//!
//! A file exists, under its name, before it comes here. Nobody waits for it to be filled but the end.

use std::{collections::VecDeque, os::fd::OwnedFd};

use parking_lot::{Condvar, Mutex};

use super::{
    UnpackError,
    error::shown,
    fill::Filling,
    give::{Gift, Withheld},
};
use crate::{
    archive::entry::Sparse,
    core::limits::{IMAGE_WAITING_BYTES_MAX, IMAGE_WAITING_FILES_MAX},
};

/// A file to be filled.
pub(super) struct Job {
    pub(super) file: OwnedFd,
    pub(super) data: Vec<u8>,
    pub(super) sparse: Option<Sparse>,
    pub(super) gift: Gift,
    /// Its name in the archive, for errors.
    pub(super) path: Vec<u8>,
    pub(super) layer: usize,
}

/// Files that wait for threads.
#[derive(Default)]
pub(super) struct Writers {
    queue: Mutex<Queue>,
    /// There is a file, or there will be none.
    work: Condvar,
    /// There is room, or nothing left.
    room: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// What the waiting and the unfinished ones hold.
    bytes: usize,
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
        queue.jobs.clear();
        self.0.work.notify_all();
    }
}

/// One of the files could not be filled; [`Writers::finish`] says which.
pub(super) struct Failed;

impl Writers {
    /// Fills files until there are no more. Runs on each thread.
    pub(super) fn run(&self) {
        let mut queue = self.queue.lock();
        loop {
            let Some(job) = queue.jobs.pop_front() else {
                if queue.closed {
                    return;
                }
                self.work.wait(&mut queue);
                continue;
            };
            queue.unfinished += 1;
            drop(queue);
            let bytes = job.bytes();
            let filled = job.fill();
            queue = self.queue.lock();
            queue.unfinished -= 1;
            queue.bytes -= bytes;
            match filled {
                Ok(withheld) => queue.withheld.add(withheld),
                Err(error) => queue.failed = queue.failed.take().or(Some(error)),
            }
            self.room.notify_one();
        }
    }

    /// Adds a file, when there is room for it.
    pub(super) fn add(&self, job: Job) -> Result<(), Failed> {
        let mut queue = self.queue.lock();
        while queue.failed.is_none()
            && (queue.bytes >= IMAGE_WAITING_BYTES_MAX
                || queue.jobs.len() + queue.unfinished >= IMAGE_WAITING_FILES_MAX)
        {
            self.room.wait(&mut queue);
        }
        if queue.failed.is_some() {
            return Err(Failed);
        }
        queue.bytes += job.bytes();
        queue.jobs.push_back(job);
        self.work.notify_one();
        Ok(())
    }

    /// Waits until all are filled, or one could not be.
    pub(super) fn finish(&self) -> Result<Withheld, UnpackError> {
        let mut queue = self.queue.lock();
        while queue.failed.is_none() && !(queue.jobs.is_empty() && queue.unfinished == 0) {
            self.room.wait(&mut queue);
        }
        queue.failed.take().map_or(Ok(queue.withheld), Err)
    }
}

impl Job {
    fn bytes(&self) -> usize {
        self.data.len()
            + self.gift.bytes()
            + self.path.len()
            + self.sparse.as_ref().map_or(0, |sparse| size_of_val(&sparse.extents[..]))
    }

    fn fill(self) -> Result<Withheld, UnpackError> {
        let mut filling = Filling::new(&self.file, self.sparse.as_ref());
        let filled = filling.add(&self.data).and_then(|()| self.gift.give_filled(filling));
        filled.map_err(|errno| UnpackError::Make {
            layer: self.layer,
            path: shown(&self.path),
            error: errno.into(),
        })
    }
}
