//! Directories beneath the one that is unpacked into, opened component by component.
//!
//! A link on the way leads where it would if the directory were the root: an absolute one begins there, and
//! `..` stops there. The kernel never follows one. The directories on the way to the last path stay open,
//! because the next path most often shares them; whoever removes a directory has just been in the one above
//! it, so that no open one was removed.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{CWD, Mode, OFlags, mkdirat, openat, readlinkat},
    io::Errno,
};

use crate::core::limits::{IMAGE_DEPTH_MAX, ROOTED_COMPONENTS_MAX, ROOTED_LINKS_MAX};

/// What an image is unpacked into.
pub(super) struct Tree {
    root: Arc<OwnedFd>,
    /// The directories on the way to where we are, each by its name; none is a link.
    open: Vec<(Vec<u8>, Arc<OwnedFd>)>,
}

/// What happens to directories that are missing on the way.
pub(super) enum Missing<'a> {
    /// They are made, and told by their paths.
    Made(&'a mut dyn FnMut(&[u8])),
    /// They are an error.
    Refused,
}

/// What a component of a path was found to be.
enum Found {
    Directory,
    Link(Vec<u8>),
}

const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Tree {
    /// Opens the directory; its own path is trusted.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty())?;
        Ok(Self { root: Arc::new(root), open: Vec::new() })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Goes to the directory with these components.
    pub(super) fn enter(
        &mut self,
        components: &[&[u8]],
        mut missing: Missing<'_>,
    ) -> io::Result<()> {
        for (depth, name) in components.iter().enumerate() {
            if self.open.get(depth).is_some_and(|(open, _)| open == name) {
                continue;
            }
            self.open.truncate(depth);
            if let Found::Link(target) = self.step(name, &mut missing)? {
                let ahead = components[depth + 1..].iter().map(|name| name.to_vec()).collect();
                return self.follow(&target, ahead, &mut missing);
            }
        }
        self.open.truncate(components.len());
        Ok(())
    }

    /// The directory where we are.
    pub(super) fn here(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(self.root.as_fd(), |(_, directory)| directory.as_fd())
    }

    /// The same, to be kept.
    pub(super) fn kept(&self) -> Arc<OwnedFd> {
        self.open.last().map_or(&self.root, |(_, directory)| directory).clone()
    }

    /// The path of something here, as it is without links.
    pub(super) fn path(&self, name: &[u8]) -> Vec<u8> {
        let mut path = Vec::new();
        for (component, _) in &self.open {
            path.extend_from_slice(component);
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }

    /// The path of the directory where we are.
    pub(super) fn path_here(&self) -> Vec<u8> {
        let mut path = self.path(b"");
        path.pop();
        path
    }

    /// Goes on where a link leads, and then along `ahead`.
    fn follow(
        &mut self,
        target: &[u8],
        mut ahead: VecDeque<Vec<u8>>,
        missing: &mut Missing<'_>,
    ) -> io::Result<()> {
        let mut links = 1;
        self.turn(target, &mut ahead)?;
        while let Some(name) = ahead.pop_front() {
            if name == b".." {
                self.open.pop();
            } else if let Found::Link(target) = self.step(&name, missing)? {
                links += 1;
                if links > ROOTED_LINKS_MAX {
                    return Err(Errno::LOOP.into());
                }
                self.turn(&target, &mut ahead)?;
            }
        }
        Ok(())
    }

    /// Puts the components of a link before those that were ahead.
    fn turn(&mut self, target: &[u8], ahead: &mut VecDeque<Vec<u8>>) -> io::Result<()> {
        if target.starts_with(b"/") {
            self.open.clear();
        }
        for part in target.rsplit(|byte| *byte == b'/') {
            if !matches!(part, b"" | b".") {
                ahead.push_front(part.to_vec());
            }
        }
        if ahead.len() > ROOTED_COMPONENTS_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        Ok(())
    }

    /// Goes into a directory of the one where we are, unless it is a link.
    fn step(&mut self, name: &[u8], missing: &mut Missing<'_>) -> io::Result<Found> {
        if self.open.len() >= IMAGE_DEPTH_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        let mut opened = openat(self.here(), name, DIRECTORY, Mode::empty());
        if let (Err(Errno::NOENT), Missing::Made(told)) = (&opened, missing) {
            mkdirat(self.here(), name, Mode::RWXU)?;
            told(&self.path(name));
            opened = openat(self.here(), name, DIRECTORY, Mode::empty());
        }
        match opened {
            Ok(directory) => {
                self.open.push((name.to_vec(), Arc::new(directory)));
                Ok(Found::Directory)
            }
            Err(Errno::NOTDIR) => match readlinkat(self.here(), name, Vec::new()) {
                Ok(target) => Ok(Found::Link(target.into_bytes())),
                // It is something else.
                Err(Errno::INVAL) => Err(Errno::NOTDIR.into()),
                Err(errno) => Err(errno.into()),
            },
            Err(errno) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn parts(path: &str) -> Vec<&[u8]> {
        path.split('/').map(str::as_bytes).collect()
    }

    #[test]
    fn links_lead_as_if_the_directory_were_the_root() {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join("root").join(path);
        fs::create_dir_all(at("usr/lib")).unwrap();
        fs::create_dir_all(at("run")).unwrap();
        fs::write(at("file"), "").unwrap();
        for (link, target) in [
            ("lib", "usr/lib"),
            ("usr/run", "/run"),
            ("usr/up", "../../../../run"),
            ("out", "../outside"),
            ("loop", "loop/x"),
            ("chain", "./lib/../../usr/up/."),
            ("self", "/"),
        ] {
            symlink(target, at(link)).unwrap();
        }
        let mut tree = Tree::open(&top.path().join("root")).unwrap();
        let cases: [(&str, Result<&str, Errno>); 12] = [
            ("usr/lib", Ok("usr/lib")),
            ("lib", Ok("usr/lib")),
            ("lib/x/y", Ok("usr/lib/x/y")),
            ("usr/run", Ok("run")),
            ("usr/run/x", Ok("run/x")),
            ("usr/up", Ok("run")),
            ("self/self/lib", Ok("usr/lib")),
            // Nothing outside is reached; what is missing beneath is made.
            ("out/x", Ok("outside/x")),
            ("chain", Ok("run")),
            ("loop", Err(Errno::LOOP)),
            ("file", Err(Errno::NOTDIR)),
            ("file/x", Err(Errno::NOTDIR)),
        ];
        for (path, expected) in cases {
            let entered = tree.enter(&parts(path), Missing::Made(&mut |_| ()));
            match expected {
                Ok(real) => {
                    entered.unwrap_or_else(|error| panic!("{path}: {error}"));
                    assert_eq!(tree.path_here(), real.as_bytes(), "{path}");
                    assert!(at(real).is_dir(), "{path}");
                }
                Err(errno) => {
                    let found = entered.unwrap_err();
                    assert_eq!(Errno::from_io_error(&found), Some(errno), "{path}");
                }
            }
        }
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 1);
        let missing = tree.enter(&parts("usr/none"), Missing::Refused).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_made_on_the_way_is_told_and_its_depth_is_bounded() {
        let top = tempfile::tempdir().unwrap();
        let mut tree = Tree::open(top.path()).unwrap();
        let mut told = Vec::new();
        let mut tell = |path: &[u8]| told.push(String::from_utf8(path.to_vec()).unwrap());
        tree.enter(&parts("a/b"), Missing::Made(&mut tell)).unwrap();
        tree.enter(&parts("a/c/d"), Missing::Made(&mut tell)).unwrap();
        tree.enter(&[], Missing::Made(&mut tell)).unwrap();
        assert_eq!(told, ["a", "a/b", "a/c", "a/c/d"]);
        assert_eq!(tree.path_here(), b"");
        let deep = vec![&b"x"[..]; IMAGE_DEPTH_MAX];
        tree.enter(&deep, Missing::Made(&mut |_| ())).unwrap();
        let deeper = vec![&b"x"[..]; IMAGE_DEPTH_MAX + 1];
        let error = tree.enter(&deeper, Missing::Made(&mut |_| ())).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NAMETOOLONG));
    }
}
