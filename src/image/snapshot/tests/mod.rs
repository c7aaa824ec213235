//! Trees packed, and what other programs read in the layers.

pub(in crate::image) mod changes;
mod meanwhile;
mod model;
mod mounts;
mod readers;
mod same;

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, fs::symlink},
    },
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

/// Packs everything, uncompressed.
fn plain() -> SnapshotSpec<'static> {
    SnapshotSpec {
        compression: Compression::Plain,
        devices: Devices::Packed,
        left_out: &[],
        own_mounts: &[],
        base: None,
        threads: 2,
    }
}

/// Packs a directory; what was written, and what was said of it.
fn packed(top: &Path, spec: &SnapshotSpec<'_>) -> (Vec<u8>, PackedTree) {
    let mut out = Vec::new();
    let root = File::open(top).unwrap();
    let tree = pack_layer(root.as_fd(), spec, &mut out, &AtomicBool::new(false)).unwrap();
    (out, tree)
}

/// The record of a directory, as after it was unpacked.
fn recorded(top: &Path) -> TreeRecord {
    let root = File::open(top).unwrap();
    record_tree(root.as_fd(), &plain(), &AtomicBool::new(false)).unwrap().0.unwrap()
}

fn name(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
}

/// Whether this test may give files away, make devices and mount; says so if not.
fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIPPED: image::snapshot::{test}: not root");
        let must = std::env::var_os("DOORWARD_TESTS_MUST_RUN").is_some();
        assert!(!must, "all tests have to run");
    }
    root
}

#[test]
fn a_layer_is_what_its_digests_say() {
    let top = tempfile::tempdir().unwrap();
    fs::write(top.path().join("small"), "small").unwrap();
    fs::write(top.path().join("large"), vec![7; 5 << 20]).unwrap();
    let (plain_bytes, tree) = packed(top.path(), &plain());
    let plain_layer = tree.layer.unwrap();
    assert_eq!(plain_layer.digest, plain_layer.diff_id);
    for compression in [Compression::Zstd(1), Compression::Gzip(6), Compression::Plain] {
        let spec = SnapshotSpec { compression, ..plain() };
        let (bytes, tree) = packed(top.path(), &spec);
        let layer = tree.layer.unwrap();
        let stream = match compression {
            Compression::Zstd(_) => zstd::decode_all(&bytes[..]).unwrap(),
            Compression::Gzip(_) => {
                let mut stream = Vec::new();
                let mut members = flate2::read::MultiGzDecoder::new(&bytes[..]);
                io::Read::read_to_end(&mut members, &mut stream).unwrap();
                stream
            }
            Compression::Plain => bytes.clone(),
        };
        assert_eq!(stream, plain_bytes, "{compression:?}");
        assert_eq!((layer.bytes, layer.digest), (bytes.len() as u64, Digest::of(&bytes)));
        assert_eq!((layer.tar_bytes, layer.diff_id), (stream.len() as u64, Digest::of(&stream)));
        assert_eq!((tree.counts.entries, tree.counts.data_bytes), (3, 5 + (5 << 20)));
    }
}

#[test]
fn what_a_layer_cannot_have_is_counted_and_named() {
    let top = tempfile::tempdir().unwrap();
    let at = |path: &str| top.path().join(path);
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    fs::write(at(".wh.file"), "").unwrap();
    fs::create_dir(at(".wh..wh..opq")).unwrap();
    fs::create_dir_all(at("state/deep")).unwrap();
    fs::write(at("kept"), "").unwrap();
    let left_out = [PathBuf::from("state/")];
    let (bytes, tree) = packed(top.path(), &SnapshotSpec { left_out: &left_out, ..plain() });
    let paths: Vec<Vec<u8>> = model::members(&bytes).into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, [&b"./"[..], b"kept"]);
    let Counts { sockets, unnamable, unreadable, notes, .. } = tree.counts;
    assert_eq!((sockets, unnamable, unreadable), (1, 2, 0));
    assert_eq!(notes.len(), 2);
    assert!(notes[1].starts_with(".wh.file: left out"), "{notes:?}");
}

#[test]
fn devices_are_packed_where_they_are_asked_for() {
    if !is_root("devices") {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let device = rustix::fs::makedev(1, 3);
    let made = mknodat(CWD, top.path().join("null"), FileType::CharacterDevice, Mode::RUSR, device);
    if let Err(errno) = made {
        println!("SKIPPED: image::snapshot::devices: {errno}");
        return;
    }
    let (bytes, tree) = packed(top.path(), &plain());
    assert_eq!((model::members(&bytes).len(), tree.counts.devices), (2, 0));
    let spec = SnapshotSpec { devices: Devices::Skipped, ..plain() };
    let (bytes, tree) = packed(top.path(), &spec);
    assert_eq!((model::members(&bytes).len(), tree.counts.devices), (1, 1));
}

#[test]
fn a_walk_ends_when_it_shall() {
    let top = tempfile::tempdir().unwrap();
    fs::write(top.path().join("file"), vec![7; 30 << 20]).unwrap();
    let root = File::open(top.path()).unwrap();
    let stopped =
        pack_layer(root.as_fd(), &plain(), &mut io::sink(), &AtomicBool::new(true)).unwrap_err();
    assert!(matches!(stopped, SnapshotError::Stopped), "{stopped}");

    /// A disk with little room.
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for compression in [Compression::Plain, Compression::Zstd(1)] {
        let spec = SnapshotSpec { compression, ..plain() };
        for room in [0, 100, 5 << 20] {
            let done = pack_layer(root.as_fd(), &spec, &mut Full(room), &AtomicBool::new(false));
            match done {
                Err(SnapshotError::Write(error)) => {
                    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                }
                done => assert!(done.is_ok() && compression != Compression::Plain && room > 1000),
            }
        }
    }
}

#[test]
fn deep_and_broken_trees_are_told() {
    let top = tempfile::tempdir().unwrap();
    let mut directory = File::open(top.path()).unwrap();
    for _ in 0..300 {
        rustix::fs::mkdirat(&directory, "d", Mode::RWXU).unwrap();
        let below = rustix::fs::openat(&directory, "d", rustix::fs::OFlags::RDONLY, Mode::empty());
        directory = below.unwrap().into();
    }
    let (bytes, tree) = packed(top.path(), &plain());
    assert_eq!((model::members(&bytes).len(), tree.counts.unreadable), (256, 1));
    let file = tempfile::NamedTempFile::new().unwrap();
    let done = pack_layer(file.as_fd(), &plain(), &mut io::sink(), &AtomicBool::new(false));
    assert!(matches!(done.unwrap_err(), SnapshotError::Root(_)));
}
