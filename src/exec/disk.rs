//! The directory of one agent's spool files: its lock, its files, and the space left beside them.
//!
//! `<state-dir>/spools/<random>/` belongs to one agent, which holds a lock (flock(2)) on it as
//! long as it lives; a directory that nobody holds is a dead agent's and is removed. Files are
//! named by number and opened at need. Everything here may block: it is called on threads of
//! [`Work`], or at the start.

use std::{
    fs, io,
    io::IoSlice,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::{
    fs::{AtFlags, FallocateFlags, FlockOperation, Mode, OFlags},
    io::Errno,
};

use crate::{
    core::limits::DISK_LOOK_BYTES,
    os::{
        cached,
        work::{Share, Work},
    },
};

/// What must stay free on the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskFree {
    /// This many bytes …
    pub bytes: u64,
    /// … and this much of its size, in percent.
    pub percent: u64,
}

/// One agent's directory.
pub(super) struct Disk {
    path: PathBuf,
    /// Open and locked as long as the agent lives.
    dir: OwnedFd,
    free: DiskFree,
    /// Bytes that may be written before the next look at the file system.
    left: Mutex<u64>,
    work: Work,
}

/// What kind of place a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    /// Pages can be written back and reclaimed.
    Disk,
    /// Every byte stays in memory.
    Memory,
}

/// Tells whether files in `path` would really be memory.
pub(super) fn medium(path: &Path) -> io::Result<Medium> {
    fs::create_dir_all(path)?;
    let dir = open_dir(path)?;
    let memory = [libc::TMPFS_MAGIC, RAMFS_MAGIC];
    let kind = rustix::fs::fstatfs(&dir)?.f_type;
    Ok(if memory.contains(&kind) { Medium::Memory } else { Medium::Disk })
}

const RAMFS_MAGIC: libc::c_long = 0x8584_58f6;
/// How often a fresh name is tried: each failure means that another agent removed our directory
/// between making and locking it.
const NAMES_TRIED_MAX: usize = 8;

impl Disk {
    /// Makes and locks a directory of our own beneath `path`, and begins to remove dead ones.
    pub(super) fn open(path: &Path, free: DiskFree, work: Work) -> io::Result<Arc<Self>> {
        let all = path.join("spools");
        fs::create_dir_all(&all)?;
        let dead = dead_dirs(&all)?;
        let mut made = Err(io::ErrorKind::AlreadyExists.into());
        for _ in 0..NAMES_TRIED_MAX {
            made = own_dir(&all);
            if made.is_ok() {
                break;
            }
        }
        let (path, dir) = made?;
        let disk = Arc::new(Self { path, dir, free, left: Mutex::new(0), work });
        disk.later(move || dead.into_iter().for_each(|(path, _lock)| remove(&path)));
        Ok(disk)
    }

    /// Takes `bytes` of what may be written; false if the file system would become too full.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let mut left = self.left.lock();
        if *left < bytes {
            *left = self.look().unwrap_or(0).min(DISK_LOOK_BYTES.max(bytes));
        }
        let enough = *left >= bytes;
        *left = left.saturating_sub(if enough { bytes } else { 0 });
        enough
    }

    /// How many bytes may be written.
    pub(super) fn look(&self) -> io::Result<u64> {
        let seen = rustix::fs::fstatvfs(&self.dir)?;
        let size = seen.f_blocks.saturating_mul(seen.f_frsize);
        let floor = self.free.bytes.max(size / 100 * self.free.percent);
        Ok(seen.f_bavail.saturating_mul(seen.f_frsize).saturating_sub(floor))
    }

    /// Removes the directory and all in it; what is open stays readable.
    pub(super) fn remove(&self) {
        remove(&self.path);
    }

    /// Runs `job` on a thread where there is a runtime to get one from, else here.
    fn later(&self, job: impl FnOnce() + Send + 'static) {
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                let work = self.work.clone();
                runtime.spawn(async move { work.run(Share::File, job).await });
            }
            Err(_) => job(),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.remove();
    }
}

fn open_dir(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn own_dir(all: &Path) -> io::Result<(PathBuf, OwnedFd)> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let path = all.join(format!("{:016x}", u64::from_ne_bytes(random)));
    rustix::fs::mkdir(&path, Mode::RWXU)?;
    let dir = open_dir(&path)?;
    // Without locks nobody finds it unlocked either: it is safe, and left behind at the end.
    if let Err(Errno::WOULDBLOCK) =
        rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive)
    {
        return Err(Errno::WOULDBLOCK.into());
    }
    match rustix::fs::fstat(&dir)?.st_nlink {
        0 => Err(io::ErrorKind::NotFound.into()),
        _ => Ok((path, dir)),
    }
}

/// The directories that no agent holds, each with its lock.
fn dead_dirs(all: &Path) -> io::Result<Vec<(PathBuf, OwnedFd)>> {
    let mut dead = Vec::new();
    for entry in fs::read_dir(all)? {
        let path = entry?.path();
        let Ok(dir) = open_dir(&path) else { continue };
        if rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
            dead.push((path, dir));
        }
    }
    Ok(dead)
}

fn remove(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("ignoring spool files that cannot be removed in {path:?}: {error}");
        }
        Ok(()) | Err(_) => {}
    }
}

/// The file of one spool. The bytes of a stream stand in it at their own offsets. It is deleted
/// when the last user lets go of this.
pub(super) struct SpoolFile {
    disk: Arc<Disk>,
    name: String,
    /// Upgrades while somebody uses the file: a quiet stream costs no descriptor.
    handle: Mutex<Weak<OwnedFd>>,
    /// Held while bytes are written or given back, so that cutting the file off never meets a
    /// write. Taken before the spool's own lock, never after. Bytes below the number are given
    /// back already.
    turn: Mutex<u64>,
}

/// Whether the file system gave space back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GivenBack {
    /// It did, or will with the next larger piece.
    Yes,
    /// It cannot make holes, and bytes that are still kept stand in the file.
    OnlyWhole,
}

impl SpoolFile {
    /// Makes the file.
    pub(super) fn create(disk: &Arc<Disk>, number: u64) -> io::Result<(Arc<Self>, Arc<OwnedFd>)> {
        let name = format!("{number:x}");
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = Arc::new(rustix::fs::openat(&disk.dir, &name, flags, Mode::RUSR | Mode::WUSR)?);
        let handle = Mutex::new(Arc::downgrade(&fd));
        Ok((Arc::new(Self { disk: disk.clone(), name, handle, turn: Mutex::new(0) }), fd))
    }

    /// Opens the file, or shares the descriptor of others who have it open.
    pub(super) fn open(&self) -> io::Result<Arc<OwnedFd>> {
        let mut handle = self.handle.lock();
        if let Some(fd) = handle.upgrade() {
            return Ok(fd);
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = Arc::new(rustix::fs::openat(&self.disk.dir, &self.name, flags, Mode::empty())?);
        *handle = Arc::downgrade(&fd);
        Ok(fd)
    }

    /// The same as [`SpoolFile::open`] where nobody has to wait for it.
    pub(super) fn open_now(&self) -> Option<Arc<OwnedFd>> {
        // Whoever holds it may wait for the disk.
        let mut handle = self.handle.try_lock()?;
        if let Some(fd) = handle.upgrade() {
            return Some(fd);
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = Arc::new(cached::open(&self.disk.dir, &self.name, flags).ok()?);
        *handle = Arc::downgrade(&fd);
        Some(fd)
    }

    /// Whether somebody has the file open.
    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        self.handle.lock().upgrade().is_some()
    }

    /// Writes `batch` at `offset`, then calls `written`, which must record it.
    pub(super) fn write(
        &self,
        fd: &OwnedFd,
        offset: u64,
        batch: &[Bytes],
        written: impl FnOnce(),
    ) -> io::Result<()> {
        let _turn = self.turn.lock();
        let mut pieces: Vec<_> = batch.iter().map(|piece| IoSlice::new(piece)).collect();
        let (mut rest, mut at) = (&mut pieces[..], offset);
        while !rest.is_empty() {
            match rustix::io::pwritev(fd, rest, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    at += n as u64;
                    IoSlice::advance_slices(&mut rest, n);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        written();
        Ok(())
    }

    /// Reads up to `bytes_max` bytes at `offset`. What was dropped meanwhile reads as zeros: the
    /// caller must look at the spool's first offset afterwards.
    pub(super) fn read(fd: &OwnedFd, offset: u64, into: &mut Vec<u8>) -> io::Result<()> {
        while into.len() < into.capacity() {
            let at = offset + into.len() as u64;
            match rustix::io::pread(fd, rustix::buffer::spare_capacity(into), at) {
                Ok(0) => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads up to `bytes_max` bytes at `offset` as far as nobody has to wait for them; whether any came.
    pub(super) fn read_now(
        fd: &OwnedFd,
        offset: u64,
        into: &mut Vec<u8>,
        bytes_max: usize,
    ) -> bool {
        cached::read(fd, offset, into, bytes_max).is_ok_and(|count| count > 0)
    }

    /// Gives the space of dropped bytes back. `extent` tells the first kept offset and the end
    /// of what is written; it is asked once no write is under way.
    pub(super) fn give_back(&self, extent: impl FnOnce() -> (u64, u64)) -> GivenBack {
        let mut turn = self.turn.lock();
        let (first, written) = extent();
        let until = first & !(BLOCK_BYTES - 1);
        let Ok(fd) = self.open() else { return GivenBack::Yes };
        if first >= written {
            let _ = rustix::fs::ftruncate(&fd, 0);
            *turn = until;
            return GivenBack::Yes;
        }
        if until <= *turn {
            return GivenBack::Yes;
        }
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&fd, hole, *turn, until - *turn) {
            Ok(()) => {
                *turn = until;
                GivenBack::Yes
            }
            Err(_) => GivenBack::OnlyWhole,
        }
    }
}

/// Holes are made in multiples of this, which no common file system's block exceeds.
const BLOCK_BYTES: u64 = 64 << 10;

impl Drop for SpoolFile {
    fn drop(&mut self) {
        let (disk, name) = (self.disk.clone(), std::mem::take(&mut self.name));
        // A large file takes long to delete.
        self.disk.later(move || {
            if let Err(error) = rustix::fs::unlinkat(&disk.dir, &name, AtFlags::empty()) {
                tracing::warn!("ignoring a spool file that cannot be deleted: {error}");
            }
        });
    }
}
