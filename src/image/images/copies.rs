//! Unpacked images: trees that overlays share, and spare ones.
//!
//! `trees/<image>` is a tree that nobody changes, with its record beside it as soon as it has one; `spares` are for mounts that are
//! not overlays. Sealed images have neither: what is open of them lies in their mounts and goes with them.
//!
//! Nothing here is flushed to the disk. After the machine was started anew, only what is mounted is kept.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use parking_lot::{Condvar, Mutex};

use super::{ImagesError, Settings, trees::write_record};
use crate::image::mounts::{Spares, WantedTree, record_beside, remove};

/// The unpacked images in a state directory, of which we are the only users.
pub(super) struct Copies {
    trees: PathBuf,
    pub(super) spares: Option<Spares>,
    /// Trees that are being made or removed. Held for a few lines.
    busy: Mutex<BTreeSet<String>>,
    /// Something is not busy any more.
    changed: Condvar,
}

/// A part of a tree's name while it is made.
const MAKING: &str = ".making";
/// … and of its record.
const RECORDING: &str = ".recording";

impl Copies {
    pub(super) fn open(state: &Path, settings: &Settings, mounted: &[String]) -> io::Result<Self> {
        let (trees, spare) = (state.join("trees"), state.join("spares"));
        for directory in [&trees, &spare, &state.join("own")] {
            private(directory)?;
        }
        let copies = Self {
            trees,
            spares: settings.spares.then(|| Spares::open(&spare)).transpose()?,
            busy: Mutex::default(),
            changed: Condvar::new(),
        };
        let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let known = copies.trees.join("boot");
        if fs::read(&known).unwrap_or_default() != boot {
            copies.keep(&|key| mounted.iter().any(|mounted| mounted == key), &|_| false)?;
            fs::write(&known, boot)?;
        }
        copies.clear_half_made()?;
        if copies.spares.is_none() {
            remove(&spare)?;
        }
        Ok(copies)
    }

    /// The tree of an image; made by `make` if it is missing, which leaves the record to [`Copies::record`]. Who
    /// wants one that is being made waits.
    pub(super) fn shared<E: From<io::Error>>(
        &self,
        key: &str,
        make: impl FnOnce(WantedTree<'_>) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let tree = self.trees.join(key);
        let _busy = self.wait_for(key);
        if tree.is_dir() {
            return Ok(tree);
        }
        let making = self.trees.join(format!("{key}{MAKING}"));
        let record = record_beside(&making);
        let made = clear(&making)
            .map_err(E::from)
            .and_then(|()| make(WantedTree { key, into: &making, record: &record }))
            .and_then(|()| {
                // It would be of another tree.
                remove(&record_beside(&tree))?;
                fs::rename(&making, &tree).map_err(E::from)
            });
        if made.is_err()
            && let Err(error) = clear(&making)
        {
            tracing::warn!("ignoring that half a tree is left: {error}");
        }
        made.map(|()| tree)
    }

    /// Whether it is known what the tree of an image is like.
    pub(super) fn is_recorded(&self, key: &str) -> bool {
        record_beside(&self.trees.join(key)).exists()
    }

    /// Records the tree of an image, if that is not done. Who wants that while it is done waits.
    pub(super) fn record(&self, key: &str, stop: &AtomicBool) -> Result<(), ImagesError> {
        let tree = self.trees.join(key);
        // Whoever wants the tree itself need not wait.
        let _busy = self.wait_for(&format!("{key}{RECORDING}"));
        if self.is_recorded(key) || !tree.is_dir() {
            return Ok(());
        }
        let making = self.trees.join(format!("{key}{RECORDING}{MAKING}"));
        write_record(&tree, &making, stop)
            .and_then(|()| fs::rename(&making, record_beside(&tree)))
            .map_err(|error| ImagesError::io("record a tree", &error))
    }

    /// Removes the trees of all images but those that one of the two wants, and the spare ones that the second
    /// does not want.
    pub(super) fn keep(
        &self,
        mounted: &dyn Fn(&str) -> bool,
        wanted: &dyn Fn(&str) -> bool,
    ) -> io::Result<()> {
        for entry in fs::read_dir(&self.trees)? {
            let name = entry?.file_name();
            let Some(key) = name.to_str().filter(|name| self.trees.join(name).is_dir()) else {
                continue;
            };
            let Some(_busy) = self.try_for(key) else { continue };
            let Some(_still) = self.try_for(&format!("{key}{RECORDING}")) else { continue };
            // Asked when nobody can begin to use it.
            if !key.ends_with(MAKING) && !mounted(key) && !wanted(key) {
                clear(&self.trees.join(key))?;
            }
        }
        match &self.spares {
            Some(spares) => spares.keep(wanted),
            None => Ok(()),
        }
    }

    fn clear_half_made(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.trees)? {
            let name = entry?.file_name();
            if name.to_str().is_some_and(|name| name.contains(MAKING)) {
                remove(&self.trees.join(name))?;
            }
        }
        Ok(())
    }

    fn wait_for(&self, key: &str) -> Busy<'_> {
        let mut busy = self.busy.lock();
        while !busy.insert(key.to_owned()) {
            self.changed.wait(&mut busy);
        }
        Busy { copies: self, key: key.to_owned() }
    }

    fn try_for(&self, key: &str) -> Option<Busy<'_>> {
        let free = self.busy.lock().insert(key.to_owned());
        free.then(|| Busy { copies: self, key: key.to_owned() })
    }
}

/// The right to make or remove one tree.
struct Busy<'a> {
    copies: &'a Copies,
    key: String,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.copies.busy.lock().remove(&self.key);
        self.copies.changed.notify_all();
    }
}

/// Removes a tree and its record.
fn clear(tree: &Path) -> io::Result<()> {
    remove(tree)?;
    remove(&record_beside(tree))
}

/// A directory that only we look into: what is in it keeps its setuid bits.
fn private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}
