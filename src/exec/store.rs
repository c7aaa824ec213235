//! What all spools share: where their files stand, how much they may keep, and the buffers that
//! pumps and readers borrow.
//!
//! It never looks into a stream; `super::room` decides who drops what when it is full.

use std::{
    collections::HashMap,
    fmt, io,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use super::disk::DiskFree;
use super::{
    disk::{Disk, Medium, medium},
    spool::Spool,
};
use crate::{
    core::limits::{
        BUFFERS_IDLE_MAX, CHUNK_BYTES, DISK_FREE_BYTES, DISK_FREE_PERCENT, MIB, READ_AHEAD_BYTES,
        READ_AHEADS_IDLE_MAX, READ_AHEADS_MAX, SPOOL_MEMORY_BYTES, SPOOL_STREAM_BYTES,
        SPOOL_TOTAL_BYTES,
    },
    os::work::Work,
};

/// How much output is kept, and where.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The state directory; without one, everything is kept in memory.
    pub dir: Option<PathBuf>,
    /// The most bytes kept of one stream.
    pub stream_max: u64,
    /// The most bytes kept of all streams.
    pub total_max: u64,
    /// The most of them in memory; where there is no disk, the most of all.
    pub memory_max: u64,
    /// What happens then.
    pub full: Full,
    /// What must stay free on the state directory's file system.
    pub disk_free: DiskFree,
    /// What a state directory on a tmpfs is good for.
    pub tmpfs: Tmpfs,
    /// How files are read.
    pub reads: Reads,
}

/// How files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// By whoever needs the bytes, where the kernel has them in memory; else on threads of the pool.
    AtOnce,
    /// Always on threads of the pool.
    OnThreads,
}

/// What a full spool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// It drops its oldest bytes.
    DropOldest,
    /// It drops only what some reader has had; else the process that writes waits.
    Block,
}

/// What a state directory on a tmpfs is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tmpfs {
    /// Nothing: its bytes are memory that cannot be reclaimed, so memory limits apply.
    AsMemory,
    /// As good as a disk (for tests of a full one).
    AsDisk,
}

/// All spools of an agent.
pub struct Store {
    pub(super) limits: Limits,
    pub(super) disk: Option<Arc<Disk>>,
    pub(super) work: Work,
    /// Memory held by all spools, in bytes.
    pub(super) memory: AtomicU64,
    /// Bytes kept by all spools, wherever.
    pub(super) kept: AtomicU64,
    /// Memory held by the screens of all terminals, in bytes.
    pub(super) screens: AtomicU64,
    /// Pumps that wait for a thread.
    pub(super) waiting: AtomicUsize,
    /// Counts the times that room was made, so that blocked pumps look again.
    pub(super) freed: watch::Sender<u64>,
    numbers: AtomicU64,
    /// The spools that keep enough to be worth asking for room, by number.
    big: Mutex<HashMap<u64, Weak<Spool>>>,
    /// Buffers of [`CHUNK_BYTES`] that nobody uses; at most [`BUFFERS_IDLE_MAX`].
    buffers: Mutex<Vec<Vec<u8>>>,
    /// Pieces of [`READ_AHEAD_BYTES`] that readers hold; at most [`READ_AHEADS_MAX`].
    aheads: AtomicUsize,
    /// Such pieces that nobody holds, at most [`READ_AHEADS_IDLE_MAX`]: fresh memory costs a fault a page.
    idle_aheads: Mutex<Vec<Vec<u8>>>,
    warned: AtomicBool,
}

/// The numbers of a [`StoreConfig`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) stream_max: u64,
    pub(super) total_max: u64,
    pub(super) memory_max: u64,
    pub(super) full: Full,
    pub(super) reads: Reads,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            dir: None,
            stream_max: SPOOL_STREAM_BYTES,
            total_max: SPOOL_TOTAL_BYTES,
            memory_max: SPOOL_MEMORY_BYTES,
            full: Full::DropOldest,
            disk_free: DiskFree { bytes: DISK_FREE_BYTES, percent: DISK_FREE_PERCENT },
            tmpfs: Tmpfs::AsMemory,
            reads: Reads::AtOnce,
        }
    }
}

impl Store {
    /// Opens the store. The notices, if any, say why less is kept than was configured; they are
    /// for the operator and belong on the start line.
    pub fn open(config: &StoreConfig, work: Work) -> (Arc<Self>, Vec<String>) {
        let mut notices = Vec::new();
        let disk = match open_disk(config, &work) {
            Ok(disk) => Some(disk),
            Err(why) => {
                let most = config.memory_max / MIB;
                notices.push(format!("output is kept in memory only, at most {most} MiB: {why}"));
                None
            }
        };
        if let Some(Ok(0)) = disk.as_ref().map(|disk| disk.look()) {
            notices.push(
                "the state directory's file system is too full to keep output there".to_string(),
            );
        }
        let limits = Limits {
            stream_max: config.stream_max,
            total_max: config.total_max,
            memory_max: config.memory_max,
            full: config.full,
            reads: config.reads,
        };
        let store = Arc::new(Self {
            limits,
            disk,
            work,
            memory: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            screens: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            freed: watch::Sender::new(0),
            numbers: AtomicU64::new(0),
            big: Mutex::default(),
            buffers: Mutex::default(),
            aheads: AtomicUsize::new(0),
            idle_aheads: Mutex::default(),
            warned: AtomicBool::new(false),
        });
        (store, notices)
    }

    /// A spool of which nothing has come.
    pub fn spool(self: &Arc<Self>) -> Arc<Spool> {
        Arc::new(Spool::new(self.clone(), self.numbers.fetch_add(1, Relaxed)))
    }

    /// An empty spool that is at its end, for a stream that is not there.
    pub fn ended_spool(self: &Arc<Self>) -> Arc<Spool> {
        let spool = self.spool();
        spool.close();
        spool
    }

    /// Bytes kept of all streams.
    pub fn kept_bytes(&self) -> u64 {
        self.kept.load(Relaxed)
    }

    /// Memory held by all streams, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.load(Relaxed)
    }

    /// Bytes that stand in files.
    pub fn disk_bytes(&self) -> u64 {
        // Whatever has a file keeps enough to be asked for room.
        self.big_spools().iter().map(|spool| spool.disk_bytes()).sum()
    }

    /// Whether output can be kept in files.
    pub fn has_files(&self) -> bool {
        self.disk.is_some()
    }

    /// Deletes all files: for the agent's end. Blocks. Readers that have a file open go on.
    pub fn remove(&self) {
        if let Some(disk) = &self.disk {
            disk.remove();
        }
    }

    pub(super) fn register(&self, number: u64, spool: Weak<Spool>) {
        self.big.lock().insert(number, spool);
    }

    pub(super) fn forget(&self, number: u64) {
        self.big.lock().remove(&number);
    }

    /// The spools that may be asked to drop something. The lock is not held while they are
    /// looked at, or let go of: dropping the last reference comes back to [`Store::forget`].
    pub(super) fn big_spools(&self) -> Vec<Arc<Spool>> {
        self.big.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// An empty buffer with room for [`CHUNK_BYTES`].
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.buffers.lock().pop().unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES))
    }

    /// Takes a buffer back.
    pub(super) fn put_back(&self, mut buffer: Vec<u8>) {
        let mut buffers = self.buffers.lock();
        if buffer.capacity() == CHUNK_BYTES && buffers.len() < BUFFERS_IDLE_MAX {
            buffer.clear();
            buffers.push(buffer);
        }
    }

    /// Takes the buffer of a segment back, if no reader has it.
    pub(super) fn recycle(&self, segment: Bytes) {
        if segment.len() >= CHUNK_BYTES / 2 && segment.is_unique() {
            self.put_back(segment.into());
        }
    }

    /// Tells pumps that wait for room to look again.
    pub(super) fn tell_freed(&self) {
        if self.freed.receiver_count() > 0 {
            self.freed.send_modify(|count| *count += 1);
        }
    }

    /// Says once that the disk does not work.
    pub(super) fn warn_broken(&self, error: &io::Error) {
        if !self.warned.swap(true, Relaxed) {
            tracing::warn!("ignoring that spool files cannot be written, keeping less: {error}");
        }
    }

    /// A piece of memory to read ahead into, if one is free.
    pub(super) fn ahead(self: &Arc<Self>) -> Option<Ahead> {
        let more = |held| (held < READ_AHEADS_MAX).then_some(held + 1);
        self.aheads.fetch_update(Relaxed, Relaxed, more).ok()?;
        let idle = self.idle_aheads.lock().pop();
        let bytes = idle.unwrap_or_else(|| Vec::with_capacity(READ_AHEAD_BYTES));
        Some(Ahead { bytes, store: self.clone() })
    }
}

fn open_disk(config: &StoreConfig, work: &Work) -> Result<Arc<Disk>, String> {
    let path = config.dir.as_ref().ok_or("there is no state directory")?;
    let why = |error| format!("state directory {path:?} is not writable: {error}");
    match (medium(path).map_err(why)?, config.tmpfs) {
        (Medium::Memory, Tmpfs::AsMemory) => Err(format!("state directory {path:?} is a tmpfs")),
        (Medium::Disk, Tmpfs::AsMemory | Tmpfs::AsDisk) | (Medium::Memory, Tmpfs::AsDisk) => {
            Disk::open(path, config.disk_free, work.clone()).map_err(why)
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kept, memory) = (self.kept_bytes(), self.memory_bytes());
        f.debug_struct("Store").field("kept", &kept).field("memory", &memory).finish()
    }
}

/// Memory that a reader reads ahead into; counted until nobody holds a byte of it.
pub(super) struct Ahead {
    pub(super) bytes: Vec<u8>,
    store: Arc<Store>,
}

impl AsRef<[u8]> for Ahead {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.store.aheads.fetch_sub(1, Relaxed);
        let mut idle = self.store.idle_aheads.lock();
        if idle.len() < READ_AHEADS_IDLE_MAX {
            self.bytes.clear();
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}
