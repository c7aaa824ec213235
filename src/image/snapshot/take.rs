//! The record of a tree that is not packed, because it was just unpacked.

use std::{os::fd::BorrowedFd, sync::atomic::AtomicBool};

use super::{Counts, SnapshotError, SnapshotSpec, tally::Told, walk::Walk};
use crate::image::record::TreeRecord;

/// Walks what is in `root` and records it, as [`super::pack_layer`] would. What changed within the last two
/// seconds is read, so that it is known by its content; of everything else nothing but its stat is read. The
/// record is `None` if the tree has more names than one can hold.
pub fn record_tree(
    root: BorrowedFd<'_>,
    spec: &SnapshotSpec<'_>,
    stop: &AtomicBool,
) -> Result<(Option<TreeRecord>, Counts), SnapshotError> {
    let told = Told::default();
    let spec = SnapshotSpec { base: None, ..*spec };
    let mut found = Walk::new(&spec, None, &told, stop).run(root)?;
    told.add_to(&mut found.counts);
    Ok((found.record, found.counts))
}
