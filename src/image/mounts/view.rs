//! What of a directory is ours, for whoever packs it, and held still meanwhile.

use std::path::{Path, PathBuf};

use super::{
    MountError, Mounts,
    record::{Record, Side},
    table::Use,
};
use crate::core::mounts::{Action, Way};

/// A directory and what is mounted there. As long as this is held, nothing at, above or beneath the directory
/// is mounted or unmounted: who wants that waits. It is for one job on one thread.
pub struct View<'a> {
    mounts: &'a Mounts,
    path: PathBuf,
    mounted: Option<InUse>,
    beneath: Vec<PathBuf>,
    hidden: Vec<PathBuf>,
}

/// An image in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// What names the image; empty for an empty directory.
    pub image: String,
    /// How it is at the path. By whichever, its tree, with all changes, is what is seen there.
    pub way: Way,
    /// Where whoever made its tree wrote down what that was like before anybody could change it, if they did. Of
    /// an overlay it says so of the tree beneath.
    pub record: PathBuf,
}

impl Mounts {
    /// Looks at a directory, which must be there and may be any, also the root directory; its links are followed.
    /// Waits for what is mounted and unmounted there.
    pub fn view(&self, directory: &Path) -> Result<View<'_>, MountError> {
        let mut table = self.table.lock();
        let path = loop {
            let found = std::fs::canonicalize(directory);
            let path = found.map_err(MountError::failed("look at", directory))?;
            if !path.is_dir() {
                return Err(MountError::NotDirectory(path));
            }
            if !table.is_busy(&path) {
                break path;
            }
            self.changed.wait(&mut table);
        };
        let (mut mounted, mut beneath, mut hidden) = (None, Vec::new(), Vec::new());
        for slot in &table.slots {
            let Use::Kept(record) = &slot.use_ else { continue };
            if record.journal.next() != Action::Rest && slot.path.starts_with(&path) {
                return Err(MountError::Unfinished(slot.path.clone()));
            }
            if slot.path == path {
                mounted = Some(InUse::of(record));
            } else if slot.path.starts_with(&path) {
                beneath.push(slot.path.clone());
            }
            hidden.extend(hidden_by(record).into_iter().filter(|hidden| hidden.starts_with(&path)));
        }
        beneath.sort();
        hidden.sort();
        table.viewed.push(path.clone());
        Ok(View { mounts: self, path, mounted, beneath, hidden })
    }
}

impl View<'_> {
    /// Where the directory's path led.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The image that is mounted at exactly this directory.
    pub fn mounted(&self) -> Option<&InUse> {
        self.mounted.as_ref()
    }

    /// Paths beneath the directory where images are mounted, in order.
    pub fn beneath(&self) -> &[PathBuf] {
        &self.beneath
    }

    /// Paths beneath the directory that hold what mounts hide: nobody's business.
    pub fn hidden(&self) -> &[PathBuf] {
        &self.hidden
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        let mut table = self.mounts.table.lock();
        if let Some(at) = table.viewed.iter().position(|viewed| *viewed == self.path) {
            table.viewed.swap_remove(at);
        }
        self.mounts.changed.notify_all();
    }
}

impl InUse {
    fn of(record: &Record) -> Self {
        let (image, way) = (record.image.clone(), record.journal.way());
        Self { image, way, record: record.tree_record() }
    }
}

/// What lies outside the state directory.
fn hidden_by(record: &Record) -> Vec<PathBuf> {
    let moved = matches!(record.journal.way(), Way::Swap | Way::Entries);
    match record.side {
        Side::Sibling if moved => vec![record.aside(), record.tree()],
        Side::Sibling | Side::Home => Vec::new(),
    }
}
