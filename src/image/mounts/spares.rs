//! Spare trees: one for each image that is used, so that its next mount need not make one.
//!
//! `<directory>/<image>/ready` is a whole tree that nobody uses; it is renamed there when it is whole, and
//! taken by renaming it away, so that nobody gets half of one, or one that another has. Beside it lies its record,
//! if it has one, and what is half made.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

use super::{
    WantedTree,
    clone::clone_tree,
    point::point,
    record::{is_key, record_beside},
    remove::remove,
};

/// The spare trees in a directory.
pub struct Spares {
    directory: PathBuf,
    /// Images whose tree is being made, cloned or removed: nobody else touches it. Held for a few lines, a
    /// rename among them.
    busy: Mutex<Vec<String>>,
}

/// What came of taking a spare tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is where it was wanted, and so is its record, if it has one.
    Moved,
    /// It is on another file system, and was cloned; it is still there. The clone has no record.
    Cloned,
    /// There is none, or it is in use.
    None,
}

impl Spares {
    /// Opens the directory, of which we are the only users, and removes what is half made.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let spares = Self { directory: directory.into(), busy: Mutex::default() };
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            clear(&path.join("making"))?;
            if !path.join("ready").is_dir() {
                remove(&path)?;
            }
        }
        Ok(spares)
    }

    /// Takes the spare tree of an image to where it is wanted. After an error something may be there.
    pub fn take(&self, wanted: WantedTree<'_>) -> io::Result<Taken> {
        let Some(place) = self.place(wanted.key) else { return Ok(Taken::None) };
        let ready = place.join("ready");
        {
            let mut busy = self.busy.lock();
            if busy.iter().any(|other| other == wanted.key) {
                return Ok(Taken::None);
            }
            match fs::rename(&ready, wanted.into) {
                Ok(()) => {
                    take_record(&record_beside(&ready), wanted.record);
                    return Ok(Taken::Moved);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Taken::None),
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
                Err(error) => return Err(error),
            }
            busy.push(wanted.key.into());
        }
        let cloned = clone_tree(&ready, wanted.into, &|| false);
        self.end(wanted.key);
        cloned.map(|_| Taken::Cloned)
    }

    /// Has a spare tree made by `make`, unless there is one, or one is being made. `make` gets a path that is not there;
    /// what it leaves behind when it fails is removed.
    pub fn refill<E: From<io::Error>>(
        &self,
        key: &str,
        make: impl FnOnce(WantedTree<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(place) = self.place(key) else { return Ok(()) };
        let (making, ready) = (place.join("making"), place.join("ready"));
        if ready.is_dir() || !self.begin(key) {
            return Ok(());
        }
        let wanted = WantedTree { key, into: &making, record: &record_beside(&making) };
        let made = fs::create_dir_all(&place)
            .and_then(|()| clear(&making))
            .and_then(|()| clear(&ready))
            .map_err(E::from)
            .and_then(|()| make(wanted))
            .and_then(|()| {
                point();
                take_record(wanted.record, &record_beside(&ready));
                fs::rename(&making, &ready).map_err(E::from)
            });
        if made.is_err()
            && let Err(error) = clear(&making).and_then(|()| clear(&ready))
        {
            tracing::warn!("ignoring that a spare tree is left half made: {error}");
        }
        self.end(key);
        made
    }

    /// Removes the spare trees of all images but those that are wanted.
    pub fn keep(&self, wanted: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let key = name.to_str().unwrap_or_default();
            // Nobody begins to make one while it is removed.
            if !wanted(key) && self.begin(key) {
                let removed = remove(&self.directory.join(&name));
                self.end(key);
                removed?;
            }
        }
        Ok(())
    }

    fn begin(&self, key: &str) -> bool {
        let mut busy = self.busy.lock();
        let free = !busy.iter().any(|other| other == key);
        if free {
            busy.push(key.into());
        }
        free
    }

    fn end(&self, key: &str) {
        self.busy.lock().retain(|other| other != key);
    }

    /// Where the tree of an image lies; nowhere, if its key is no file name.
    fn place(&self, key: &str) -> Option<PathBuf> {
        let plain = !key.is_empty() && is_key(key) && !key.contains('/') && !key.starts_with('.');
        plain.then(|| self.directory.join(key))
    }
}

/// Removes a tree and its record.
fn clear(tree: &Path) -> io::Result<()> {
    remove(tree)?;
    remove(&record_beside(tree))
}

/// A record that cannot be taken along is one that was never written.
fn take_record(from: &Path, to: &Path) {
    if fs::rename(from, to).is_err() {
        let _ = remove(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::mounts::tests::places::{may_mount, run};

    fn make(wanted: WantedTree<'_>) -> io::Result<()> {
        fs::create_dir(wanted.into)?;
        fs::write(wanted.record, wanted.key)?;
        fs::write(wanted.into.join("file"), "x")
    }

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn spares(&self) -> Spares {
            Spares::open(&self.at("spares")).unwrap()
        }

        fn take(&self, spares: &Spares, key: &str, into: &str) -> Taken {
            let (into, record) = (self.at(into), self.at(&format!("{into}-record")));
            spares.take(WantedTree { key, into: &into, record: &record }).unwrap()
        }
    }

    #[test]
    fn each_tree_is_taken_once() {
        let place = Place::new();
        let spares = place.spares();
        assert_eq!(place.take(&spares, "im-1", "a"), Taken::None);
        spares.refill("im-1", make).unwrap();
        spares.refill("im-1", |_| Err(io::Error::other("there is one"))).unwrap();
        assert_eq!(place.take(&spares, "im-1", "a"), Taken::Moved);
        assert!(place.at("a/file").exists());
        assert_eq!(fs::read_to_string(place.at("a-record")).unwrap(), "im-1");
        assert_eq!(place.take(&spares, "im-1", "b"), Taken::None);
        for key in ["", "../a", ".", "..", "a/b", "sha256:\n"] {
            spares.refill(key, make).unwrap();
            assert_eq!(place.take(&spares, key, "b"), Taken::None, "{key:?}");
        }
        assert!(!place.at("b").exists());
    }

    #[test]
    fn a_tree_without_a_record_does_not_get_the_last_ones() {
        let place = Place::new();
        let spares = place.spares();
        spares.refill("im-1", make).unwrap();
        fs::remove_dir_all(place.at("spares/im-1/ready")).unwrap();
        fs::write(place.at("a-record"), "of another tree").unwrap();
        spares.refill("im-1", |wanted| fs::create_dir(wanted.into)).unwrap();
        assert_eq!(place.take(&spares, "im-1", "a"), Taken::Moved);
        assert!(!place.at("a-record").exists());
    }

    #[test]
    fn half_a_tree_is_none() {
        let place = Place::new();
        let at = |name: &str| place.at(name);
        let spares = place.spares();
        let failed = spares.refill("im-1", |wanted| make(wanted).and(Err(io::Error::other("no"))));
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(at("spares/im-1")).unwrap().count(), 0);
        spares.refill("im-1", make).unwrap();
        spares.refill("im-2", make).unwrap();
        let half = |key: &str| {
            let (into, record) =
                (at(&format!("spares/{key}/making")), at(&format!("spares/{key}/making.record")));
            make(WantedTree { key, into: &into, record: &record }).unwrap();
        };
        half("im-2");
        fs::create_dir(at("spares/im-3")).unwrap();
        half("im-3");
        let spares = place.spares();
        assert_eq!(fs::read_dir(at("spares/im-2")).unwrap().count(), 2);
        assert!(!at("spares/im-3").exists());
        spares.keep(|key| key == "im-2").unwrap();
        assert_eq!(place.take(&spares, "im-1", "a"), Taken::None);
        assert_eq!(place.take(&spares, "im-2", "a"), Taken::Moved);
    }

    #[test]
    fn a_tree_that_is_cloned_is_nobody_elses_meanwhile() {
        if !may_mount("spares on another file system") {
            return;
        }
        let place = Place::new();
        let spares = place.spares();
        fs::create_dir(place.at("other")).unwrap();
        let other = place.at("other").display().to_string();
        run("mount", &["-t", "tmpfs", "other", &other]);
        spares.refill("im-1", make).unwrap();
        assert_eq!(place.take(&spares, "im-1", "other/a"), Taken::Cloned);
        assert!(place.at("other/a/file").exists() && !place.at("other/a-record").exists());
        assert!(spares.begin("im-1"));
        assert_eq!(place.take(&spares, "im-1", "b"), Taken::None);
        spares.end("im-1");
        assert_eq!(place.take(&spares, "im-1", "b"), Taken::Moved);
        assert!(place.at("b-record").exists());
    }
}
