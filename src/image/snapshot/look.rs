//! What the kernel says about a name: stat, mounts, extended attributes.

use std::{ffi::CStr, os::fd::AsFd};

use rustix::{
    fs::{AtFlags, FileType, RawMode, Statx, StatxAttributes, StatxFlags, StatxTimestamp, statx},
    io::Errno,
};

use crate::{
    archive::{
        entry::{Extended, Time},
        extended,
    },
    core::limits::SNAPSHOT_XATTRS_BYTES_MAX,
};

/// What is true of a file, as far as it is kept or compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) kind: FileType,
    /// The twelve bits of permission.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) modified: Time,
    pub(super) changed: Time,
    pub(super) inode: u64,
    pub(super) device: (u32, u32),
    pub(super) links: u32,
    pub(super) size: u64,
    /// What it takes on disk, in units of 512 bytes.
    pub(super) blocks: u64,
    /// The numbers of a device.
    pub(super) numbers: (u32, u32),
    /// Whether something is mounted there, if the kernel says so.
    pub(super) mount: Option<bool>,
}

/// The extended attributes of a file that a layer has.
#[derive(Debug, Default)]
pub(super) struct Xattrs {
    /// Sorted by name.
    pub(super) kept: Extended,
    /// How many a layer cannot have.
    pub(super) left_out: u64,
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS;

/// What a name in a directory is; a link is not followed.
pub(super) fn named(directory: impl AsFd, name: &CStr) -> Result<Facts, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Ok(Facts::of(&statx(directory, name, flags, WANTED)?))
}

/// What an open file is.
pub(super) fn opened(file: impl AsFd) -> Result<Facts, Errno> {
    Ok(Facts::of(&statx(file, c"", AtFlags::EMPTY_PATH, WANTED)?))
}

impl Facts {
    /// An empty directory of root's, of no time.
    pub(super) fn nothing() -> Self {
        let never = Time::default();
        Self {
            kind: FileType::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            modified: never,
            changed: never,
            inode: 0,
            device: (0, 0),
            links: 0,
            size: 0,
            blocks: 0,
            numbers: (0, 0),
            mount: None,
        }
    }

    fn of(stat: &Statx) -> Self {
        let time = |time: &StatxTimestamp| Time { seconds: time.tv_sec, nanoseconds: time.tv_nsec };
        Self {
            kind: FileType::from_raw_mode(RawMode::from(stat.stx_mode)),
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            modified: time(&stat.stx_mtime),
            changed: time(&stat.stx_ctime),
            inode: stat.stx_ino,
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            links: stat.stx_nlink,
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            numbers: (stat.stx_rdev_major, stat.stx_rdev_minor),
            mount: stat
                .stx_attributes_mask
                .contains(StatxAttributes::MOUNT_ROOT)
                .then(|| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        }
    }

    /// Whether nothing was written to the file between two looks.
    pub(super) fn same_data(&self, other: &Self) -> bool {
        (self.size, self.modified, self.changed) == (other.size, other.modified, other.changed)
    }
}

/// The extended attributes of an open file or directory. What a file system has none of is none.
pub(super) fn xattrs(file: impl AsFd) -> Xattrs {
    let (kept, left_out) = extended::read_those(file, is_kept, SNAPSHOT_XATTRS_BYTES_MAX);
    Xattrs { kept, left_out }
}

/// Whether an attribute belongs to the file wherever it is: labels of this machine's policies do not.
fn is_kept(name: &[u8]) -> bool {
    name.starts_with(b"user.")
        || name == b"security.capability"
        || name == b"system.posix_acl_access"
        || name == b"system.posix_acl_default"
}
