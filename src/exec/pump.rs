//! Moves what a process prints into its spool.
//!
//! ```text
//! quiet: the reactor waits for readiness and copies small pieces into the spool's memory
//!   │ much came within a moment, or a piece needs the disk            ▲
//!   ▼                                                                 │ nothing came for a moment
//! busy: a thread of the pool reads, appends and writes the file ──────┘
//! ```
//!
//! A busy stream gives its thread back after its turn while others wait for one. No byte that
//! was read is ever lost: a spool that may take no more keeps the pump from reading, which makes
//! the process wait.

use std::{
    cell::RefCell,
    io,
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    room::{Balance, Due, balance},
    spool::{Spool, Taken},
    store::Store,
};
use crate::{
    core::limits::{
        BURST, BURST_BYTES, BUSY_WAIT, CHUNK_BYTES, GATHER, PIPE_BYTES, PUMP_TURN_BYTES, ROOM_WAIT,
        VICTIM_BYTES_MIN,
    },
    os::{
        ready::register_shared,
        work::{Share, Work},
    },
};

/// What a pump reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A pipe; it ends with an empty read.
    Pipe,
    /// The master of a terminal; it ends with EIO once no process has the terminal open.
    Pty,
}

/// Begins to move everything from `fd` into `spool`, which is closed at the end of file. Must be
/// called on the reactor. The pump goes on by itself until then.
pub fn start(fd: Arc<OwnedFd>, source: Source, spool: Arc<Spool>, work: Work) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    let registered = register(&fd)?;
    let stream = Stream { fd, source, spool, work };
    tokio::spawn(stream.run(registered));
    Ok(())
}

type Registered = AsyncFd<Arc<OwnedFd>>;

fn register(fd: &Arc<OwnedFd>) -> io::Result<Registered> {
    register_shared(fd, Interest::READABLE)
}

thread_local! {
    /// Where the reactor reads into: one for all quiet streams.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK_BYTES]);
}

/// A stream on its way into its spool.
struct Stream {
    fd: Arc<OwnedFd>,
    source: Source,
    spool: Arc<Spool>,
    work: Work,
}

impl Stream {
    async fn run(self, registered: Registered) {
        let mut registered = Some(registered);
        loop {
            let mut first = Vec::new();
            if let Some(registered) = registered.take() {
                match self.quiet(&registered).await {
                    Quiet::Busy(piece) => first = piece,
                    Quiet::End => break,
                }
            }
            // No registration while a thread reads: each write would wake the reactor in vain.
            match self.busy(first).await {
                Busy::Quiet => {}
                Busy::End => break,
            }
            match register(&self.fd) {
                Ok(again) => registered = Some(again),
                Err(error) => {
                    tracing::warn!("ignoring that a stream cannot be watched for now: {error}");
                    tokio::time::sleep(ROOM_WAIT).await;
                }
            }
        }
        let Self { fd, source: _, spool, work } = self;
        drop(fd);
        spool.close();
        finish(&spool, &work).await;
    }

    /// Takes small pieces as they come.
    async fn quiet(&self, fd: &Registered) -> Quiet {
        let (mut since, mut burst) = (Instant::now(), 0);
        loop {
            let mut ready = match fd.readable().await {
                Ok(ready) => ready,
                // Only at the end of the runtime; a thread finds the pipe's own end.
                Err(_) => return Quiet::Busy(Vec::new()),
            };
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let n = rustix::io::read(fd.get_ref(), &mut scratch[..])?;
                let piece = &scratch[..n];
                if n == 0 {
                    return Ok((0, None));
                }
                Ok(match self.spool.try_append(piece) {
                    Taken::Yes => (n, None),
                    Taken::NeedsWork => (n, Some(piece.to_vec())),
                })
            });
            match read {
                Ok((0, _)) => return Quiet::End,
                Ok((_, Some(piece))) => return Quiet::Busy(piece),
                Ok((n, None)) => burst += n,
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => {
                    report(self.source, error);
                    return Quiet::End;
                }
            }
            if since.elapsed() > BURST {
                (since, burst) = (Instant::now(), 0);
            }
            if burst >= BURST_BYTES {
                return Quiet::Busy(Vec::new());
            }
        }
    }

    /// Has threads take turns at the stream until it is quiet again.
    async fn busy(&self, first: Vec<u8>) -> Busy {
        let store = self.spool.store().clone();
        let mut freed = store.freed.subscribe();
        let mut first = Some(first);
        loop {
            freed.borrow_and_update();
            let waiting = Waiting::new(&store);
            let (fd, source, spool) = (self.fd.clone(), self.source, self.spool.clone());
            let first = first.take();
            let turn = move || {
                drop(waiting);
                Turn::new(fd, source, spool).take(first)
            };
            match self.work.run(Share::Pump, turn).await {
                TurnEnd::Again => self.widen(),
                TurnEnd::Quiet => return Busy::Quiet,
                TurnEnd::End => return Busy::End,
                TurnEnd::Full => {
                    tokio::select! {
                        _ = freed.changed() => {}
                        () = tokio::time::sleep(ROOM_WAIT) => {}
                    }
                }
            }
        }
    }

    /// Gives a stream of much output a larger pipe. Where that is refused, it works as it is.
    fn widen(&self) {
        match self.source {
            Source::Pipe => drop(rustix::pipe::fcntl_setpipe_size(&*self.fd, PIPE_BYTES)),
            Source::Pty => {}
        }
    }
}

enum Quiet {
    /// The stream needs a thread, and this piece of it was read already.
    Busy(Vec<u8>),
    End,
}

enum Busy {
    Quiet,
    End,
}

/// An error ends a stream; that of a terminal always ends with one.
fn report(source: Source, error: Errno) {
    match (source, error) {
        (Source::Pty, Errno::IO) => {}
        (Source::Pty | Source::Pipe, error) => {
            tracing::warn!("ignoring an error that ended a stream: {error}");
        }
    }
}

/// Counts a pump that waits for a thread.
struct Waiting(Arc<Store>);

impl Waiting {
    fn new(store: &Arc<Store>) -> Self {
        store.waiting.fetch_add(1, Relaxed);
        Self(store.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TurnEnd {
    /// There is more; others had to wait.
    Again,
    /// Nothing came for a moment.
    Quiet,
    /// The spool may take no more.
    Full,
    /// End of file.
    End,
}

/// A thread's turn at a busy stream.
struct Turn {
    fd: Arc<OwnedFd>,
    source: Source,
    spool: Arc<Spool>,
    /// The spool's file, once it was needed.
    open: Option<Arc<OwnedFd>>,
    /// Bytes that were read and not yet appended.
    buffer: Vec<u8>,
    /// When the first of them came.
    since: Instant,
    moved_bytes: usize,
}

impl Turn {
    fn new(fd: Arc<OwnedFd>, source: Source, spool: Arc<Spool>) -> Self {
        let buffer = spool.store().buffer();
        Self { fd, source, spool, open: None, buffer, since: Instant::now(), moved_bytes: 0 }
    }

    fn take(mut self, first: Option<Vec<u8>>) -> TurnEnd {
        if let Some(first) = first.filter(|first| !first.is_empty()) {
            self.buffer.extend_from_slice(&first);
        }
        let mut end = self.append(Due::Excess);
        while end.is_none() {
            end = self.step();
        }
        // What was read is appended whatever the reason; a full spool takes it in memory.
        let full = self.append(Due::Most);
        self.spool.change(|state| state.compact());
        self.spool.store().put_back(self.buffer);
        match (end, full) {
            (Some(TurnEnd::Again | TurnEnd::Quiet), Some(full)) => full,
            (Some(end), _) => end,
            (None, _) => TurnEnd::Again,
        }
    }

    /// Reads once, and does what follows from it.
    fn step(&mut self) -> Option<TurnEnd> {
        if self.buffer.is_empty() {
            self.since = Instant::now();
        }
        let room = self.buffer.capacity() - self.buffer.len();
        let before = self.moved_bytes;
        match rustix::io::read(&self.fd, rustix::buffer::spare_capacity(&mut self.buffer)) {
            Ok(0) => return Some(TurnEnd::End),
            Ok(n) => self.moved_bytes += n,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return self.wait(),
            Err(error) => {
                report(self.source, error);
                return Some(TurnEnd::End);
            }
        }
        if self.buffer.len() >= CHUNK_BYTES / 2
            && let Some(full) = self.append(Due::Excess)
        {
            return Some(full);
        }
        if self.moved_bytes >= PUMP_TURN_BYTES {
            return Some(TurnEnd::Again);
        }
        match self.source {
            // A short read has emptied it: another one at once would mostly be for nothing.
            Source::Pty if self.moved_bytes - before < room => self.wait(),
            Source::Pty | Source::Pipe => None,
        }
    }

    /// Waits for more: shortly while it has something that readers could have.
    fn wait(&mut self) -> Option<TurnEnd> {
        if !self.buffer.is_empty() {
            if self.since.elapsed() < 3 * GATHER && readable_within(&self.fd, GATHER) {
                return None;
            }
            return self.append(Due::Excess);
        }
        let others_wait = self.spool.store().waiting.load(Relaxed) > 0;
        if others_wait || !readable_within(&self.fd, BUSY_WAIT) {
            return Some(TurnEnd::Quiet);
        }
        None
    }

    /// Gives readers what was read, and keeps the spool within its limits.
    fn append(&mut self, due: Due) -> Option<TurnEnd> {
        if !self.buffer.is_empty() {
            let piece = std::mem::take(&mut self.buffer);
            self.buffer = self.spool.append(piece);
        }
        match balance(&self.spool, &mut self.open, due) {
            Balance::Fine => None,
            Balance::Full => Some(TurnEnd::Full),
        }
    }
}

fn readable_within(fd: &OwnedFd, wait: Duration) -> bool {
    let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    // An error is found again, and named, by the read that follows.
    !matches!(rustix::event::poll(&mut fds, Some(&wait)), Ok(0))
}

/// A stream that ended and has a file, or finds the memory half full, moves there whole.
async fn finish(spool: &Arc<Spool>, work: &Work) {
    let store = spool.store();
    let crowded = store.memory_bytes() > store.limits.memory_max / 2;
    let move_out = spool.look(|state| {
        let worth_it = state.file.is_some() || (crowded && state.room() >= VICTIM_BYTES_MIN);
        worth_it && state.room() > 0
    });
    if move_out && store.disk.is_some() {
        let moved = spool.clone();
        let job = move || {
            balance(&moved, &mut None, Due::All);
            moved.change(|state| state.compact());
        };
        work.run(Share::Pump, job).await;
    }
}
