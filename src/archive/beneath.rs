//! Directories beneath a destination, opened component by component.
//!
//! No link is followed on the way, but one that was there before and stays beneath the destination
//! (`/lib -> usr/lib` in an image): `os::rooted` resolves that. The directories between the
//! destination and the last path stay open, because the next path most often shares them.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, mkdirat, openat},
    io::Errno,
};

use crate::{
    core::limits::ARCHIVE_DEPTH_MAX,
    os::{features::Features, rooted::Root},
};

/// A directory that nothing is done outside of.
pub(super) struct Beneath {
    root: Root,
    /// The directories on the way to the last path, each by its name.
    open: Vec<(Vec<u8>, OwnedFd)>,
}

/// What happens to directories that are missing on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// They are made, with the mode that new directories usually have.
    Made,
    /// They are an error.
    Refused,
}

const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Beneath {
    /// Opens the destination; its own path is trusted.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let features = Features::none("it is tried when it is needed");
        Ok(Self { root: Root::open(path, &features)?, open: Vec::new() })
    }

    /// The directory with these components.
    pub(super) fn enter<'a>(
        &mut self,
        components: impl Iterator<Item = &'a [u8]>,
        missing: Missing,
    ) -> io::Result<BorrowedFd<'_>> {
        let mut depth = 0;
        for name in components {
            if self.open.get(depth).is_none_or(|(open, _)| open != name) {
                self.open.truncate(depth);
                let directory = self.step(name, missing)?;
                self.open.push((name.to_vec(), directory));
            }
            depth += 1;
        }
        self.open.truncate(depth);
        Ok(self.here())
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(self.root.as_fd(), |(_, directory)| directory.as_fd())
    }

    fn step(&self, name: &[u8], missing: Missing) -> io::Result<OwnedFd> {
        if self.open.len() >= ARCHIVE_DEPTH_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        match openat(self.here(), name, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) if missing == Missing::Made => {
                mkdirat(self.here(), name, Mode::from_raw_mode(0o755))?;
                Ok(openat(self.here(), name, DIRECTORY, Mode::empty())?)
            }
            // A link, or no directory at all.
            Err(Errno::NOTDIR) => {
                let way: Vec<&[u8]> = self.open.iter().map(|(name, _)| &name[..]).collect();
                let way = [way.as_slice(), &[name]].concat().join(&b"/"[..]);
                Ok(self.root.directory(Path::new(OsStr::from_bytes(&way)))?.into())
            }
            opened => Ok(opened?),
        }
    }
}

/// The components of a path in an archive, without what means nothing. `None` if it leads outside:
/// a leading slash is dropped, as tar does, but no `..` is ever followed.
pub(crate) fn components(path: &[u8]) -> Option<Vec<&[u8]>> {
    let parts = path.split(|byte| *byte == b'/');
    let parts = parts.filter(|part| !matches!(*part, b"" | b"."));
    parts.map(|part| (part != b"..").then_some(part)).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn paths_become_components() {
        let cases: [(&str, Option<&[&str]>); 8] = [
            ("a/b", Some(&["a", "b"])),
            ("./a//b/", Some(&["a", "b"])),
            ("/etc/passwd", Some(&["etc", "passwd"])),
            ("", Some(&[])),
            ("./", Some(&[])),
            ("...", Some(&["..."])),
            ("a/../b", None),
            ("..", None),
        ];
        for (path, expected) in cases {
            let expected = expected.map(|all| all.iter().map(|part| part.as_bytes()).collect());
            assert_eq!(components(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn links_are_followed_only_as_far_as_they_stay_beneath() {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join(path);
        fs::create_dir_all(at("root/usr/lib")).unwrap();
        fs::create_dir(at("outside")).unwrap();
        symlink("usr/lib", at("root/lib")).unwrap();
        symlink("../outside", at("root/out")).unwrap();
        symlink(at("outside"), at("root/absolute")).unwrap();
        fs::write(at("root/file"), "").unwrap();
        let mut beneath = Beneath::open(&at("root")).unwrap();
        let mut make = |path: &str| -> io::Result<()> {
            let parts = components(path.as_bytes()).unwrap();
            let directory = beneath.enter(parts.into_iter(), Missing::Made)?;
            Ok(mkdirat(directory, "made", Mode::RWXU)?)
        };
        for (path, made) in
            [("lib", "usr/lib/made"), ("a/b", "a/b/made"), ("lib/c", "usr/lib/c/made")]
        {
            make(path).unwrap();
            assert!(at("root").join(made).is_dir(), "{path}");
        }
        for path in ["out", "absolute", "file", "out/x", "a/b/made/../../../.."] {
            if components(path.as_bytes()).is_some() {
                assert!(make(path).is_err(), "{path}");
            }
        }
        assert_eq!(fs::read_dir(at("outside")).unwrap().count(), 0);
    }
}
