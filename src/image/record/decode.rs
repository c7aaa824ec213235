//! Reads a record, which is not trusted until all of it was checked.

use std::cmp::Ordering;

use sha2::{Digest, Sha256};

use super::{
    HAS_CONTENT, HAS_XATTRS, HEAD_BYTES, KINDS, Known, MAGIC, SUM_BYTES, TreeRecord, What,
};
use crate::{
    archive::entry::Time,
    core::limits::{TREE_RECORD_BYTES_MAX, TREE_RECORD_PATH_BYTES_MAX},
};

/// Why a record is not used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecordError {
    /// It is no record, or one of another version.
    #[error("read the record of a tree: it is of another kind or version")]
    Foreign,
    /// Its checksum or its lengths are wrong.
    #[error("read the record of a tree: it is damaged or cut short")]
    Damaged,
    /// It has more bytes than are read.
    #[error("read the record of a tree: it is larger than any that is made")]
    TooLarge,
    /// What is wrong, and in which line, from 1 on.
    #[error("read the record of a tree: {0}, in line {1}")]
    Malformed(&'static str, u64),
}

/// A place in a record.
pub(crate) struct Cursor<'a> {
    ahead: &'a [u8],
    /// The path that the next line shares with.
    last: Vec<u8>,
    next: Option<Known>,
}

impl TreeRecord {
    /// Reads what [`TreeRecord::to_bytes`] made.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > HEAD_BYTES + TREE_RECORD_BYTES_MAX + SUM_BYTES {
            return Err(RecordError::TooLarge);
        }
        if !bytes.starts_with(&MAGIC) {
            return Err(RecordError::Foreign);
        }
        let (body, sum) = bytes.split_last_chunk::<SUM_BYTES>().ok_or(RecordError::Damaged)?;
        if body.len() < HEAD_BYTES || Sha256::digest(body)[..] != sum[..] {
            return Err(RecordError::Damaged);
        }
        let mut head = &body[MAGIC.len()..];
        let seconds = i64::from_le_bytes(take(&mut head).ok_or(RecordError::Damaged)?);
        let nanoseconds = u32::from_le_bytes(take(&mut head).ok_or(RecordError::Damaged)?);
        let entries = u64::from_le_bytes(take(&mut head).ok_or(RecordError::Damaged)?);
        let length = u64::from_le_bytes(take(&mut head).ok_or(RecordError::Damaged)?);
        if length != head.len() as u64 || nanoseconds >= 1_000_000_000 {
            return Err(RecordError::Damaged);
        }
        check(head, entries)?;
        Ok(Self { taken: Time { seconds, nanoseconds }, entries, lines: head.to_vec() })
    }
}

impl<'a> Cursor<'a> {
    pub(super) fn new(lines: &'a [u8]) -> Self {
        let mut cursor = Self { ahead: lines, last: Vec::new(), next: None };
        cursor.advance();
        cursor
    }

    /// The next line.
    pub(crate) fn peek(&self) -> Option<&Known> {
        self.next.as_ref()
    }

    /// Takes the next line.
    pub(crate) fn take(&mut self) -> Option<Known> {
        let taken = self.next.take();
        self.advance();
        taken
    }

    /// Passes over everything beneath `path`.
    pub(crate) fn skip_beneath(&mut self, path: &[u8]) {
        while self.next.as_ref().is_some_and(|next| is_beneath(&next.path, path)) {
            self.advance();
        }
    }

    fn advance(&mut self) {
        // A record that exists was checked; what could not be read would be its end.
        self.next = line(&mut self.ahead, &mut self.last).ok().flatten();
    }
}

/// Whether `path` is in the directory `above`, or deeper. The tree itself has the empty path.
pub(crate) fn is_beneath(path: &[u8], above: &[u8]) -> bool {
    match path.strip_prefix(above) {
        Some(rest) if above.is_empty() => !rest.is_empty(),
        Some(rest) => rest.first() == Some(&b'/'),
        None => false,
    }
}

/// Checks that lines are what a walk makes: in order, each in a directory that has a line.
fn check(mut lines: &[u8], entries: u64) -> Result<(), RecordError> {
    let mut path = Vec::new();
    let mut before: Option<Vec<u8>> = None;
    // How long the paths of the directories are that the last line is in or is.
    let mut open: Vec<usize> = Vec::new();
    let mut count = 0;
    loop {
        let bad = |what| RecordError::Malformed(what, count + 1);
        let Some(known) = line(&mut lines, &mut path).map_err(bad)? else { break };
        match &before {
            None if known.path.is_empty() && known.what == What::Directory => {}
            None => return Err(bad("it does not begin with the tree itself")),
            Some(before) => {
                if order(before, &known.path) != Ordering::Less {
                    return Err(bad("it is out of order"));
                }
                let slash = known.path.iter().rposition(|byte| *byte == b'/');
                let (parent, name) = match slash {
                    Some(0) => return Err(bad("it has a name that no file has")),
                    Some(at) => (&known.path[..at], &known.path[at + 1..]),
                    None => (&[][..], &known.path[..]),
                };
                if matches!(name, b"" | b"." | b"..") || name.contains(&0) {
                    return Err(bad("it has a name that no file has"));
                }
                open.retain(|length| *length <= parent.len());
                if open.last() != Some(&parent.len()) || !before.starts_with(parent) {
                    return Err(bad("it is in no directory of the tree"));
                }
            }
        }
        if known.what == What::Directory {
            open.push(known.path.len());
        }
        before = Some(known.path);
        count += 1;
    }
    if count == entries && count > 0 { Ok(()) } else { Err(RecordError::Damaged) }
}

/// The order of a walk: by components, so that a slash comes before every other byte.
fn order(one: &[u8], other: &[u8]) -> Ordering {
    one.split(|byte| *byte == b'/').cmp(other.split(|byte| *byte == b'/'))
}

/// Reads a line; `None` at the end. `path` is the path of the line before, and then of this one.
fn line(ahead: &mut &[u8], path: &mut Vec<u8>) -> Result<Option<Known>, &'static str> {
    const CUT: &str = "it is cut short";
    if ahead.is_empty() {
        return Ok(None);
    }
    let length =
        |value: u64| usize::try_from(value).ok().filter(|n| *n <= TREE_RECORD_PATH_BYTES_MAX);
    let shared = length(number(ahead)?).filter(|shared| *shared <= path.len());
    let rest = length(number(ahead)?).filter(|rest| *rest <= ahead.len());
    let (shared, rest) = shared.zip(rest).ok_or("its path has no length")?;
    let (rest, after) = ahead.split_at(rest);
    *ahead = after;
    path.truncate(shared);
    path.extend_from_slice(rest);
    if path.len() > TREE_RECORD_PATH_BYTES_MAX {
        return Err("its path is too long");
    }
    let [mark] = take(ahead).ok_or(CUT)?;
    let what = KINDS.get(usize::from(mark & !(HAS_CONTENT | HAS_XATTRS)));
    let what = *what.ok_or("it is of no kind")?;
    let mut small = || u32::try_from(number(ahead)?).map_err(|_| "a number is too large");
    let (mode, uid, gid) = (small()?, small()?, small()?);
    let mut moment = || {
        let seconds = unzigzag(number(ahead)?);
        let nanoseconds = u32::try_from(number(ahead)?).ok().filter(|n| *n < 1_000_000_000);
        Ok::<_, &'static str>(Time { seconds, nanoseconds: nanoseconds.ok_or("it has no time")? })
    };
    let (modified, changed) = (moment()?, moment()?);
    let (inode, size) = (number(ahead)?, number(ahead)?);
    let xattrs = match mark & HAS_XATTRS {
        0 => 0,
        _ => u64::from_le_bytes(take(ahead).ok_or(CUT)?),
    };
    let content = match mark & HAS_CONTENT {
        0 => None,
        _ => Some(take(ahead).ok_or(CUT)?),
    };
    let path = path.clone();
    let known =
        Known { path, what, mode, uid, gid, modified, changed, inode, size, xattrs, content };
    Ok(Some(known))
}

fn number(ahead: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let [byte] = take(ahead).ok_or("it is cut short")?;
        let bits = u64::from(byte & 0x7f);
        if (bits << shift) >> shift != bits {
            break;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number has no end")
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn take<const N: usize>(ahead: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = ahead.split_first_chunk()?;
    *ahead = after;
    Some(*taken)
}
