//! The directories that the kernel watches for us.
//!
//! A watch follows its directory when that is renamed, so each is kept with the path that it had last. New
//! directories are added as they are told; what came into them before that is found by looking.

use std::{
    collections::HashMap,
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::Errno,
};

use crate::core::limits::WATCHED_DIRECTORIES_MAX;

/// How far down directories are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// One directory.
    One,
    /// All that are beneath it, too.
    All,
}

/// Why a directory is not watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The kernel watches no more for this user.
    Kernel,
    /// There are [`WATCHED_DIRECTORIES_MAX`].
    Ours,
    /// It is the one that was asked for, and cannot be watched at all.
    Root(Errno),
}

pub(super) struct Tree {
    inotify: OwnedFd,
    mask: WatchFlags,
    depth: Depth,
    root: i32,
    paths: HashMap<i32, PathBuf>,
    most: usize,
}

impl Tree {
    /// Watches nothing yet.
    pub(super) fn new(mask: WatchFlags, depth: Depth) -> Result<Self, Errno> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let most = WATCHED_DIRECTORIES_MAX;
        Ok(Self { inotify, mask, depth, root: -1, paths: HashMap::new(), most })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Watches the directory that was asked for, and what is beneath it.
    pub(super) fn add_root(&mut self, path: &Path) -> Result<(), Full> {
        match self.watch(path)? {
            Ok(number) => self.root = number,
            Err(errno) => return Err(Full::Root(errno)),
        }
        self.add(path, &mut |_| {})
    }

    /// Watches a directory and what is beneath it, and shows everything that is there. One that cannot be
    /// watched (it is gone, it is a link, it is not ours to read) is passed over.
    pub(super) fn add(&mut self, path: &Path, show: &mut dyn FnMut(&Path)) -> Result<(), Full> {
        if self.depth == Depth::One {
            return Ok(());
        }
        let mut waiting = vec![path.to_owned()];
        while let Some(path) = waiting.pop() {
            if self.watch(&path)?.is_err() {
                continue;
            }
            let Ok(entries) = fs::read_dir(&path) else { continue };
            for entry in entries.flatten() {
                let found = entry.path();
                show(&found);
                // As many may wait as may be watched; the next one says that it is too many.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) && waiting.len() <= self.most {
                    waiting.push(found);
                }
            }
        }
        Ok(())
    }

    fn watch(&mut self, path: &Path) -> Result<Result<i32, Errno>, Full> {
        match inotify::add_watch(&self.inotify, path, self.mask) {
            Ok(number) if self.paths.len() >= self.most && !self.paths.contains_key(&number) => {
                let _ = inotify::remove_watch(&self.inotify, number);
                Err(Full::Ours)
            }
            Ok(number) => {
                // One that was renamed is known by its number, and has another path.
                self.paths.insert(number, path.to_owned());
                Ok(Ok(number))
            }
            Err(Errno::NOSPC) => Err(Full::Kernel),
            Err(errno) => Ok(Err(errno)),
        }
    }

    /// Watches a directory and those beneath it no longer: it was moved elsewhere.
    pub(super) fn remove(&mut self, path: &Path) {
        let inotify = &self.inotify;
        self.paths.retain(|number, known| {
            let beneath = known.starts_with(path);
            if beneath {
                // It may be gone already.
                let _ = inotify::remove_watch(inotify, *number);
            }
            !beneath
        });
    }

    /// The kernel watches this one no longer.
    pub(super) fn forget(&mut self, number: i32) {
        self.paths.remove(&number);
    }

    pub(super) fn path(&self, number: i32) -> Option<&Path> {
        self.paths.get(&number).map(PathBuf::as_path)
    }

    pub(super) fn is_root(&self, number: i32) -> bool {
        self.root == number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_only_so_many_directories() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("a/b")).unwrap();
        let mask = WatchFlags::CREATE;
        for (most, expected) in [(3, Ok(())), (2, Err(Full::Ours))] {
            let mut tree = Tree { most, ..Tree::new(mask, Depth::All).unwrap() };
            assert_eq!(tree.add_root(top.path()), expected, "{most}");
            assert_eq!(tree.paths.len(), most);
        }
        let mut tree = Tree::new(mask, Depth::One).unwrap();
        assert_eq!(tree.add_root(top.path()), Ok(()));
        assert_eq!(tree.paths.len(), 1);
        let none = tree.add_root(&top.path().join("none"));
        assert_eq!(none, Err(Full::Root(Errno::NOENT)));
    }
}
