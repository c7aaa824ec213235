//! The directories of a tree and when they were changed last, written down before their entries move.
//!
//! A line for each: seconds, nanoseconds, path, each ended by a NUL. The paths lead from the top and
//! through no link.

use std::{
    ffi::{CStr, CString},
    fs,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{Dir, FileType, Mode, Timespec, Timestamps, UTIME_OMIT, futimens, openat},
    io::Errno,
};

use super::remove::{DIRECTORY, mount_of};
use crate::core::limits::{TREE_DEPTH_MAX, TREE_TIMES_BYTES_MAX};

/// Writes down the directories beneath `top` and itself. What is mounted beneath it is refused with EBUSY.
pub(super) fn write_down(top: BorrowedFd<'_>, file: &Path) -> io::Result<()> {
    let file = fs::File::create(file)?;
    let mut list = List { to: BufWriter::new(&file), bytes: 0, mount: mount_of(top)? };
    list.directory(top, &mut Vec::new(), 0)?;
    list.to.flush()?;
    drop(list);
    file.sync_data()
}

struct List<'a> {
    to: BufWriter<&'a fs::File>,
    bytes: u64,
    mount: (u64, u64),
}

impl List<'_> {
    fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &mut Vec<u8>,
        depth: usize,
    ) -> io::Result<()> {
        if depth > TREE_DEPTH_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        let stat = rustix::fs::fstat(directory)?;
        let line = format!("{}\0{}\0", stat.st_mtime, stat.st_mtime_nsec);
        for part in [line.as_bytes(), path, b"\0"] {
            self.bytes += part.len() as u64;
            self.to.write_all(part)?;
        }
        if self.bytes > TREE_TIMES_BYTES_MAX {
            return Err(Errno::FBIG.into());
        }
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type();
            let maybe = matches!(kind, FileType::Directory | FileType::Unknown);
            if !maybe || matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if let Some(inner) = self.enter(directory, name)? {
                let before = path.len();
                if before > 0 {
                    path.push(b'/');
                }
                path.extend_from_slice(name.to_bytes());
                self.directory(inner.as_fd(), path, depth + 1)?;
                path.truncate(before);
            }
        }
        Ok(())
    }

    fn enter(&self, directory: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<OwnedFd>> {
        let inner = match openat(directory, name, DIRECTORY, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::NOENT | Errno::LOOP) => return Ok(None),
            // What we may not look into we cannot change either: it is moved as it is.
            Err(Errno::ACCESS) => return Ok(None),
            opened => opened?,
        };
        match mount_of(inner.as_fd())? == self.mount {
            true => Ok(Some(inner)),
            false => Err(Errno::BUSY.into()),
        }
    }
}

/// Gives the directories beneath `top` their times again. What is no longer there, or is no list of ours, is
/// passed over: a time is not worth a failure.
pub(super) fn give_back(top: BorrowedFd<'_>, file: &Path) -> io::Result<()> {
    let mut list = BufReader::new(fs::File::open(file)?.take(TREE_TIMES_BYTES_MAX));
    let mut next = || -> io::Result<Option<Vec<u8>>> {
        let mut field = Vec::new();
        list.read_until(0, &mut field)?;
        Ok((field.pop() == Some(0)).then_some(field))
    };
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse::<i64>().ok();
    while let (Some(seconds), Some(nanoseconds), Some(path)) = (next()?, next()?, next()?) {
        let (Some(tv_sec), Some(tv_nsec)) = (number(&seconds), number(&nanoseconds)) else {
            break;
        };
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec, tv_nsec },
        };
        if let Ok(directory) = walk(top, &path) {
            let _ = futimens(&directory, &times);
        }
    }
    Ok(())
}

/// Opens a directory beneath another one, one component after the other and through no link.
fn walk(top: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    let mut at = openat(top, c".", DIRECTORY, Mode::empty())?;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        if name == b".." {
            return Err(Errno::INVAL.into());
        }
        at = openat(&at, CString::new(name)?, DIRECTORY, Mode::empty())?;
    }
    Ok(at)
}
