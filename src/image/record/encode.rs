//! Writes a record, line after line.

use sha2::{Digest, Sha256};

use super::{HAS_CONTENT, HAS_XATTRS, HEAD_BYTES, KINDS, Known, MAGIC, SUM_BYTES, TreeRecord};
use crate::{archive::entry::Time, core::limits::TREE_RECORD_BYTES_MAX};

/// A record that is being made. Lines come in the order of a walk.
pub(crate) struct Recorder {
    taken: Time,
    entries: u64,
    lines: Vec<u8>,
    last: Vec<u8>,
    full: bool,
}

impl Recorder {
    pub(crate) fn new(taken: Time) -> Self {
        Self { taken, entries: 0, lines: Vec::new(), last: Vec::new(), full: false }
    }

    /// Adds a line. Beyond the bound nothing is added any more, and there will be no record.
    pub(crate) fn push(&mut self, known: &Known) {
        let shared = self.last.iter().zip(&known.path).take_while(|(a, b)| a == b).count();
        let rest = &known.path[shared..];
        self.full |= self.lines.len() + rest.len() + 128 > TREE_RECORD_BYTES_MAX;
        if self.full {
            return;
        }
        let kind = KINDS.iter().position(|kind| *kind == known.what).expect("all are in it");
        let mut mark = u8::try_from(kind).expect("they are few");
        mark |= if known.content.is_some() { HAS_CONTENT } else { 0 };
        mark |= if known.xattrs != 0 { HAS_XATTRS } else { 0 };
        number(shared as u64, &mut self.lines);
        number(rest.len() as u64, &mut self.lines);
        self.lines.extend_from_slice(rest);
        self.lines.push(mark);
        for value in [known.mode, known.uid, known.gid] {
            number(value.into(), &mut self.lines);
        }
        for moment in [known.modified, known.changed] {
            number(zigzag(moment.seconds), &mut self.lines);
            number(moment.nanoseconds.into(), &mut self.lines);
        }
        number(known.inode, &mut self.lines);
        number(known.size, &mut self.lines);
        if known.xattrs != 0 {
            self.lines.extend_from_slice(&known.xattrs.to_le_bytes());
        }
        self.lines.extend_from_slice(known.content.as_ref().map_or(&[], |content| &content[..]));
        self.entries += 1;
        self.last.truncate(shared);
        self.last.extend_from_slice(rest);
    }

    /// The record; `None` if the tree has more names than one can hold.
    pub(crate) fn finish(mut self) -> Option<TreeRecord> {
        self.lines.shrink_to_fit();
        let (taken, entries, lines) = (self.taken, self.entries, self.lines);
        (!self.full).then_some(TreeRecord { taken, entries, lines })
    }
}

impl TreeRecord {
    /// As it stands in a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.lines.len() + SUM_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.taken.seconds.to_le_bytes());
        bytes.extend_from_slice(&self.taken.nanoseconds.to_le_bytes());
        bytes.extend_from_slice(&self.entries.to_le_bytes());
        bytes.extend_from_slice(&(self.lines.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&self.lines);
        let sum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn number(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Small numbers for small distances from 0, on either side.
fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}
