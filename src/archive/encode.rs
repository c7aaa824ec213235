//! An entry as the blocks that stand before its data.
//!
//! The format is GNU's: long names and links in members of their own, large numbers in base 256,
//! which GNU tar, libarchive and Python read. Only a time with a fraction, or before the epoch, and extended
//! attributes are PAX records, the latter as GNU tar and libarchive write them. A PAX record for a name would not survive a newline in it with every reader.

use tar::{EntryType, Header};

use super::entry::{Entry, Kind};

/// The size of everything in an archive.
pub(crate) const BLOCK: usize = 512;
/// What an archive ends with.
pub(crate) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];
/// The name that GNU tar gives the member that holds a long name.
const LONG_LINK: &[u8] = b"././@LongLink";
/// What the key of an extended attribute's record begins with; its name follows.
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";
const EQUALS: &[u8] = b"%3D";
const PERCENT: &[u8] = b"%25";
/// Longest name that stands in the header itself.
const NAME_MAX: usize = 100;

/// Appends all that stands before the data of `entry`.
pub(super) fn encode(entry: &Entry, blocks: &mut Vec<u8>) {
    let path = match entry.kind {
        Kind::Directory => [&entry.path[..], b"/"].concat(),
        _ => entry.path.clone(),
    };
    let link = target(&entry.kind);
    let mut records = Vec::new();
    let plain_time = entry.modified.nanoseconds == 0 && entry.modified.seconds >= 0;
    if !plain_time {
        records = record(b"mtime", entry.modified.to_decimal().as_bytes());
    }
    for (name, value) in &entry.xattrs {
        records.extend_from_slice(&record(&key_of_name(name), value));
    }
    if !records.is_empty() {
        attached(EntryType::XHeader, b"PaxHeader", &records, blocks);
    }
    for (kind, text) in [(EntryType::GNULongLink, link), (EntryType::GNULongName, &path)] {
        if text.len() > NAME_MAX {
            attached(kind, LONG_LINK, &[text, b"\0"].concat(), blocks);
        }
    }
    let mut header = Header::new_gnu();
    set(&mut header.as_old_mut().name, &path);
    set(&mut header.as_old_mut().linkname, link);
    header.set_mode(entry.mode);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_mtime(u64::try_from(entry.modified.seconds).unwrap_or(0));
    header.set_size(entry.kind.bytes());
    header.set_entry_type(entry_type(&entry.kind));
    if let Kind::CharacterDevice(major, minor) | Kind::BlockDevice(major, minor) = entry.kind {
        let gnu = header.as_gnu_mut().expect("it was made as one");
        gnu.set_device_major(major);
        gnu.set_device_minor(minor);
    }
    push(header, blocks);
}

/// What a link leads to.
pub(super) fn target(kind: &Kind) -> &[u8] {
    match kind {
        Kind::Symlink(target) | Kind::Hardlink(target) => target,
        Kind::File(_)
        | Kind::Directory
        | Kind::Fifo
        | Kind::CharacterDevice(..)
        | Kind::BlockDevice(..) => &[],
    }
}

/// The letter of a kind.
pub(super) fn entry_type(kind: &Kind) -> EntryType {
    match kind {
        Kind::File(_) => EntryType::Regular,
        Kind::Directory => EntryType::Directory,
        Kind::Symlink(_) => EntryType::Symlink,
        Kind::Hardlink(_) => EntryType::Link,
        Kind::Fifo => EntryType::Fifo,
        Kind::CharacterDevice(..) => EntryType::Char,
        Kind::BlockDevice(..) => EntryType::Block,
    }
}

/// The zeros between `bytes` of data and the next block.
pub(crate) fn padding(bytes: u64) -> usize {
    let block = BLOCK as u64;
    usize::try_from((block - bytes % block) % block).expect("it is less than a block")
}

/// A member that says something about the one behind it.
fn attached(kind: EntryType, name: &[u8], data: &[u8], blocks: &mut Vec<u8>) {
    let mut header = Header::new_gnu();
    set(&mut header.as_old_mut().name, name);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(data.len() as u64);
    header.set_entry_type(kind);
    push(header, blocks);
    blocks.extend_from_slice(data);
    blocks.resize(blocks.len() + padding(data.len() as u64), 0);
}

pub(super) fn push(mut header: Header, blocks: &mut Vec<u8>) {
    header.set_cksum();
    blocks.extend_from_slice(header.as_bytes());
}

/// As much of `text` as the field takes; all of it needs no NUL behind it.
pub(super) fn set(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// A PAX record: its own length, a blank, `key=value` and a newline.
pub(super) fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    // The length counts its own digits.
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// The key of an extended attribute's record. A key ends at the first `=`, so that one in a name is written as
/// GNU tar does.
pub(super) fn key_of_name(name: &[u8]) -> Vec<u8> {
    let mut key = XATTR.to_vec();
    for byte in name {
        match byte {
            b'=' => key.extend_from_slice(EQUALS),
            b'%' => key.extend_from_slice(PERCENT),
            byte => key.push(*byte),
        }
    }
    key
}

/// The name of an extended attribute by what stands in its record's key behind [`XATTR`].
pub(super) fn name_of_key(mut key: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(key.len());
    while let Some((first, rest)) = key.split_first() {
        let (byte, rest) = match (key.strip_prefix(EQUALS), key.strip_prefix(PERCENT)) {
            (Some(rest), _) => (b'=', rest),
            (None, Some(rest)) => (b'%', rest),
            (None, None) => (*first, rest),
        };
        name.push(byte);
        key = rest;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_keys_and_names_again() {
        let cases: [(&[u8], &[u8]); 3] = [
            (b"user.a", b"SCHILY.xattr.user.a"),
            (b"user.a=b%=", b"SCHILY.xattr.user.a%3Db%25%3D"),
            (b"user.%3D", b"SCHILY.xattr.user.%253D"),
        ];
        for (name, key) in cases {
            assert_eq!(key_of_name(name), key);
            assert_eq!(name_of_key(key.strip_prefix(XATTR).unwrap()), name);
        }
        assert_eq!(name_of_key(b"user.%41%"), b"user.%41%");
    }

    #[test]
    fn a_record_counts_itself() {
        assert_eq!(record(b"a", b"1"), b"6 a=1\n");
        assert_eq!(record(b"mtime", b"1.5"), b"13 mtime=1.5\n");
        // With the second digit of its length it is longer than with one.
        assert_eq!(record(b"ab", b"1234"), b"11 ab=1234\n");
        assert_eq!(record(b"path", &[b'x'; 92])[..4], *b"102 ");
    }

    #[test]
    fn padding_fills_a_block() {
        let cases = [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)];
        for (bytes, zeros) in cases {
            assert_eq!(padding(bytes), zeros);
        }
    }
}
