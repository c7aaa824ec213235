//! Removes what is beneath a directory, and never follows a link.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags, chmodat, openat, unlinkat},
    io::{Errno, Result},
};

/// What a layer hides of a directory, and what it must not.
pub(super) struct Hiding<'a> {
    /// Whether the layer itself made what has this path.
    pub(super) kept: &'a dyn Fn(&[u8]) -> bool,
    /// Told of each directory that was removed, with all beneath it.
    pub(super) gone: &'a mut dyn FnMut(&[u8]),
}

/// Whether nothing is in a directory.
pub(super) fn is_empty(directory: BorrowedFd<'_>) -> std::io::Result<bool> {
    Ok(names(directory)?.is_empty())
}

/// Removes all that is in a directory.
pub(super) fn contents(directory: BorrowedFd<'_>) -> Result<()> {
    for name in names(directory)? {
        all(directory, &name)?;
    }
    Ok(())
}

/// Removes what has a name, with all beneath it. Whether it was a directory.
pub(super) fn all(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Was> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => return Ok(Was::Other),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    contents(enter(parent, name)?.as_fd())?;
    unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    Ok(Was::Directory)
}

/// What something was that was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Was {
    Directory,
    Other,
}

impl Hiding<'_> {
    /// Hides what has this name, and the path.
    pub(super) fn name(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<()> {
        if !(self.kept)(path) {
            if all(parent, name)? == Was::Directory {
                (self.gone)(path);
            }
            return Ok(());
        }
        match enter(parent, name) {
            Ok(directory) => self.contents(directory.as_fd(), path),
            // It is no directory, and has nothing beneath it.
            Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Hides all that is in the directory with this path.
    pub(super) fn contents(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        for name in names(directory)? {
            let beneath = match path {
                [] => name.clone(),
                _ => [path, b"/", &name].concat(),
            };
            self.name(directory, &name, &beneath)?;
        }
        Ok(())
    }
}

fn enter(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        // It got its mode before.
        Err(Errno::ACCESS) => {
            chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            openat(parent, name, flags, Mode::empty())
        }
        opened => opened,
    }
}

fn names(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut names = Vec::new();
    for entry in Dir::new(openat(directory, c".", flags, Mode::empty())?)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}
