//! The same tree is the same layer, wherever and however it was made.

use std::time::{Duration, UNIX_EPOCH};

use super::*;

/// What a file is made of.
enum Make<'a> {
    Directory,
    File(&'a [u8]),
    /// Data at an offset, and the file's size.
    Holes(&'a [(u64, &'a [u8])], u64),
    Symlink(&'a str),
    Hardlink(&'a str),
    Fifo,
}

/// Makes a tree in an order of its own, and gives everything the same times in the end.
fn build(top: &Path, order: impl Fn(usize) -> usize) {
    let block: Vec<u8> = (0..3_000_000_u32).map(|n| (n >> 7) as u8).collect();
    let tree = [
        ("a", Make::Directory),
        ("a/b", Make::Directory),
        ("a-b", Make::File(b"sorts before a/b, as bytes")),
        ("a/b/large", Make::File(&block)),
        ("a/b/small", Make::File(b"small")),
        ("a/empty", Make::File(b"")),
        ("holes", Make::Holes(&[(0, b"x"), (1 << 20, &[7; 5000]), (3_000_000, b"y")], 9_000_000)),
        ("link", Make::Symlink("a/b")),
        ("pipe", Make::Fifo),
        ("z", Make::Hardlink("a/b/small")),
        ("0", Make::Hardlink("a/b/small")),
    ];
    for late in [false, true] {
        for index in 0..tree.len() {
            let (path, make) = &tree[order(index) % tree.len()];
            let is_late = matches!(make, Make::Hardlink(_));
            if late == is_late {
                one(top, path, make);
            }
        }
    }
    for index in [order(0), order(0) + 1] {
        attribute(&top.join("a-b"), ["user.one", "user.two"][index % 2]).unwrap();
    }
    let mut paths: Vec<&str> = tree.iter().map(|(path, _)| *path).collect();
    paths.sort_by_key(|path| std::cmp::Reverse(path.len()));
    for path in paths.into_iter().chain([""]) {
        let times = rustix::fs::Timespec { tv_sec: 1_700_000_000, tv_nsec: 123_456_789 };
        let times = rustix::fs::Timestamps { last_access: times, last_modification: times };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(CWD, top.join(path), &times, flags).unwrap();
    }
    assert!(UNIX_EPOCH + Duration::from_secs(1) < fs::metadata(top).unwrap().modified().unwrap());
}

fn one(top: &Path, path: &str, make: &Make<'_>) {
    use std::os::unix::fs::{FileExt, PermissionsExt};
    let at = top.join(path);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    match make {
        Make::Directory => fs::create_dir_all(&at).unwrap(),
        Make::File(data) => fs::write(&at, data).unwrap(),
        Make::Holes(pieces, size) => {
            let file = File::create(&at).unwrap();
            file.set_len(*size).unwrap();
            for (offset, data) in *pieces {
                file.write_all_at(data, *offset).unwrap();
            }
        }
        Make::Symlink(target) => symlink(target, &at).unwrap(),
        Make::Hardlink(of) => fs::hard_link(top.join(of), &at).unwrap(),
        Make::Fifo => fifo(&at),
    }
    if !matches!(make, Make::Symlink(_)) {
        let mode = if at.is_dir() { 0o755 } else { 0o640 };
        fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn attribute(path: &Path, name: &str) -> rustix::io::Result<()> {
    rustix::fs::lsetxattr(path, name, b"value", rustix::fs::XattrFlags::empty())
}

/// A fresh directory on another file system, if there is one that has attributes.
fn elsewhere() -> Option<tempfile::TempDir> {
    let directory = tempfile::tempdir_in("/dev/shm").ok()?;
    attribute(directory.path(), "user.trial").ok()?;
    rustix::fs::lremovexattr(directory.path(), "user.trial").ok()?;
    Some(directory)
}

#[test]
fn the_same_tree_is_the_same_layer() {
    let here = tempfile::tempdir().unwrap();
    build(here.path(), |index| index);
    fs::set_permissions(here.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let spec = SnapshotSpec { compression: Compression::Zstd(1), ..plain() };
    let (bytes, tree) = packed(here.path(), &spec);
    assert!(tree.layer.unwrap().tar_bytes < 4_000_000, "the holes are packed");
    let others = [Some(tempfile::tempdir().unwrap()), elsewhere()];
    let mut seen = 0;
    for other in others.into_iter().flatten() {
        // 7 and 11 have no common divisor: every one has its turn.
        build(other.path(), |index| index * 7 + 3);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(other.path(), mode).unwrap();
        for threads in [1, 3] {
            let (again, _) = packed(other.path(), &SnapshotSpec { threads, ..spec });
            assert!(again == bytes, "{} with {threads} threads differs", other.path().display());
        }
        seen += 1;
    }
    if seen < 2 {
        println!("SKIPPED: image::snapshot::same: /dev/shm cannot be used");
    }
}
