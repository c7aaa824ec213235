//! What a file has besides its data, taken from one and given to another.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    fs::{
        AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown,
        fgetxattr, flistxattr, fremovexattr, fsetxattr, futimens, utimensat,
    },
    io::Errno,
};

use crate::core::limits::XATTR_BYTES_MAX;

/// Owner, mode and times of a file.
#[derive(Debug, Clone)]
pub(super) struct Attributes {
    mode: Mode,
    uid: Uid,
    gid: Gid,
    times: Timestamps,
}

impl Attributes {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            mode: Mode::from_raw_mode(stat.st_mode & 0o7777),
            uid: Uid::from_raw(stat.st_uid),
            gid: Gid::from_raw(stat.st_gid),
            times: Timestamps {
                last_access: time(stat.st_atime, stat.st_atime_nsec),
                last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
            },
        }
    }

    /// Gives owner and times to what is no file or directory; it was made with its mode.
    pub(super) fn give_name(&self, parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        match chownat(parent, name, Some(self.uid), Some(self.gid), flags) {
            Ok(()) | Err(Errno::PERM) => Ok(utimensat(parent, name, &self.times, flags)?),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn times(&self) -> &Timestamps {
        &self.times
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }
}

/// The kernel's types of these fields differ between architectures.
#[allow(clippy::useless_conversion)]
fn time(seconds: i64, nanoseconds: impl TryInto<i64>) -> Timespec {
    let nanoseconds = nanoseconds.try_into().unwrap_or(0);
    Timespec { tv_sec: seconds, tv_nsec: nanoseconds }
}

/// Gives the extended attributes of one file to another, before its mode and times. Returns how many it
/// could not give, because they are not for us to give or not for this file system to keep.
pub(super) fn give_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<u64> {
    let mut lost = 0;
    for name in xattr_names(from)?.split(|byte| *byte == 0).filter(|name| is_kept(name)) {
        match give_xattr(from, to, name) {
            Ok(()) => {}
            Err(Errno::NOTSUP | Errno::PERM | Errno::ACCESS | Errno::NODATA) => lost += 1,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(lost)
}

/// Takes the extended attributes from one file that another one has not.
pub(super) fn drop_xattrs_beyond(like: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<()> {
    let wanted = xattr_names(like)?;
    for name in xattr_names(file)?.split(|byte| *byte == 0).filter(|name| is_kept(name)) {
        if !wanted.split(|byte| *byte == 0).any(|other| other == name) {
            fremovexattr(file, name)?;
        }
    }
    Ok(())
}

/// The names of a file's extended attributes, each ended by a NUL.
fn xattr_names(file: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut short = [0; 1 << 10];
    match flistxattr(file, &mut short) {
        Ok(bytes) => Ok(short[..bytes].to_vec()),
        // There are none here.
        Err(Errno::NOTSUP) => Ok(Vec::new()),
        Err(Errno::RANGE) => {
            let mut names = vec![0; XATTR_BYTES_MAX];
            let bytes = flistxattr(file, &mut names)?;
            names.truncate(bytes);
            Ok(names)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// A label of SELinux is the system's: what is made gets the one of where it is made.
fn is_kept(name: &[u8]) -> bool {
    !name.is_empty() && name != b"security.selinux"
}

fn give_xattr(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    let mut value = [0; 1 << 10];
    match fgetxattr(from, name, &mut value) {
        Ok(bytes) => fsetxattr(to, name, &value[..bytes], XattrFlags::empty()),
        Err(Errno::RANGE) => {
            let mut value = vec![0; XATTR_BYTES_MAX];
            let bytes = fgetxattr(from, name, &mut value)?;
            fsetxattr(to, name, &value[..bytes], XattrFlags::empty())
        }
        Err(errno) => Err(errno),
    }
}

/// Makes a file or directory like another one in all but its data.
pub(super) fn make_like(from: impl AsFd, stat: &Stat, to: impl AsFd) -> io::Result<u64> {
    let (from, to) = (from.as_fd(), to.as_fd());
    let attributes = Attributes::of(stat);
    // A change of owner takes capabilities away, and a mode may forbid attributes to be set.
    match fchown(to, Some(attributes.uid), Some(attributes.gid)) {
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let lost = give_xattrs(from, to)?;
    let owned = Attributes::owner_is(to, &attributes)?;
    let bits = if owned { Mode::empty() } else { Mode::SUID | Mode::SGID };
    fchmod(to, attributes.mode - bits)?;
    futimens(to, &attributes.times)?;
    Ok(lost)
}

impl Attributes {
    fn owner_is(file: BorrowedFd<'_>, wanted: &Self) -> io::Result<bool> {
        let has = rustix::fs::fstat(file)?;
        Ok((has.st_uid, has.st_gid) == (wanted.uid.as_raw(), wanted.gid.as_raw()))
    }
}
