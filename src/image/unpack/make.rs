//! Makes one thing with one name in one directory. What had the name before is replaced, whatever it was, and
//! never written into or followed.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, linkat, makedev, mkdirat, mknodat, openat, statat,
        symlinkat,
    },
    io::{Errno, Result},
};

use super::remove::{self, Was};

/// A name in a directory.
pub(super) struct At<'a> {
    pub(super) parent: BorrowedFd<'a>,
    pub(super) name: &'a [u8],
    /// Called if a directory had the name, and was removed.
    pub(super) gone: &'a mut dyn FnMut(),
}

impl At<'_> {
    /// Makes a directory, or keeps the one that is there, with all that is in it.
    pub(super) fn directory(self) -> Result<()> {
        let (parent, name) = (self.parent, self.name);
        match mkdirat(parent, name, Mode::RWXU) {
            Err(Errno::EXIST) => {}
            made => return made,
        }
        let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            return Ok(());
        }
        self.replacing(|| mkdirat(parent, name, Mode::RWXU))
    }

    /// Makes an empty file.
    pub(super) fn file(self, mode: Mode) -> Result<OwnedFd> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (parent, name) = (self.parent, self.name);
        self.replacing(|| openat(parent, name, flags, mode))
    }

    pub(super) fn symlink(self, target: &[u8]) -> Result<()> {
        let (parent, name) = (self.parent, self.name);
        self.replacing(|| symlinkat(target, parent, name))
    }

    /// Makes another name of what is in `directory`, which is not followed if it is a link.
    pub(super) fn hardlink(self, directory: BorrowedFd<'_>, target: &[u8]) -> Result<()> {
        let (parent, name) = (self.parent, self.name);
        self.replacing(|| linkat(directory, target, parent, name, AtFlags::empty()))
    }

    /// Makes a fifo or a device.
    pub(super) fn node(self, kind: FileType, device: (u32, u32)) -> Result<()> {
        let device = makedev(device.0, device.1);
        let (parent, name) = (self.parent, self.name);
        self.replacing(|| mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, device))
    }

    fn replacing<T>(self, make: impl Fn() -> Result<T>) -> Result<T> {
        match make() {
            Err(Errno::EXIST) => {
                if remove::all(self.parent, self.name)? == Was::Directory {
                    (self.gone)();
                }
                make()
            }
            made => made,
        }
    }
}
