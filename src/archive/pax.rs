//! An entry as the layers of images have it: a ustar header, and PAX records for what that cannot hold.
//!
//! It is what registries, Go, Python, libarchive and GNU tar read, and it depends on nothing but the
//! entry: no process id, no present time, no names of users. A record is written only where the header
//! falls short, and records are sorted by key. A file with holes is in GNU's sparse format 1.0.

use tar::{EntryType, Header};

use super::{
    encode::{BLOCK, entry_type, key_of_name, padding, push, record, set, target},
    entry::{Entry, Kind, Sparse},
};

/// Longest name and longest prefix in a ustar header, in bytes.
const NAME_MAX: usize = 100;
const PREFIX_MAX: usize = 155;
/// Largest owner in seven octal digits …
const ID_MAX: u32 = 0o7777777;
/// … and largest size and time in eleven.
const NUMBER_MAX: u64 = 0o77777777777;
/// Bytes of a member's name that its PAX header shows, for people who list the blocks.
const SHOWN_MAX: usize = 80;

/// A record: its key and its value.
type Record = (Vec<u8>, Vec<u8>);

/// Appends all that stands before the data of `entry`, the map of a file with holes too.
pub(crate) fn encode(entry: &Entry, blocks: &mut Vec<u8>) {
    let path = match entry.kind {
        Kind::Directory => [&entry.path[..], b"/"].concat(),
        _ => entry.path.clone(),
    };
    let map = entry.sparse.as_ref().map(map).unwrap_or_default();
    let size = entry.kind.bytes() + map.len() as u64;
    let shown = match entry.sparse {
        None => path.clone(),
        // Who does not know the format gets something that is not taken for the file itself.
        Some(_) => [b"GNUSparseFile.0/", basename(&path)].concat(),
    };
    let records = records(entry, &path, size);
    if !records.is_empty() {
        attached(&path, &records, blocks);
    }
    let mut header = plain(&shown);
    set(&mut header.as_old_mut().linkname, target(&entry.kind));
    header.set_mode(entry.mode);
    header.set_uid(if entry.uid > ID_MAX { 0 } else { entry.uid.into() });
    header.set_gid(if entry.gid > ID_MAX { 0 } else { entry.gid.into() });
    let seconds = u64::try_from(entry.modified.seconds).ok();
    header.set_mtime(seconds.filter(|seconds| *seconds <= NUMBER_MAX).unwrap_or(0));
    header.set_size(if size > NUMBER_MAX { 0 } else { size });
    header.set_entry_type(entry_type(&entry.kind));
    if let Kind::CharacterDevice(major, minor) | Kind::BlockDevice(major, minor) = entry.kind {
        let ustar = header.as_ustar_mut().expect("it was made as one");
        ustar.set_device_major(major);
        ustar.set_device_minor(minor);
    }
    push(header, blocks);
    blocks.extend_from_slice(&map);
}

/// The records that `entry` needs, sorted. `size` is what is stored of it.
fn records(entry: &Entry, path: &[u8], size: u64) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let mut add = |key: &str, value: &[u8]| records.push((key.into(), value.into()));
    let mut number = |key, value: u64| add(key, value.to_string().as_bytes());
    if entry.uid > ID_MAX {
        number("uid", entry.uid.into());
    }
    if entry.gid > ID_MAX {
        number("gid", entry.gid.into());
    }
    if size > NUMBER_MAX {
        number("size", size);
    }
    if let Some(sparse) = &entry.sparse {
        number("GNU.sparse.major", 1);
        number("GNU.sparse.minor", 0);
        number("GNU.sparse.realsize", sparse.size);
        add("GNU.sparse.name", path);
    } else if !is_plain(path) || split(path).is_none() {
        add("path", path);
    }
    let target = target(&entry.kind);
    if !is_plain(target) || target.len() > NAME_MAX {
        add("linkpath", target);
    }
    let whole = u64::try_from(entry.modified.seconds).is_ok_and(|seconds| seconds <= NUMBER_MAX);
    if !whole || entry.modified.nanoseconds != 0 {
        add("mtime", entry.modified.to_decimal().as_bytes());
    }
    for (name, value) in &entry.xattrs {
        records.push((key_of_name(name), value.clone()));
    }
    records.sort();
    records
}

/// The member that holds the records about the one behind it.
fn attached(path: &[u8], records: &[Record], blocks: &mut Vec<u8>) {
    let data: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
    let base = basename(path);
    let name = [b"PaxHeaders/", &base[..base.len().min(SHOWN_MAX)]].concat();
    let mut header = plain(&name);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(data.len() as u64);
    header.set_entry_type(EntryType::XHeader);
    push(header, blocks);
    blocks.extend_from_slice(&data);
    blocks.resize(blocks.len() + padding(data.len() as u64), 0);
}

/// A ustar header with this name, as much of it as fits.
fn plain(path: &[u8]) -> Header {
    let mut header = Header::new_ustar();
    let ustar = header.as_ustar_mut().expect("it was made as one");
    let (prefix, name) = split(path).unwrap_or((b"", path));
    set(&mut ustar.prefix, prefix);
    set(&mut ustar.name, name);
    // Other writers have zeros there for what is no device; so every reader takes it.
    ustar.set_device_major(0);
    ustar.set_device_minor(0);
    header
}

/// A path as prefix and name of a ustar header, with as little prefix as possible. The slash between them
/// is in neither, and the one behind a directory stays with its name.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME_MAX {
        return Some((b"", path));
    }
    let from = path.len() - NAME_MAX - 1;
    let at = from + path[from..path.len() - 1].iter().position(|byte| *byte == b'/')?;
    (1..=PREFIX_MAX).contains(&at).then(|| (&path[..at], &path[at + 1..]))
}

/// Whether every reader takes the name as it stands in a header.
fn is_plain(name: &[u8]) -> bool {
    name.iter().all(|byte| *byte < 0x80 && *byte != b'\n')
}

/// The map that stands before the data of a file with holes, padded to whole blocks.
fn map(sparse: &Sparse) -> Vec<u8> {
    let end = match sparse.extents.last() {
        // How readers know of a hole at the end.
        Some((offset, length)) if offset + length < sparse.size => Some((sparse.size, 0)),
        None if sparse.size > 0 => Some((sparse.size, 0)),
        Some(_) | None => None,
    };
    let extents = || sparse.extents.iter().copied().chain(end);
    let mut map = format!("{}\n", extents().count());
    for (offset, length) in extents() {
        map += &format!("{offset}\n{length}\n");
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

/// The last component, without the slash behind a directory.
fn basename(path: &[u8]) -> &[u8] {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::entry::Time;

    fn file(path: &[u8]) -> Entry {
        Entry {
            path: path.into(),
            kind: Kind::File(0),
            mode: 0o644,
            uid: 0,
            gid: 0,
            modified: Time::default(),
            xattrs: Vec::new(),
            sparse: None,
        }
    }

    /// The keys of the records that an entry gets.
    fn keys(entry: &Entry) -> Vec<String> {
        let records = records(entry, &entry.path, entry.kind.bytes());
        records.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect()
    }

    #[test]
    fn records_are_written_only_where_the_header_falls_short() {
        type Change = fn(&mut Entry);
        let cases: [(Change, &[&str]); 17] = [
            (|_| {}, &[]),
            (|entry| entry.path = vec![b'x'; 100], &[]),
            (|entry| entry.path = vec![b'x'; 101], &["path"]),
            (|entry| entry.path = [vec![b'p'; 155], vec![b'/'], vec![b'x'; 100]].concat(), &[]),
            (
                |entry| entry.path = [vec![b'p'; 156], vec![b'/'], vec![b'x'; 100]].concat(),
                &["path"],
            ),
            (|entry| entry.path = b"a\nb".to_vec(), &["path"]),
            (|entry| entry.path = b"\xff".to_vec(), &["path"]),
            (|entry| entry.kind = Kind::Symlink(vec![b'x'; 100]), &[]),
            (|entry| entry.kind = Kind::Symlink(vec![b'x'; 101]), &["linkpath"]),
            (|entry| entry.kind = Kind::File((8 << 30) - 1), &[]),
            (|entry| entry.kind = Kind::File(8 << 30), &["size"]),
            (|entry| (entry.uid, entry.gid) = (ID_MAX, ID_MAX), &[]),
            (|entry| (entry.uid, entry.gid) = (ID_MAX + 1, u32::MAX), &["gid", "uid"]),
            (|entry| entry.modified.nanoseconds = 1, &["mtime"]),
            (|entry| entry.modified.seconds = -1, &["mtime"]),
            (|entry| entry.modified.seconds = 1 << 33, &["mtime"]),
            (
                |entry| {
                    entry.xattrs = vec![(b"user.a".into(), b"\0\n".into())];
                    entry.sparse = Some(Sparse { size: 1, extents: Vec::new() });
                    entry.path = vec![b'x'; 300];
                },
                &[
                    "GNU.sparse.major",
                    "GNU.sparse.minor",
                    "GNU.sparse.name",
                    "GNU.sparse.realsize",
                    "SCHILY.xattr.user.a",
                ],
            ),
        ];
        for (number, (change, expected)) in cases.into_iter().enumerate() {
            let mut entry = file(b"a");
            change(&mut entry);
            assert_eq!(keys(&entry), expected, "case {number}");
        }
    }

    #[test]
    fn names_are_split_where_they_fit() {
        let long = |count| vec![b'd'; count];
        let path = [&long(60)[..], b"/", &long(60), b"/"].concat();
        assert_eq!(split(&path), Some((&long(60)[..], &[&long(60)[..], b"/"].concat()[..])));
        assert_eq!(split(&[&long(120)[..], b"/"].concat()), None);
        // A prefix that is nothing would make another path of it.
        assert_eq!(split(&[&b"/"[..], &long(100)].concat()), None);
    }

    #[test]
    fn a_map_ends_with_the_hole_at_the_end() {
        let text = |size, extents| {
            let map = map(&Sparse { size, extents });
            assert_eq!(map.len() % BLOCK, 0);
            String::from_utf8(map).unwrap().trim_end_matches('\0').to_string()
        };
        assert_eq!(text(10, vec![(0, 4), (8, 2)]), "2\n0\n4\n8\n2\n");
        assert_eq!(text(10, vec![(0, 4)]), "2\n0\n4\n10\n0\n");
        assert_eq!(text(10, Vec::new()), "1\n10\n0\n");
    }
}
