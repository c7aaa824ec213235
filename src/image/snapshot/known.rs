//! Lines of a record: made of what was seen, and compared with it.

use std::{
    ffi::CStr,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    fs::{FileType, Mode, OFlags, openat, readlinkat},
    io::Errno,
};
use sha2::{Digest, Sha256};

use super::look::{self, Facts, Xattrs};
use crate::{
    archive::entry::Time,
    core::limits::TREE_RECORD_TRUST,
    image::record::{Content, Known, What},
};

/// What a file is in a record; `None` if records and layers do not have it.
pub(super) fn what(kind: FileType) -> Option<What> {
    Some(match kind {
        FileType::RegularFile => What::File,
        FileType::Directory => What::Directory,
        FileType::Symlink => What::Symlink,
        FileType::Fifo => What::Fifo,
        FileType::CharacterDevice => What::CharacterDevice,
        FileType::BlockDevice => What::BlockDevice,
        FileType::Socket | FileType::Unknown => return None,
    })
}

/// The line of a path that is `what`.
pub(super) fn line(path: &[u8], what: What, facts: &Facts) -> Known {
    let numbers = u64::from(facts.numbers.0) << 32 | u64::from(facts.numbers.1);
    let device = matches!(what, What::CharacterDevice | What::BlockDevice);
    Known {
        path: path.to_vec(),
        what,
        mode: facts.mode,
        uid: facts.uid,
        gid: facts.gid,
        modified: facts.modified,
        changed: facts.changed,
        inode: facts.inode,
        size: if device { numbers } else { facts.size },
        xattrs: 0,
        content: None,
    }
}

/// Whether the times in a line are old enough to be believed: what is written within one step of the clock
/// after it was looked at has the same times.
pub(super) fn is_settled(known: &Known, taken: Time) -> bool {
    let trusted = i64::try_from(TREE_RECORD_TRUST.as_secs()).unwrap_or(0);
    let Time { seconds, nanoseconds } = known.changed;
    (seconds.saturating_add(trusted), nanoseconds) < (taken.seconds, taken.nanoseconds)
}

/// Whether two lines of one path say the same, times and inode included.
pub(super) fn same(known: &Known, now: &Known) -> bool {
    let key = |known: &Known| {
        let Known { what, mode, uid, gid, modified, changed, inode, size, .. } = *known;
        (what, mode, uid, gid, modified, changed, inode, size)
    };
    key(known) == key(now)
}

/// Whether two lines of one directory would give the same entry.
pub(super) fn same_directory(known: &Known, now: &Known) -> bool {
    let key = |known: &Known| {
        let Known { what, mode, uid, gid, modified, xattrs, .. } = *known;
        (what, mode, uid, gid, modified, xattrs)
    };
    key(known) == key(now)
}

/// A hash over extended attributes; 0 if there are none.
pub(super) fn xattrs_hash(xattrs: &Xattrs) -> u64 {
    if xattrs.kept.is_empty() {
        return 0;
    }
    let mut sum = Sha256::new();
    for (name, value) in &xattrs.kept {
        sum.update((name.len() as u64).to_le_bytes());
        sum.update(name);
        sum.update((value.len() as u64).to_le_bytes());
        sum.update(value);
    }
    let sum = sum.finalize();
    u64::from_le_bytes(*sum.first_chunk().expect("it has 32 bytes")).max(1)
}

/// A hash of what a file or a link holds; `None` of anything else, and of what is not as `facts` say any
/// more.
pub(super) fn content(
    directory: BorrowedFd<'_>,
    name: &CStr,
    facts: &Facts,
    scratch: &mut [u8],
) -> Result<Option<Content>, Errno> {
    let mut sum = Sha256::new();
    match facts.kind {
        FileType::Symlink => sum.update(readlinkat(directory, name, Vec::new())?.to_bytes()),
        FileType::RegularFile => {
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let file = openat(directory, name, flags, Mode::empty())?;
            loop {
                match rustix::io::read(&file, &mut *scratch) {
                    Ok(0) => break,
                    Ok(count) => sum.update(&scratch[..count]),
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
            let after = look::opened(file.as_fd())?;
            if !after.same_data(facts) || after.inode != facts.inode {
                return Ok(None);
            }
        }
        _ => return Ok(None),
    }
    Ok(sum.finalize().first_chunk().copied())
}
