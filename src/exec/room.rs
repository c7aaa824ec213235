//! What a spool does with more than it may keep: it moves bytes from memory to its file, and
//! where there is too little room it makes some.
//!
//! Whoever keeps most drops its oldest bytes first, so that one exec's flood does not cost
//! another its few lines. With [`Full::Block`] only what a reader has had may go, and else the
//! pump waits. All of this may block and runs on a pump's thread.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use rustix::io::Errno;

use super::{
    disk::{Disk, SpoolFile},
    spool::Spool,
    store::{Full, Store},
};
use crate::core::limits::{CHUNK_BYTES, DROP_STEP_BYTES_MAX, DROP_STEP_BYTES_MIN, TAIL_BYTES_MAX};

/// How a spool stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Balance {
    /// Within its limits.
    Fine,
    /// Above them until somebody reads, or frees something: append no more.
    Full,
}

/// Which bytes go to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Those that are too many for memory.
    Excess,
    /// All but a few, because the stream may be quiet for long.
    Most,
    /// All, because the stream is at its end.
    All,
}

/// What there is too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scarce {
    /// The total that may be kept, wherever.
    Total,
    /// Space for files.
    Disk,
    /// Memory, where nothing can be moved to a file.
    Memory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// What was due is in the file.
    Done,
    /// There is no room for it, or no file.
    NoRoom,
    /// Nothing is wrong with the disk; a descriptor is missing.
    Later,
}

/// Most segments written with one call.
const BATCH_MAX: usize = 16;

/// Brings `spool` within all limits as far as that can be done. `open` keeps its file open
/// between calls.
pub(super) fn balance(spool: &Arc<Spool>, open: &mut Option<Arc<OwnedFd>>, due: Due) -> Balance {
    let store = spool.store();
    let within = within_stream_max(spool) && within_total_max(store);
    let written = write_due(spool, open, due);
    let roomy = match written {
        Written::Done => true,
        Written::NoRoom => within_memory_max(store),
        Written::Later => false,
    };
    match (store.limits.full, written) {
        (Full::DropOldest, Written::Done | Written::NoRoom) => Balance::Fine,
        (Full::DropOldest, Written::Later) => Balance::Full,
        (Full::Block, Written::Done | Written::NoRoom | Written::Later) => {
            if within && roomy {
                Balance::Fine
            } else {
                Balance::Full
            }
        }
    }
}

/// Drops what a stream has above its own limit; false if it still has more.
fn within_stream_max(spool: &Arc<Spool>) -> bool {
    let limits = &spool.store().limits;
    let (first, over, until, in_file) = spool.look(|state| {
        let extent = &state.extent;
        let over = extent.kept().saturating_sub(limits.stream_max);
        let in_file = extent.written() > extent.first();
        (extent.first(), over, state.droppable_to(limits.full), in_file)
    });
    if over == 0 {
        return true;
    }
    let amount = if in_file { over.max(step(limits.stream_max)) } else { over };
    let to = (first + amount).min(until);
    if to > first {
        spool.drop_to(to);
    }
    to >= first + over
}

fn within_total_max(store: &Arc<Store>) -> bool {
    loop {
        let over = store.kept.load(Relaxed).saturating_sub(store.limits.total_max);
        if over == 0 {
            return true;
        }
        if !drop_from_biggest(store, Scarce::Total, over) {
            return false;
        }
    }
}

fn within_memory_max(store: &Arc<Store>) -> bool {
    loop {
        let over = store.memory.load(Relaxed).saturating_sub(store.limits.memory_max);
        if over == 0 {
            return true;
        }
        if !drop_from_biggest(store, Scarce::Memory, over) {
            return false;
        }
    }
}

/// Has the spool with most of what is `scarce` drop at least `least` of it, or all of it; false
/// if nobody has any.
fn drop_from_biggest(store: &Arc<Store>, scarce: Scarce, least: u64) -> bool {
    let spools = store.big_spools();
    let droppable = |spool: &Spool| {
        spool.look(|state| {
            let (first, written) = (state.extent.first(), state.extent.written());
            let until = state.droppable_to(store.limits.full);
            let until = match scarce {
                Scarce::Total => until,
                Scarce::Disk => until.min(written),
                Scarce::Memory if written > first => first,
                Scarce::Memory => until,
            };
            (until.saturating_sub(first), first)
        })
    };
    let most = spools.iter().map(|spool| (droppable(spool), spool)).max_by_key(|((n, _), _)| *n);
    let Some(((most, first), spool)) = most.filter(|((most, _), _)| *most > 0) else {
        return false;
    };
    let amount = match scarce {
        Scarce::Total | Scarce::Disk => least.max(step(most)),
        // Memory comes back by whole segments: less than one would be asked for again and again.
        Scarce::Memory => least.max(CHUNK_BYTES as u64),
    };
    spool.drop_to(first + amount.min(most));
    true
}

fn step(kept: u64) -> u64 {
    (kept / 8).clamp(DROP_STEP_BYTES_MIN, DROP_STEP_BYTES_MAX)
}

/// Writes what is due, making room on the disk where needed.
fn write_due(spool: &Arc<Spool>, open: &mut Option<Arc<OwnedFd>>, due: Due) -> Written {
    let store = spool.store();
    loop {
        let bytes = due_bytes(spool, due);
        if bytes == 0 {
            return roomy_after(spool);
        }
        let Some(disk) = &store.disk else { return Written::NoRoom };
        if !disk.take(bytes) {
            if drop_from_biggest(store, Scarce::Disk, bytes) {
                continue;
            }
            return Written::NoRoom;
        }
        let error = match write_batch(spool, disk, open) {
            Ok(()) => continue,
            Err(error) => error,
        };
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => return Written::Later,
            Some(Errno::NOSPC | Errno::DQUOT) if drop_from_biggest(store, Scarce::Disk, bytes) => {}
            Some(Errno::NOSPC | Errno::DQUOT) => return Written::NoRoom,
            Some(_) | None => {
                store.warn_broken(&error);
                return Written::NoRoom;
            }
        }
    }
}

/// How many bytes should go to the file.
fn due_bytes(spool: &Arc<Spool>, due: Due) -> u64 {
    let store = spool.store();
    let crowded = store.memory.load(Relaxed) > store.limits.memory_max;
    spool.look(|state| {
        let dirty = state.dirty();
        let most = match (due, &state.file) {
            (Due::All, _) => 0,
            (Due::Excess | Due::Most, _) if crowded => 0,
            (Due::Most, Some(_)) => CHUNK_BYTES as u64 - 1,
            // Not sooner: writing four chunks at once costs less than one after the other.
            (Due::Excess, _) | (Due::Most, None) => TAIL_BYTES_MAX as u64,
        };
        if dirty > most { dirty } else { 0 }
    })
}

/// Nothing is due; but copies of written bytes may still crowd the memory.
fn roomy_after(spool: &Arc<Spool>) -> Written {
    let store = spool.store();
    if store.memory.load(Relaxed) > store.limits.memory_max {
        spool.change(|state| state.trim_to(state.extent.written(), |_| {}));
    }
    Written::Done
}

fn write_batch(
    spool: &Arc<Spool>,
    disk: &Arc<Disk>,
    open: &mut Option<Arc<OwnedFd>>,
) -> io::Result<()> {
    let file = spool.look(|state| state.file.clone());
    let (file, fd) = match (file, open.take()) {
        (Some(file), Some(fd)) => (file, fd),
        (Some(file), None) => {
            let fd = file.open()?;
            (file, fd)
        }
        (None, _) => {
            let (file, fd) = SpoolFile::create(disk, spool.number())?;
            spool.change(|state| state.file = Some(file.clone()));
            (file, fd)
        }
    };
    let (offset, batch) = spool.change(|state| state.batch(BATCH_MAX));
    let end = offset + batch.iter().map(|piece| piece.len() as u64).sum::<u64>();
    let record = || spool.change(|state| state.extent.write_to(end));
    let wrote = file.write(&fd, offset, &batch, record);
    // The batch holds the segments, which could not be used again.
    drop(batch);
    *open = Some(fd);
    wrote?;
    spool.change(|state| state.trim_written(|segment| spool.store().recycle(segment)));
    Ok(())
}
