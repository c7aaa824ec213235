//! Blocking work, each kind with its own share of a bounded pool of threads.
//!
//! The reactor never blocks: what touches a disk, waits for `execve` or walks /proc comes here.
//! The shares keep one kind from starving another: starting programs goes on while every pump
//! is busy. Idle threads end by themselves (tokio's blocking pool keeps them for ten seconds).

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::core::limits::{FILE_JOBS_AT_ONCE, PUMPS_AT_ONCE, SCANS_AT_ONCE, SPAWNS_AT_ONCE};

/// A handle to the pool; clones share it.
#[derive(Clone)]
pub struct Work(Arc<Shares>);

struct Shares {
    spawns: Semaphore,
    pumps: Semaphore,
    files: Semaphore,
    scans: Semaphore,
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
}

impl Work {
    /// A pool with the shares of `core::limits`.
    pub fn new() -> Self {
        Self(Arc::new(Shares {
            spawns: Semaphore::new(SPAWNS_AT_ONCE),
            pumps: Semaphore::new(PUMPS_AT_ONCE),
            files: Semaphore::new(FILE_JOBS_AT_ONCE),
            scans: Semaphore::new(SCANS_AT_ONCE),
        }))
    }

    /// Runs `job` on a thread of its share and returns its value.
    ///
    /// Dropping the future before the job began cancels it; a job that began runs to its end
    /// and keeps its place until then.
    pub async fn run<T, F>(&self, share: Share, job: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let shares = self.0.clone();
        let permit = match share {
            Share::Spawn => &shares.spawns,
            Share::Pump => &shares.pumps,
            Share::File => &shares.files,
            Share::Scan => &shares.scans,
        };
        let permit = permit.acquire().await.expect("the semaphores are never closed");
        permit.forget();
        let done = tokio::task::spawn_blocking(move || {
            let _place = Place { shares, share };
            job()
        });
        done.await.expect("a job neither panics nor is aborted")
    }
}

impl Default for Work {
    fn default() -> Self {
        Self::new()
    }
}

/// Gives a job's place back when the job ends, also when it panics.
struct Place {
    shares: Arc<Shares>,
    share: Share,
}

impl Drop for Place {
    fn drop(&mut self) {
        let share = match self.share {
            Share::Spawn => &self.shares.spawns,
            Share::Pump => &self.shares.pumps,
            Share::File => &self.shares.files,
            Share::Scan => &self.shares.scans,
        };
        share.add_permits(1);
    }
}
