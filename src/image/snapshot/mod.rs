//! A directory becomes a layer: a tar stream that depends on nothing but what is in the directory.
//!
//! One thread walks in sorted order and lays the stream out (`walk`, `tape`): what a large file will
//! hold is known from its size, so its data is only given a place. Others fill those places and compress
//! (`lanes`); one hashes the stream in order; the caller's thread hashes and writes what was compressed. Every
//! chunk of the stream is compressed by itself, so that the result does not depend on how many threads
//! there were or which one was faster.
//!
//! Nothing that happens in the tree meanwhile breaks the layer: a file that changes while it is read is cut
//! or filled up to the size in its header, and counted. What cannot be kept is counted and named.

mod changes;
mod holes;
mod known;
mod lanes;
mod links;
mod look;
mod names;
mod pack;
mod squeeze;
mod take;
mod tally;
mod tape;
mod walk;

use std::{
    io::{self, Write},
    os::fd::BorrowedFd,
    path::PathBuf,
    sync::atomic::AtomicBool,
};

pub use squeeze::Compression;
pub use take::record_tree;
pub use tally::Counts;

use self::{tally::Told, tape::Tape, walk::Walk};
use super::record::TreeRecord;
pub use crate::archive::Devices;
use crate::core::image::Digest;

/// What of a directory is packed, and how.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotSpec<'a> {
    /// How the layer is compressed.
    pub compression: Compression,
    /// What is done with devices.
    pub devices: Devices,
    /// Paths beneath the directory that are left out with all that is in them.
    pub left_out: &'a [PathBuf],
    /// Paths beneath the directory where something of ours is mounted: what is in it is packed. Every
    /// other mount is packed as an empty directory, and a mounted file is left out.
    pub own_mounts: &'a [PathBuf],
    /// What the directory was like when the layers below were made: only what is different is packed,
    /// with whiteouts for what is gone. Without it everything is packed.
    pub base: Option<&'a TreeRecord>,
    /// Threads that read and compress, besides the one that walks and the one that hashes.
    pub threads: usize,
}

/// A directory that was packed.
#[derive(Debug)]
pub struct PackedTree {
    /// What was written; `None` if nothing is different from the base, and nothing was written.
    pub layer: Option<PackedLayer>,
    /// What the directory is like; `None` if it has more names than a record can hold.
    pub record: Option<TreeRecord>,
    /// What was packed, and what was not.
    pub counts: Counts,
}

/// A layer that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedLayer {
    /// The digest of the tar stream.
    pub diff_id: Digest,
    /// The digest of what was written.
    pub digest: Digest,
    /// Bytes that were written.
    pub bytes: u64,
    /// Bytes of the tar stream.
    pub tar_bytes: u64,
}

/// Why a directory could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The directory itself cannot be read.
    #[error("read the directory: {0}")]
    Root(io::Error),
    /// The compressor has no memory.
    #[error("compress the layer: {0}")]
    Compress(io::Error),
    /// The layer cannot be written.
    #[error("write the layer: {0}")]
    Write(io::Error),
    /// Whoever asked for it does not want it any more.
    #[error("pack the directory: it was stopped")]
    Stopped,
    /// Another thread ended, and says why.
    #[error("pack the directory: it was cut off")]
    Ended,
}

/// Packs what is in `root` into one layer, which is written to `out`. What was written before an error is
/// worth nothing. `stop` is looked at between entries and between chunks.
pub fn pack_layer(
    root: BorrowedFd<'_>,
    spec: &SnapshotSpec<'_>,
    out: &mut dyn Write,
    stop: &AtomicBool,
) -> Result<PackedTree, SnapshotError> {
    let told = Told::default();
    let plan = |tape: Tape<'_>| Walk::new(spec, Some(tape), &told, stop).run(root);
    let (found, layer) = lanes::run(plan, spec, &told, out)?;
    let mut counts = found.counts;
    told.add_to(&mut counts);
    Ok(PackedTree { layer, record: found.record, counts })
}

#[cfg(test)]
pub(super) mod tests;
