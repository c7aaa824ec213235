//! Makes one thing with one name in one directory. What had the name before is replaced, never written
//! into and never followed.

use std::{
    io::BufRead,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process,
};

use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, linkat, makedev, mkdirat, mknodat, openat, renameat,
        statat, symlinkat, unlinkat,
    },
    io::{Errno, Result},
};

use super::{
    attributes::Given,
    decode::{Stream, StreamError},
    holes::Holes,
};
use crate::core::limits::CHUNK_BYTES;

/// A name in a directory.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) parent: BorrowedFd<'a>,
    pub(super) name: &'a [u8],
}

/// Why a file was not made.
pub(super) enum FileError {
    Stream(StreamError),
    Errno(Errno),
}

impl From<Errno> for FileError {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl At<'_> {
    /// Makes a directory; whether it is ours, and not one that was there. A link to a directory
    /// beneath the destination counts as one: the entries beneath it decide.
    pub(super) fn directory(self) -> Result<bool> {
        match mkdirat(self.parent, self.name, Mode::RWXU) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => {
                let found = statat(self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW)?;
                match FileType::from_raw_mode(found.st_mode) {
                    FileType::Directory | FileType::Symlink => Ok(false),
                    _ => Err(Errno::NOTDIR),
                }
            }
            Err(errno) => Err(errno),
        }
    }

    /// Opens a directory of ours.
    pub(super) fn open_directory(self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(self.parent, self.name, flags, Mode::empty())
    }

    pub(super) fn symlink(self, target: &[u8]) -> Result<()> {
        self.replacing(|| symlinkat(target, self.parent, self.name))
    }

    /// Makes another name of what `target` names, which is not followed if it is a link.
    pub(super) fn hardlink(self, target: At<'_>) -> Result<()> {
        self.replacing(|| {
            linkat(target.parent, target.name, self.parent, self.name, AtFlags::empty())
        })
    }

    /// Makes a fifo or a device. The mode is exact where the process has no umask.
    pub(super) fn node(self, kind: FileType, mode: Mode, device: (u32, u32)) -> Result<()> {
        let device = makedev(device.0, device.1);
        self.replacing(|| mknodat(self.parent, self.name, kind, mode, device))
    }

    /// Makes a file of all data that `stream` has for it, and gives it what else it shall have by `finish`.
    /// Unless that succeeds, there is no file.
    pub(super) fn file<R: BufRead>(
        self,
        stream: &mut Stream<R>,
        buffer: &mut [u8],
        finish: impl FnOnce(BorrowedFd<'_>) -> Result<Given>,
    ) -> std::result::Result<Given, FileError> {
        if stream.data_left() <= CHUNK_BYTES as u64 {
            // It is written at once, and so not begun before all of it is here.
            let mut filled = 0;
            while stream.data_left() > 0 {
                filled += stream.read(&mut buffer[filled..]).map_err(FileError::Stream)?;
            }
            let file = self.create()?;
            let made = write_all(&file, &buffer[..filled]).and_then(|()| finish(file.as_fd()));
            return Ok(made.inspect_err(|_| self.remove())?);
        }
        // One process makes one file at a time, so the name is free.
        let name = format!(".doorward-{}.part", process::id());
        let part = At { parent: self.parent, name: name.as_bytes() };
        part.whole(stream, buffer, finish)
            .and_then(|given| {
                renameat(part.parent, part.name, self.parent, self.name)?;
                Ok(given)
            })
            .inspect_err(|_| part.remove())
    }

    fn whole<R: BufRead>(
        self,
        stream: &mut Stream<R>,
        buffer: &mut [u8],
        finish: impl FnOnce(BorrowedFd<'_>) -> Result<Given>,
    ) -> std::result::Result<Given, FileError> {
        let mut file = Holes::new(self.create()?);
        loop {
            match stream.read(buffer).map_err(FileError::Stream)? {
                0 => break,
                count => file.write(&buffer[..count])?,
            }
        }
        Ok(finish(file.finish()?.as_fd())?)
    }

    fn create(self) -> Result<OwnedFd> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let private = Mode::RUSR | Mode::WUSR;
        self.replacing(|| openat(self.parent, self.name, flags, private))
    }

    /// Makes something, after removing what has its name. A directory stays, and is an error.
    fn replacing<T>(self, make: impl Fn() -> Result<T>) -> Result<T> {
        match make() {
            Err(Errno::EXIST) => {
                unlinkat(self.parent, self.name, AtFlags::empty())?;
                make()
            }
            made => made,
        }
    }

    fn remove(self) {
        // What could not be made may not be there.
        let _ = unlinkat(self.parent, self.name, AtFlags::empty());
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
