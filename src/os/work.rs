//! Blocking work, each kind with its own share of a bounded pool of threads.
//!
//! The reactor never blocks: what touches a disk, waits for `execve` or walks /proc comes here.
//! The shares keep one kind from starving another: starting programs goes on while every pump
//! is busy. Idle threads end by themselves (tokio's blocking pool keeps them for ten seconds).
//!
//! A thread that has done a job takes the next one of its share itself. To go through the
//! reactor for it, as a semaphore would, costs two wakes a job: with many starts at once, a
//! tenth of what a start costs.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::core::limits::{
    FILE_JOBS_AT_ONCE, IMAGE_JOBS_AT_ONCE, PUMPS_AT_ONCE, SCANS_AT_ONCE, SCREENS_AT_ONCE,
    SPAWNS_AT_ONCE,
};

/// A handle to the pool; clones share it.
#[derive(Clone)]
pub struct Work(Arc<Shares>);

struct Shares {
    spawns: Queue,
    pumps: Queue,
    files: Queue,
    scans: Queue,
    screens: Queue,
    images: Queue,
}

/// What a piece of blocking work is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Starting a program.
    Spawn,
    /// Moving a busy stream into its spool.
    Pump,
    /// Other reads and writes of files.
    File,
    /// Walking /proc, sweeping a tree.
    Scan,
    /// Taking a terminal's output in.
    Screen,
    /// Packing, unpacking and mounting images. One job may wait for another that runs, never for one
    /// that has not begun.
    Image,
}

type Job = Box<dyn FnOnce() + Send>;

/// The jobs of one share.
struct Queue {
    /// How many threads it may have.
    threads_max: usize,
    /// Held for a few steps; never while a job runs or is dropped.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Jobs that have not begun, by ticket: the lowest is next.
    waiting: BTreeMap<u64, Job>,
    next_ticket: u64,
    threads: usize,
}

impl Work {
    /// A pool with the shares of `core::limits`.
    pub fn new() -> Self {
        Self(Arc::new(Shares {
            spawns: Queue::new(SPAWNS_AT_ONCE),
            pumps: Queue::new(PUMPS_AT_ONCE),
            files: Queue::new(FILE_JOBS_AT_ONCE),
            scans: Queue::new(SCANS_AT_ONCE),
            screens: Queue::new(SCREENS_AT_ONCE),
            images: Queue::new(IMAGE_JOBS_AT_ONCE),
        }))
    }

    /// Runs `job` on a thread of its share, in the order of the calls, and returns its value.
    ///
    /// Dropping the future before the job began cancels it; a job that began runs to its end
    /// and keeps its place until then.
    pub async fn run<T, F>(&self, share: Share, job: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let job = Box::new(move || {
            // Nobody may listen any more.
            let _ = tell.send(job());
        });
        let _ticket = self.push(share, job);
        told.await.expect("a job neither panics nor is aborted")
    }

    fn push(&self, share: Share, job: Job) -> Ticket<'_> {
        let queue = self.0.queue(share);
        let (number, needs_thread) = {
            let mut state = queue.state.lock();
            let number = state.next_ticket;
            state.next_ticket += 1;
            state.waiting.insert(number, job);
            let needs_thread = state.threads < queue.threads_max;
            state.threads += usize::from(needs_thread);
            (number, needs_thread)
        };
        if needs_thread {
            Worker { shares: self.0.clone(), share }.spawn();
        }
        Ticket { queue, number }
    }
}

impl Default for Work {
    fn default() -> Self {
        Self::new()
    }
}

impl Shares {
    fn queue(&self, share: Share) -> &Queue {
        match share {
            Share::Spawn => &self.spawns,
            Share::Pump => &self.pumps,
            Share::File => &self.files,
            Share::Scan => &self.scans,
            Share::Screen => &self.screens,
            Share::Image => &self.images,
        }
    }
}

impl Queue {
    fn new(threads_max: usize) -> Self {
        Self { threads_max, state: Mutex::default() }
    }
}

/// A job's place in the queue; dropping it takes the job out, if it has not begun.
struct Ticket<'a> {
    queue: &'a Queue,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let job = self.queue.state.lock().waiting.remove(&self.number);
        // Outside of the lock.
        drop(job);
    }
}

/// A thread's place in its share, which is given back when the thread leaves, also by a panic.
struct Worker {
    shares: Arc<Shares>,
    share: Share,
}

impl Worker {
    fn spawn(self) {
        tokio::task::spawn_blocking(move || {
            while let Some(job) = self.next() {
                job();
            }
        });
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.shares.queue(self.share).state.lock();
        state.waiting.pop_first().map(|(_, job)| job)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let mut state = self.shares.queue(self.share).state.lock();
        // A job that came since the last look found all places taken.
        if state.waiting.is_empty() {
            state.threads -= 1;
            return;
        }
        drop(state);
        let successor = Self { shares: self.shares.clone(), share: self.share };
        successor.spawn();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    /// A job that tells when it runs, and runs until it is let go.
    fn held(work: &Work) -> (tokio::task::JoinHandle<()>, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (tell, told) = mpsc::channel();
        let (let_go, wait) = mpsc::channel::<()>();
        let work = work.clone();
        let job = tokio::spawn(async move {
            let job = move || {
                tell.send(()).unwrap();
                let _ = wait.recv();
            };
            work.run(Share::Scan, job).await;
        });
        (job, told, let_go)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_share_has_its_threads_and_no_more_and_loses_no_job() {
        let work = Work::new();
        let running: Vec<_> = (0..SCANS_AT_ONCE).map(|_| held(&work)).collect();
        running.iter().for_each(|(_, told, _)| told.recv().unwrap());
        let (late, told, let_go) = held(&work);
        // Another share is not held up.
        assert_eq!(work.run(Share::File, || 7).await, 7);
        assert!(told.try_recv().is_err());
        for (job, _, let_go) in running {
            drop(let_go);
            job.await.unwrap();
        }
        told.recv().unwrap();
        drop(let_go);
        late.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_nobody_waits_for_does_not_begin() {
        let work = Work::new();
        let running: Vec<_> = (0..SCANS_AT_ONCE).map(|_| held(&work)).collect();
        running.iter().for_each(|(_, told, _)| told.recv().unwrap());
        let begun = Arc::new(AtomicUsize::new(0));
        let count = begun.clone();
        let unwanted = work.run(Share::Scan, move || count.fetch_add(1, Ordering::SeqCst));
        assert!(tokio::time::timeout(std::time::Duration::ZERO, unwanted).await.is_err());
        // Its closure is gone at once, not when a thread comes to it.
        assert_eq!(Arc::strong_count(&begun), 1);
        for (job, _, let_go) in running {
            drop(let_go);
            job.await.unwrap();
        }
        work.run(Share::Scan, || ()).await;
        assert_eq!(begun.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_job_that_panics_takes_no_place_with_it() {
        let work = Work::new();
        for _ in 0..2 * SCANS_AT_ONCE {
            let work = work.clone();
            let failed = tokio::spawn(async move { work.run(Share::Scan, || panic!("so")).await });
            assert!(failed.await.is_err());
        }
        assert_eq!(work.run(Share::Scan, || 3).await, 3);
    }
}
