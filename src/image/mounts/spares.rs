//! Spare trees: one for each image that is used, so that its next mount need not make one.
//!
//! `<directory>/<image>/ready` is a whole tree that nobody uses; it is renamed there when it is whole, and
//! taken by renaming it away, so that nobody gets half of one, or one that another has. What lies beside it is half
//! made, and removed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

use super::{clone::clone_tree, point::point, record::is_key, remove::remove};

/// The spare trees in a directory.
pub struct Spares {
    directory: PathBuf,
    /// Images whose tree is being made: the second who wants it made goes home.
    making: Mutex<Vec<String>>,
}

/// What came of taking a spare tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is where it was wanted.
    Moved,
    /// It is on another file system, and was cloned; it is still there.
    Cloned,
    /// There is none.
    None,
}

impl Spares {
    /// Opens the directory, of which we are the only users, and removes what is half made.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let spares = Self { directory: directory.into(), making: Mutex::default() };
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            remove(&path.join("making"))?;
            if !path.join("ready").is_dir() {
                remove(&path)?;
            }
        }
        Ok(spares)
    }

    /// Takes the spare tree of an image to `into`, which is not there.
    pub fn take(&self, key: &str, into: &Path) -> io::Result<Taken> {
        let Some(place) = self.place(key) else { return Ok(Taken::None) };
        let ready = place.join("ready");
        match fs::rename(&ready, into) {
            Ok(()) => Ok(Taken::Moved),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Taken::None),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                clone_tree(&ready, into, &|| false)?;
                Ok(Taken::Cloned)
            }
            Err(error) => Err(error),
        }
    }

    /// Has a spare tree made by `make`, unless there is one, or one is being made. `make` gets a path that is not there;
    /// what it leaves behind when it fails is removed.
    pub fn refill<E: From<io::Error>>(
        &self,
        key: &str,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(place) = self.place(key) else { return Ok(()) };
        if place.join("ready").is_dir() || !self.begin(key) {
            return Ok(());
        }
        let making = place.join("making");
        let made = fs::create_dir_all(&place)
            .and_then(|()| remove(&making))
            .map_err(E::from)
            .and_then(|()| make(&making))
            .and_then(|()| {
                point();
                fs::rename(&making, place.join("ready")).map_err(E::from)
            });
        if made.is_err()
            && let Err(error) = remove(&making)
        {
            tracing::warn!("ignoring that a spare tree is left half made: {error}");
        }
        self.making.lock().retain(|other| other != key);
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
                self.making.lock().retain(|other| other != key);
                removed?;
            }
        }
        Ok(())
    }

    fn begin(&self, key: &str) -> bool {
        let mut making = self.making.lock();
        let free = !making.iter().any(|other| other == key);
        if free {
            making.push(key.into());
        }
        free
    }

    /// Where the tree of an image lies; nowhere, if its key is no file name.
    fn place(&self, key: &str) -> Option<PathBuf> {
        let plain = !key.is_empty() && is_key(key) && !key.contains('/') && !key.starts_with('.');
        plain.then(|| self.directory.join(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(path: &Path) -> io::Result<()> {
        fs::create_dir(path)?;
        fs::write(path.join("file"), "x")
    }

    #[test]
    fn each_tree_is_taken_once() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        let spares = Spares::open(&at("spares")).unwrap();
        assert_eq!(spares.take("im-1", &at("a")).unwrap(), Taken::None);
        spares.refill("im-1", make).unwrap();
        spares.refill("im-1", |_| Err(io::Error::other("there is one"))).unwrap();
        assert_eq!(spares.take("im-1", &at("a")).unwrap(), Taken::Moved);
        assert!(at("a/file").exists());
        assert_eq!(spares.take("im-1", &at("b")).unwrap(), Taken::None);
        for key in ["", "../a", ".", "..", "a/b", "sha256:\n"] {
            spares.refill(key, make).unwrap();
            assert_eq!(spares.take(key, &at("b")).unwrap(), Taken::None, "{key:?}");
        }
        assert!(!at("b").exists());
    }

    #[test]
    fn half_a_tree_is_none() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        let spares = Spares::open(&at("spares")).unwrap();
        let failed = spares.refill("im-1", |path| make(path).and(Err(io::Error::other("no"))));
        assert!(failed.is_err() && !at("spares/im-1/making").exists());
        spares.refill("im-1", make).unwrap();
        spares.refill("im-2", make).unwrap();
        make(&at("spares/im-2/making")).unwrap();
        fs::create_dir(at("spares/im-3")).unwrap();
        make(&at("spares/im-3/making")).unwrap();
        let spares = Spares::open(&at("spares")).unwrap();
        assert!(!at("spares/im-2/making").exists() && !at("spares/im-3").exists());
        spares.keep(|key| key == "im-2").unwrap();
        assert_eq!(spares.take("im-1", &at("a")).unwrap(), Taken::None);
        assert_eq!(spares.take("im-2", &at("a")).unwrap(), Taken::Moved);
    }
}
