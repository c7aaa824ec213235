//! What other programs write, read again.

use std::{fs, os::unix::fs::FileExt, path::Path, process::Command};

use tar::{EntryType, Header};

use super::{
    decode::{Member, Stream, StreamError},
    entry::{Entry, Kind, Sparse, Time},
};

/// All entries of an archive, each with its data.
fn read(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, StreamError> {
    let mut stream = Stream::new(archive);
    let mut all = Vec::new();
    while let Some(member) = stream.next()? {
        let Member::Entry(entry) = member else { panic!("an entry of a kind that is not known") };
        let mut data = Vec::new();
        loop {
            match stream.data()? {
                [] => break,
                piece => data.extend_from_slice(piece),
            }
            let taken = data.len() as u64 - (entry.kind.bytes() - stream.data_left());
            stream.consume(usize::try_from(taken).unwrap());
        }
        all.push((entry, data));
    }
    Ok(all)
}

/// The bytes of a file with holes.
fn filled(shape: &Sparse, mut stored: &[u8]) -> Vec<u8> {
    let mut file = vec![0; usize::try_from(shape.size).unwrap()];
    for (offset, length) in &shape.extents {
        let piece;
        (piece, stored) = stored.split_at(usize::try_from(*length).unwrap());
        file[usize::try_from(*offset).unwrap()..][..piece.len()].copy_from_slice(piece);
    }
    assert!(stored.is_empty());
    file
}

/// A header by hand, of which `change` makes what it shall be, with its data.
fn member(kind: EntryType, path: &str, data: &[u8], change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(data.len() as u64);
    change(&mut header);
    header.set_cksum();
    let mut blocks = [header.as_bytes(), data].concat();
    blocks.resize(blocks.len().next_multiple_of(512), 0);
    blocks
}

fn same(_: &mut Header) {}

/// The archive of these members.
fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

fn records(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut all = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest + 1..).find(|length| rest + length.to_string().len() == *length);
        all.extend_from_slice(format!("{} {key}=", length.unwrap()).as_bytes());
        all.extend_from_slice(value);
        all.push(b'\n');
    }
    all
}

#[test]
fn sparse_files_of_gnu_tar_in_all_its_ways() {
    let top = tempfile::tempdir().unwrap();
    let file = fs::File::create(top.path().join("sparse")).unwrap();
    for number in 0..40 {
        // More pieces than a header has room for, and than one block of a map.
        file.write_all_at(format!("data {number}").as_bytes(), number << 16).unwrap();
    }
    file.set_len(5 << 20).unwrap();
    fs::write(top.path().join("whole"), "whole").unwrap();
    let expected = fs::read(top.path().join("sparse")).unwrap();
    for ways in [
        &["--format=gnu"][..],
        &["--format=oldgnu"],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        let mut tar = Command::new("tar");
        tar.current_dir(top.path()).args(["-c", "-S"]).args(ways).args(["sparse", "whole"]);
        let all = read(&tar.output().unwrap().stdout).unwrap();
        let [(sparse, data), (whole, rest)] = &all[..] else { panic!("{ways:?}: {all:?}") };
        assert_eq!((&sparse.path[..], &whole.path[..]), (&b"sparse"[..], &b"whole"[..]));
        let shape = sparse.sparse.as_ref().expect("it is sparse");
        assert!(data.len() < 1 << 20, "{ways:?}: {} bytes", data.len());
        assert_eq!(filled(shape, data), expected, "{ways:?}");
        assert_eq!((&rest[..], &whole.sparse), (&b"whole"[..], &None), "{ways:?}");
    }
}

#[test]
fn maps_that_lie_are_refused() {
    let sparse = |data: &[u8], offset: u64, length: u64, size: u64| {
        archive(&[member(EntryType::GNUSparse, "x", data, |header| {
            let gnu = header.as_gnu_mut().unwrap();
            gnu.sparse[0].set_offset(offset);
            gnu.sparse[0].set_length(length);
            gnu.set_real_size(size);
        })])
    };
    let far = 1 << 40;
    let all = read(&sparse(b"data", far, 4, far + 4)).unwrap();
    assert_eq!(all[0].0.sparse, Some(Sparse { size: far + 4, extents: vec![(far, 4)] }));
    for (offset, length, size) in [(0, 5, 5), (0, 3, 5), (2, 4, 5), (u64::MAX >> 1, 4, 9)] {
        let read = read(&sparse(b"data", offset, length, size));
        assert!(matches!(read, Err(StreamError::Malformed(_))), "{offset} {length} {size}");
    }
    let newest = |map: &[u8]| {
        let said: [(&str, &[u8]); 3] =
            [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")];
        archive(&[
            member(EntryType::XHeader, "x", &records(&said), same),
            member(EntryType::Regular, "x", map, same),
        ])
    };
    let padded = |text: &str| [text.as_bytes(), &vec![0; 512 - text.len()], b"data"].concat();
    assert_eq!(read(&newest(&padded("1\n5\n4\n"))).unwrap()[0].1, b"data");
    for map in ["1\n5\n", "1\n6\n4\n", "2\n0\n4\n4\n4\n", "300000\n", "one\n", "1 5 4\n"] {
        let read = read(&newest(&padded(map)));
        assert!(matches!(read, Err(StreamError::Malformed(_))), "{map:?}");
    }
}

#[test]
fn extended_attributes_come_along() {
    let binary: Vec<u8> = (0..=255).collect();
    let said: [(&str, &[u8]); 6] = [
        ("SCHILY.xattr.user.z", b"last"),
        ("SCHILY.xattr.user.binary", &binary),
        ("SCHILY.xattr.user.with=equals", b""),
        ("SCHILY.xattr.user.z", b"really last"),
        ("LIBARCHIVE.xattr.user.z", b"bGFzdA"),
        ("mtime", b"-1.5"),
    ];
    let all = read(&archive(&[
        member(EntryType::XHeader, "x", &records(&said), same),
        member(EntryType::Regular, "first", b"", same),
        member(EntryType::Regular, "second", b"", same),
    ]));
    let all = all.unwrap();
    // A key ends at its first equals sign.
    let expected: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (b"user.binary".to_vec(), binary),
        (b"user.with".to_vec(), b"equals=".to_vec()),
        (b"user.z".to_vec(), b"really last".to_vec()),
    ];
    assert_eq!(all[0].0.xattrs, expected);
    assert_eq!(all[0].0.modified, Time { seconds: -2, nanoseconds: 500_000_000 });
    assert_eq!((all[1].0.xattrs.len(), all[1].0.modified), (0, Time::default()));
}

#[test]
fn numbers_beyond_their_fields() {
    let all = read(&archive(&[
        member(EntryType::Regular, "binary", b"", |header| {
            header.set_uid(u32::MAX.into());
            header.set_gid(1 << 30);
            let old = header.as_old_mut();
            old.mtime = [0xff; 12];
            old.mtime[11] = 0xfe;
        }),
        member(EntryType::XHeader, "x", &records(&[("uid", b"3000000"), ("size", b"4")]), same),
        member(EntryType::Regular, "records", b"data", |header| header.set_size(0)),
        // A value of nothing takes an earlier one back.
        member(EntryType::XHeader, "x", &records(&[("path", b"a"), ("path", b"")]), same),
        member(EntryType::Regular, "after", b"", same),
    ]));
    let all = all.unwrap();
    let ids = |index: usize| (all[index].0.uid, all[index].0.gid);
    assert_eq!((ids(0), ids(1)), ((u32::MAX, 1 << 30), (3_000_000, 0)));
    assert_eq!(all[0].0.modified.seconds, -2);
    assert_eq!((&all[1].1[..], &all[2].0.path[..]), (&b"data"[..], &b"after"[..]));
    let negative = member(EntryType::Regular, "x", b"", |header| {
        header.as_old_mut().size = [0xff; 12];
    });
    assert!(matches!(read(&archive(&[negative])), Err(StreamError::Malformed(_))));
    let negative = member(EntryType::XHeader, "x", &records(&[("size", b"-1")]), same);
    let negative = archive(&[negative, member(EntryType::Regular, "x", b"", same)]);
    assert!(matches!(read(&negative), Err(StreamError::Malformed(_))));
}

#[test]
fn only_files_have_data() {
    for kind in [EntryType::Link, EntryType::Symlink, EntryType::Directory, EntryType::Fifo] {
        let all = read(&archive(&[
            member(kind, "x", b"", |header| header.set_size(1 << 30)),
            member(EntryType::Regular, "behind", b"data", same),
        ]));
        let all = all.unwrap();
        assert_eq!((all.len(), all[0].0.kind.bytes(), &all[1].1[..]), (2, 0, &b"data"[..]));
    }
}

#[test]
fn what_describes_one_member_is_bounded_together() {
    let half = records(&[("comment", &vec![b'x'; 600_000])]);
    let header = || member(EntryType::XHeader, "x", &half, same);
    let file = || member(EntryType::Regular, "x", b"", same);
    assert_eq!(read(&archive(&[header(), file(), header(), file()])).unwrap().len(), 2);
    let error = read(&archive(&[header(), header(), file()])).unwrap_err();
    assert!(error.to_string().contains("1 MiB"), "{error}");
}

#[test]
fn archives_of_gnu_tar_with_attributes() {
    let top = tempfile::tempdir().unwrap();
    let path = top.path().join("file");
    fs::write(&path, "data").unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    if let Err(errno) = rustix::fs::setxattr(&path, "user.colour", b"\0red\n", flags) {
        println!("SKIPPED: extended attributes: {errno}");
        return;
    }
    let mut tar = Command::new("tar");
    tar.current_dir(top.path()).args(["-c", "--format=pax", "--xattrs", "file"]);
    let all = read(&tar.output().unwrap().stdout).unwrap();
    assert_eq!(all[0].0.xattrs, [(b"user.colour".to_vec(), b"\0red\n".to_vec())]);
    assert_eq!(all[0].0.kind, Kind::File(4));
    assert_eq!(Path::new("file").as_os_str().as_encoded_bytes(), all[0].0.path);
}
