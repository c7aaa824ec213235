//! Extended attributes (xattr(7)) of files and directories. A copy has those that users give, and the
//! capabilities of programs; layers of images have access lists too. All other ones mean something to one
//! system only.

use std::{ffi::CString, os::fd::AsFd};

use rustix::{
    buffer::spare_capacity,
    fs::{XattrFlags, fgetxattr, flistxattr, flistxattr_query, fsetxattr},
    io::{Errno, Result},
};

use super::{Owners, entry::Extended};
use crate::core::limits::{ARCHIVE_XATTR_BYTES_MAX, ARCHIVE_XATTRS_BYTES_MAX};

/// What users give.
const USER: &[u8] = b"user.";
/// What gives a program rights, whoever runs it.
const CAPABILITY: &[u8] = b"security.capability";

/// Those of an open file that a copy has, and how many it has to leave out.
pub(super) fn read(file: impl AsFd) -> (Extended, u64) {
    read_those(file, is_kept, ARCHIVE_XATTRS_BYTES_MAX)
}

/// Those of an open file that are `wanted`, sorted by name, and how many have to be left out: what cannot be
/// read, and what is more than there is room for.
pub(crate) fn read_those(
    file: impl AsFd,
    wanted: fn(&[u8]) -> bool,
    bytes_max: usize,
) -> (Extended, u64) {
    let (mut found, mut left_out) = (Extended::new(), 0);
    // A file system that has none says so by an error.
    let mut room = match flistxattr_query(&file) {
        Ok(0) | Err(_) => return (found, 0),
        Ok(length) => Vec::with_capacity(length.max(1)),
    };
    if flistxattr(&file, spare_capacity(&mut room)).is_err() {
        return (found, 1);
    }
    let mut bytes = 0;
    for name in room.split(|byte| *byte == 0).filter(|name| wanted(name)) {
        match value(&file, name) {
            Ok(value) if bytes + name.len() + value.len() <= bytes_max => {
                bytes += name.len() + value.len();
                found.push((name.to_vec(), value));
            }
            // It was removed meanwhile.
            Err(Errno::NODATA) => {}
            Ok(_) | Err(_) => left_out += 1,
        }
    }
    found.sort();
    (found, left_out)
}

fn is_kept(name: &[u8]) -> bool {
    name.starts_with(USER) || name == CAPABILITY
}

fn value(file: impl AsFd, name: &[u8]) -> Result<Vec<u8>> {
    let mut value = Vec::with_capacity(ARCHIVE_XATTR_BYTES_MAX);
    fgetxattr(&file, name, spare_capacity(&mut value))?;
    value.shrink_to_fit();
    Ok(value)
}

/// Gives an open file those of `wanted` that it may have. Capabilities give rights, as the bits of a mode
/// do, and go only together with the owner. Returns those that it did not get, and why.
pub(super) fn give(file: impl AsFd, wanted: &Extended, owners: Owners) -> Vec<(&[u8], Errno)> {
    let mut refused = Vec::new();
    for (name, value) in wanted {
        let given = match owners {
            Owners::Own => name.starts_with(USER),
            Owners::Kept => is_kept(name),
        };
        if !given {
            continue;
        }
        let set = CString::new(&name[..]).map_err(|_| Errno::INVAL);
        let set = set.and_then(|name| fsetxattr(&file, name, value, XattrFlags::empty()));
        if let Err(errno) = set {
            refused.push((&name[..], errno));
        }
    }
    refused
}
