//! The data of one file, packed.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    buffer::spare_capacity,
    fs::{Stat, fstat},
    io::Errno,
};

use super::{
    encode::padding,
    pack::{Pack, Place},
};
use crate::core::limits::CHUNK_BYTES;

/// File systems that show the kernel and no files: proc, sysfs, both cgroups, debugfs, tracefs,
/// securityfs and devpts, by statfs(2).
const PSEUDO: [u32; 8] =
    [0x9fa0, 0x6265_6572, 0x27_e0eb, 0x6367_7270, 0x6462_6720, 0x7472_6163, 0x7363_6673, 0x1cd1];

/// Whether statfs(2) says of a file system that it has no files of its own.
pub(super) fn is_pseudo(kind: impl TryInto<u64>) -> bool {
    kind.try_into().is_ok_and(|kind: u64| PSEUDO.iter().any(|known| u64::from(*known) == kind))
}

impl Pack<'_> {
    /// Packs a regular file. `stat` is what was true when it was opened.
    pub(super) fn data(
        &mut self,
        place: &Place<'_>,
        file: BorrowedFd<'_>,
        stat: &Stat,
    ) -> io::Result<()> {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size <= CHUNK_BYTES as u64 {
            self.small(place, file, stat, size)
        } else {
            self.large(place, file, stat, size)
        }
    }

    /// A small file is read before its header is written, so that the header is true whatever the
    /// size said before: files of /proc and /sys have none, or a page.
    fn small(
        &mut self,
        place: &Place<'_>,
        file: BorrowedFd<'_>,
        stat: &Stat,
        size: u64,
    ) -> io::Result<()> {
        let wanted = match usize::try_from(size) {
            Ok(0) | Err(_) => CHUNK_BYTES + 1,
            Ok(size) => size,
        };
        let mut data = std::mem::take(&mut self.scratch);
        data.clear();
        data.reserve(wanted);
        while data.len() < wanted {
            match rustix::io::read(file, spare_capacity(&mut data)) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => {
                    let path = place.shown.path(place.path);
                    self.trouble(format!("read {path}: {}", io::Error::from(errno)));
                    self.scratch = data;
                    return Ok(());
                }
            }
        }
        data.truncate(wanted);
        if data.len() > CHUNK_BYTES {
            let path = place.shown.path(place.path);
            self.trouble(format!("copy {path}: it has no size, but more than 64 KiB of data"));
            data.clear();
        }
        let bytes = data.len() as u64;
        self.open_file(place, file, stat, bytes)?;
        self.out.write(&data)?;
        self.scratch = data;
        self.out.zeros(padding(bytes) as u64)?;
        self.counted(bytes);
        Ok(())
    }

    /// A large file goes piece by piece. Once its header says a size, so many bytes follow.
    fn large(
        &mut self,
        place: &Place<'_>,
        file: BorrowedFd<'_>,
        stat: &Stat,
        size: u64,
    ) -> io::Result<()> {
        self.open_file(place, file, stat, size)?;
        let before = self.tally.bytes;
        let mut left = size;
        while left > 0 {
            match self.out.read(file.as_fd(), left)? {
                Ok(0) => {
                    let path = place.shown.path(place.path);
                    self.trouble(format!(
                        "copy {path}: it became shorter meanwhile, the last {left} bytes are zeros"
                    ));
                    break;
                }
                Ok(count) => left -= count as u64,
                Err(errno) => {
                    let (path, reason) = (place.shown.path(place.path), io::Error::from(errno));
                    self.trouble(format!("read {path}: {reason}; the last {left} bytes are zeros"));
                    break;
                }
            }
            self.tally.bytes = before + (size - left);
            self.watch.copied(&self.tally);
        }
        self.tally.bytes = before;
        let whole = left == 0;
        self.out.zeros(left + padding(size) as u64)?;
        let after = fstat(file);
        let same = |after: Stat| {
            (after.st_size, after.st_mtime, after.st_mtime_nsec)
                == (stat.st_size, stat.st_mtime, stat.st_mtime_nsec)
        };
        if whole && !after.is_ok_and(same) {
            let path = place.shown.path(place.path);
            self.trouble(format!("copy {path}: it was changed meanwhile"));
        }
        self.counted(size);
        Ok(())
    }
}
