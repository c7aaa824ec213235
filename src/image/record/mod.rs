//! What a tree was like when it was packed or unpacked, so that what has not changed since need not be
//! read again.
//!
//! A record has a line for each name in the tree, in the order of a walk: by components, a directory
//! before what is in it. It is kept as it is written to a file, because a tree may have a million names:
//! each path without what it shares with the one before, numbers as short as they are. Who reads it goes
//! through it once, beside a walk (`Cursor`).
//!
//! A file of it is found in a directory that others may write to. It is read as input: a checksum tells
//! damage, every line is checked, and what cannot be true is refused.

mod decode;
mod encode;

pub use decode::RecordError;
pub(crate) use decode::{Cursor, is_beneath};
pub(crate) use encode::Recorder;

use crate::archive::entry::Time;

/// The record of one tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeRecord {
    taken: Time,
    entries: u64,
    /// The lines, which were checked or made here.
    lines: Vec<u8>,
}

/// A line: what was known about one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its path in the tree; that of the tree itself is empty.
    pub(crate) path: Vec<u8>,
    pub(crate) what: What,
    /// The twelve bits of permission.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) modified: Time,
    /// When its inode last changed.
    pub(crate) changed: Time,
    pub(crate) inode: u64,
    /// Bytes of a file or of a link's target; the numbers of a device, the major one in the upper half.
    pub(crate) size: u64,
    /// A hash over the extended attributes of a directory, 0 if it has none. Of all else they are known by
    /// `changed`, which in a directory changes with what is in it.
    pub(crate) xattrs: u64,
    /// A hash of a file's data or of a link's target, if `changed` was too near to trust it alone.
    pub(crate) content: Option<Content>,
}

/// The first half of a SHA-256.
pub(crate) type Content = [u8; 16];

/// What a name is in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    File,
    Directory,
    Symlink,
    Fifo,
    CharacterDevice,
    BlockDevice,
}

/// All kinds, by the numbers that stand for them in a line.
const KINDS: [What; 6] = [
    What::File,
    What::Directory,
    What::Symlink,
    What::Fifo,
    What::CharacterDevice,
    What::BlockDevice,
];

/// What a file begins with; the last byte is the version of the format.
const MAGIC: [u8; 8] = *b"dwtree\0\x01";
/// Seconds and nanoseconds of when it was taken, number of lines, bytes of lines.
const HEAD_BYTES: usize = MAGIC.len() + 8 + 4 + 8 + 8;
/// A SHA-256 over all that stands before it.
const SUM_BYTES: usize = 32;
/// In the byte that says what a line is about: a hash of the content follows …
const HAS_CONTENT: u8 = 0x80;
/// … and one of the extended attributes.
const HAS_XATTRS: u8 = 0x40;

impl TreeRecord {
    /// How many names the tree had, itself included.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// When it was begun: whatever changed after that may be different from what it says.
    pub(crate) fn taken(&self) -> Time {
        self.taken
    }

    /// The lines from the first on.
    pub(crate) fn cursor(&self) -> Cursor<'_> {
        Cursor::new(&self.lines)
    }
}

#[cfg(test)]
mod tests;
