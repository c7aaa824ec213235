//! Clones trees: everything that `cp -a` keeps, and shared blocks where the file system can share them.
//!
//! What is written to meanwhile comes out as it was read. Of what cannot be kept (an attribute that the
//! other file system does not know, a device that we may not make) there is a count.

use std::{
    collections::HashMap,
    ffi::{CStr, CString, OsStr},
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{ffi::OsStrExt, fs::FileExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom, Stat, copy_file_range, ftruncate,
        ioctl_ficlone, linkat, mkdirat, mknodat, openat, readlinkat, seek, statat, symlinkat,
    },
    io::Errno,
};

use super::{
    attributes::{Attributes, make_like},
    remove::{DIRECTORY, mount_of},
};
use crate::core::limits::{CLONE_BUFFER_BYTES, CLONE_LINKS_MAX, TREE_DEPTH_MAX};

/// What was cloned.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Cloned {
    /// Files, directories, links and others, the top one too.
    pub entries: u64,
    /// Bytes of data, without holes.
    pub bytes: u64,
    /// Extended attributes and devices that could not be made.
    pub lost: u64,
}

/// Clones the directory `from` to `to`, which must not be there. `stop` is asked between entries; what
/// was cloned by then, or by an error, is left for the caller to remove. What is mounted within `from`
/// is not entered: it comes out as an empty directory.
pub fn clone_tree(from: &Path, to: &Path, stop: &dyn Fn() -> bool) -> io::Result<Cloned> {
    let source = openat(CWD, from, DIRECTORY, Mode::empty())?;
    mkdirat(CWD, to, Mode::RWXU)?;
    let target = openat(CWD, to, DIRECTORY, Mode::empty())?;
    let stat = rustix::fs::fstat(&source)?;
    let mut cloner = Cloner::new(target.as_fd(), stop);
    cloner.mount = Some(mount_of(source.as_fd())?);
    cloner.contents(source.as_fd(), target.as_fd())?;
    cloner.cloned.lost += make_like(&source, &stat, &target)?;
    cloner.cloned.entries += 1;
    Ok(cloner.cloned)
}

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) parent: BorrowedFd<'a>,
    pub(super) name: &'a CStr,
}

/// A clone being made.
pub(super) struct Cloner<'a> {
    /// What the names of `links` begin at.
    top: BorrowedFd<'a>,
    /// The directories below it that are being filled.
    way: PathBuf,
    depth: usize,
    /// Files with several names, by device and inode, and the first name that each got.
    links: HashMap<(u64, u64), PathBuf>,
    /// What is mounted otherwise is not entered, if this is set.
    mount: Option<(u64, u64)>,
    sharing: Sharing,
    buffer: Vec<u8>,
    stop: &'a dyn Fn() -> bool,
    pub(super) cloned: Cloned,
}

/// Whether the file system shares blocks between files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Untried,
    No,
}

impl<'a> Cloner<'a> {
    /// One that clones into directories beneath `top`.
    pub(super) fn new(top: BorrowedFd<'a>, stop: &'a dyn Fn() -> bool) -> Self {
        Self {
            top,
            way: PathBuf::new(),
            depth: 0,
            links: HashMap::new(),
            mount: None,
            sharing: Sharing::Untried,
            buffer: Vec::new(),
            stop,
            cloned: Cloned::default(),
        }
    }

    /// Clones all that is in a directory.
    fn contents(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if (self.stop)() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let stat = match statat(from, name, AtFlags::SYMLINK_NOFOLLOW) {
                // It was removed meanwhile.
                Err(Errno::NOENT) => continue,
                stat => stat?,
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => self.directory(Place { parent: from, name }, &stat, to)?,
                _ => self.one(Place { parent: from, name }, &stat, Place { parent: to, name })?,
            }
        }
        Ok(())
    }

    fn directory(&mut self, from: Place<'_>, stat: &Stat, to: BorrowedFd<'_>) -> io::Result<()> {
        let name = from.name;
        if self.depth == TREE_DEPTH_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        let source = openat(from.parent, name, DIRECTORY, Mode::empty())?;
        mkdirat(to, name, Mode::RWXU)?;
        let target = openat(to, name, DIRECTORY, Mode::empty())?;
        if self.mount.is_none() || self.mount == Some(mount_of(source.as_fd())?) {
            self.down(name);
            let filled = self.contents(source.as_fd(), target.as_fd());
            self.up();
            filled?;
        }
        self.cloned.lost += make_like(&source, stat, &target)?;
        self.cloned.entries += 1;
        Ok(())
    }

    /// The directory that is filled is now this one of the last one.
    pub(super) fn down(&mut self, name: &CStr) {
        self.way.push(OsStr::from_bytes(name.to_bytes()));
        self.depth += 1;
    }

    /// It is filled.
    pub(super) fn up(&mut self) {
        self.way.pop();
        self.depth -= 1;
    }

    /// Clones anything but a directory. A further name of a file that was cloned becomes that.
    fn one(&mut self, from: Place<'_>, stat: &Stat, to: Place<'_>) -> io::Result<()> {
        if self.link(stat, to)? {
            return Ok(());
        }
        self.copy(from, stat, to)?;
        self.remember(stat, to.name);
        Ok(())
    }

    /// Makes a further name of a file that was cloned; false if it was not.
    pub(super) fn link(&mut self, stat: &Stat, to: Place<'_>) -> io::Result<bool> {
        let id = (stat.st_dev, stat.st_ino);
        let Some(first) = self.links.get(&id) else { return Ok(false) };
        match linkat(self.top, first, to.parent, to.name, AtFlags::empty()) {
            Ok(()) => {}
            // It is there from an earlier run, or the first name was taken away by somebody, or has all the
            // links that a file may have.
            Err(Errno::EXIST | Errno::NOENT | Errno::MLINK | Errno::PERM) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
        // If names are removed once they are cloned, this was the last, and its inode is free for others.
        if stat.st_nlink == 1 {
            self.links.remove(&id);
        }
        self.cloned.entries += 1;
        Ok(true)
    }

    /// Remembers the name that a file with several names got in the directory that is being filled.
    pub(super) fn remember(&mut self, stat: &Stat, name: &CStr) {
        if stat.st_nlink > 1 && self.links.len() < CLONE_LINKS_MAX {
            let way = self.way.join(OsStr::from_bytes(name.to_bytes()));
            self.links.insert((stat.st_dev, stat.st_ino), way);
        }
    }

    /// Clones anything but a directory, by itself.
    pub(super) fn copy(&mut self, from: Place<'_>, stat: &Stat, to: Place<'_>) -> io::Result<()> {
        let attributes = Attributes::of(stat);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                self.file(from, to)?;
                self.cloned.entries += 1;
                return Ok(());
            }
            FileType::Symlink => {
                let target: CString = readlinkat(from.parent, from.name, Vec::new())?;
                symlinkat(target, to.parent, to.name)?;
            }
            kind => match mknodat(to.parent, to.name, kind, attributes.mode(), stat.st_rdev) {
                Err(Errno::PERM) => {
                    self.cloned.lost += 1;
                    return Ok(());
                }
                made => {
                    made?;
                    rustix::fs::chmodat(to.parent, to.name, attributes.mode(), AtFlags::empty())?;
                }
            },
        }
        attributes.give_name(to.parent, to.name.to_bytes())?;
        self.cloned.entries += 1;
        Ok(())
    }

    fn file(&mut self, from: Place<'_>, to: Place<'_>) -> io::Result<()> {
        // Not to wait for a writer if it has become a fifo.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = openat(from.parent, from.name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&source)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("a file became something else while it was cloned"));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let target = openat(to.parent, to.name, flags, Mode::RUSR | Mode::WUSR)?;
        self.data(&source.into(), &target.into(), &stat)
    }

    fn data(&mut self, source: &File, target: &File, stat: &Stat) -> io::Result<()> {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let shared = size > 0 && self.share(source, target);
        if !shared && size > 0 {
            let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
            self.cloned.bytes += match blocks.saturating_mul(512) < size {
                true => self.sparse(source, target, size)?,
                false => self.range(source, target, 0, size)?,
            };
        }
        self.cloned.lost += make_like(source, stat, target)?;
        Ok(())
    }

    /// Lets the two files share their blocks, if the file systems can; that is found out once.
    fn share(&mut self, source: &File, target: &File) -> bool {
        if self.sharing == Sharing::No {
            return false;
        }
        let shared = ioctl_ficlone(target, source).is_ok();
        if !shared {
            self.sharing = Sharing::No;
        }
        shared
    }

    /// Copies what is no hole. Returns how many bytes that were.
    fn sparse(&mut self, source: &File, target: &File, size: u64) -> io::Result<u64> {
        let (mut at, mut copied) = (0, 0);
        while at < size {
            let data = match seek(source, SeekFrom::Data(at)) {
                Ok(data) => data,
                // Only a hole is left.
                Err(Errno::NXIO) => break,
                // Holes are not told here, so that all is data.
                Err(Errno::INVAL | Errno::NOTSUP) => at,
                Err(errno) => return Err(errno.into()),
            };
            let hole = seek(source, SeekFrom::Hole(data)).unwrap_or(size).clamp(data, size);
            if hole == data {
                break;
            }
            copied += self.range(source, target, data, hole)?;
            at = hole;
        }
        ftruncate(target, size)?;
        Ok(copied)
    }

    /// Copies the bytes between two offsets; fewer, if the file became shorter meanwhile.
    fn range(&mut self, source: &File, target: &File, at: u64, end: u64) -> io::Result<u64> {
        let mut done = at;
        // Of a small file the kernel's own way is the longer one.
        while end - done > CLONE_BUFFER_BYTES as u64 {
            let (mut from, mut to) = (done, done);
            let wanted = usize::try_from(end - done).unwrap_or(usize::MAX);
            match copy_file_range(source, Some(&mut from), target, Some(&mut to), wanted) {
                Ok(0) => return Ok(done - at),
                Ok(bytes) => done += bytes as u64,
                // Not between these two, or not at all.
                Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::NOTSUP | Errno::PERM) => {
                    break;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        self.buffer.resize(CLONE_BUFFER_BYTES, 0);
        while done < end {
            let wanted = usize::try_from(end - done).unwrap_or(usize::MAX).min(CLONE_BUFFER_BYTES);
            let bytes = source.read_at(&mut self.buffer[..wanted], done)?;
            if bytes == 0 {
                break;
            }
            target.write_all_at(&self.buffer[..bytes], done)?;
            done += bytes as u64;
        }
        Ok(done - at)
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fs, os::unix::fs::MetadataExt};

    use super::*;
    use crate::{
        image::mounts::tests::{
            places::{may_mount, run},
            world::{fill, picture, same},
        },
        os::mount,
    };

    #[test]
    fn a_clone_is_like_the_tree_and_shares_nothing() {
        let top = tempfile::tempdir().unwrap();
        let mut targets = vec![top.path().join("clone")];
        if mount::own_namespace().is_ok() {
            // Another file system, where the kernel copies nothing and shares nothing.
            let other = top.path().join("other");
            fs::create_dir(&other).unwrap();
            run("mount", &["-t", "tmpfs", "other", &other.display().to_string()]);
            targets.push(other.join("clone"));
        }
        let tree = top.path().join("tree");
        fill(&tree, "some");
        // Large enough for the kernel to copy it.
        let large: Vec<u8> = (0..3 << 20).map(|at: u32| at.to_le_bytes()[1]).collect();
        fs::write(tree.join("large"), &large).unwrap();
        let expected = picture(&tree);
        for target in targets {
            let cloned = clone_tree(&tree, &target, &|| false).unwrap();
            assert_eq!((cloned.entries, cloned.lost), (expected.len() as u64, 0));
            same(&target, &expected, "the clone");
            assert_eq!(fs::read(target.join("large")).unwrap(), large);
            let sparse = fs::metadata(target.join("sparse")).unwrap();
            assert!(sparse.blocks() * 512 < 1 << 20, "{} blocks", sparse.blocks());
            assert!(cloned.bytes < 8 << 20, "{} bytes", cloned.bytes);
            fs::write(target.join("large"), "changed").unwrap();
            same(&tree, &expected, "the tree");
            assert!(clone_tree(&tree, &target, &|| false).is_err(), "over another one");
        }
    }

    #[test]
    fn a_clone_stops_when_it_is_told_to_and_enters_no_mounts() {
        let top = tempfile::tempdir().unwrap();
        let tree = top.path().join("tree");
        fill(&tree, "some");
        let asked = Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) == 3;
        let stopped = clone_tree(&tree, &top.path().join("half"), &stop).unwrap_err();
        assert_eq!(stopped.kind(), io::ErrorKind::Interrupted);
        assert_eq!(asked.get(), 4);
        if !may_mount("clones of trees with mounts") {
            return;
        }
        for args in [
            ["-t", "tmpfs", "inner", &tree.join("a/deep").display().to_string()],
            [
                "--bind",
                "-v",
                &tree.display().to_string(),
                &tree.join("a/deep").display().to_string(),
            ],
        ] {
            run("mount", &args);
            fs::write(tree.join("a/deep/within"), "").unwrap();
            let target = top.path().join(args[1].trim_start_matches('-'));
            clone_tree(&tree, &target, &|| false).unwrap();
            assert_eq!(fs::read_dir(target.join("a/deep")).unwrap().count(), 0, "{args:?}");
            fs::remove_file(tree.join("a/deep/within")).unwrap();
        }
    }
}
