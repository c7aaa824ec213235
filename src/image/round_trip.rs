//! What was packed and unpacked again is what it was, also with a layer of changes on top, sealed, and on another
//! file system.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write,
    os::{
        fd::AsFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileExt, MetadataExt},
        },
    },
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use proptest::{collection::vec, prelude::*};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, lsetxattr, utimensat};
use tempfile::TempDir;

use super::{
    crypt::{Key, Opener, Purpose, Salt, Sealer},
    record::TreeRecord,
    snapshot::{
        Compression, Devices, PackedLayer, PackedTree, SnapshotSpec, pack_layer,
        tests::changes::{steps, take},
    },
    unpack::{
        Blob, Kind, Layer, Origin, UnpackError, UnpackSpec, tests::everything, unpack_recorded,
    },
};

/// What a file can have besides a name and a little data. Numbers choose among the paths that there are.
#[derive(Debug, Clone)]
enum Trait {
    Attribute(usize, usize, Vec<u8>),
    Owner(usize, u32, u32),
    Times(usize, i64, u32),
    /// Another name, of those that few tools expect.
    Name(usize, usize),
    /// A file with so many pieces of data, each of them in a hole of this length.
    Holes(usize, u64, u64),
    /// A file with so many bytes.
    Large(usize, usize),
}

/// A layer as it is stored.
struct Stored {
    bytes: Vec<u8>,
    layer: PackedLayer,
    compression: Compression,
}

fn traits(most: usize) -> impl Strategy<Value = Vec<Trait>> {
    let at = any::<usize>;
    let value = || vec(any::<u8>(), 0..40);
    let id = || prop_oneof![0..3_u32, 3_000_000..3_000_002_u32, Just(u32::MAX - 1)];
    let one = prop_oneof![
        3 => (at(), at(), value()).prop_map(|(at, of, value)| Trait::Attribute(at, of, value)),
        2 => (at(), id(), id()).prop_map(|(at, uid, gid)| Trait::Owner(at, uid, gid)),
        2 => (at(), -2_000_000_000..4_000_000_000_i64, 0..1_000_000_000_u32)
            .prop_map(|(at, seconds, fraction)| Trait::Times(at, seconds, fraction)),
        3 => (at(), at()).prop_map(|(at, of)| Trait::Name(at, of)),
        1 => (at(), 0..5_u64, 1..400_000_u64)
            .prop_map(|(at, pieces, hole)| Trait::Holes(at, pieces, hole)),
        1 => (at(), 100_000..3_000_000_usize).prop_map(|(at, size)| Trait::Large(at, size)),
    ];
    vec(one, 0..most)
}

/// Gives a trait, as far as that makes sense and we may.
fn give(one: &Trait, top: &Path) {
    let paths: Vec<PathBuf> = everything(top).into_keys().map(|path| top.join(path)).collect();
    let any = |at: usize| &paths[at % paths.len()];
    let within = |at: usize, name: &str| match any(at) {
        path if path.is_dir() && !path.is_symlink() => path.join(name),
        path => path.parent().unwrap().join(name),
    };
    match one {
        Trait::Attribute(at, of, value) => {
            let names = ["user.a", "user.b", "user.with=and%25", "user.\u{e4}"];
            let _ = lsetxattr(any(*at), names[of % names.len()], value, XattrFlags::empty());
        }
        Trait::Owner(at, uid, gid) => {
            let _ = std::os::unix::fs::lchown(any(*at), Some(*uid), Some(*gid));
        }
        Trait::Times(at, seconds, fraction) => {
            let time = Timespec { tv_sec: *seconds, tv_nsec: (*fraction).into() };
            let times = Timestamps { last_access: time, last_modification: time };
            utimensat(CWD, any(*at), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
        Trait::Name(at, of) if any(*at) != top => {
            let long = [b'n'; 255];
            let names: [&[u8]; 5] = [b"\xff\n\x01", &long, b" blank ", b"%41=", b"PaxHeaders"];
            let name = OsStr::from_bytes(names[of % names.len()]);
            let _ = fs::rename(any(*at), any(*at).with_file_name(name));
        }
        Trait::Name(..) => {}
        Trait::Holes(at, pieces, hole) => {
            let Ok(file) = File::create_new(within(*at, "holes")) else { return };
            for number in 0..*pieces {
                file.write_all_at(&[7; 5000], number * (5000 + hole) + hole).unwrap();
            }
            file.set_len((pieces + 1) * (5000 + hole)).unwrap();
        }
        Trait::Large(at, size) => {
            let data: Vec<u8> = (0..*size).map(|at| (at >> 5) as u8 ^ at as u8).collect();
            if let Ok(mut file) = File::create_new(within(*at, "large")) {
                file.write_all(&data).unwrap();
            }
        }
    }
}

/// Packs what is in a directory; `None` if nothing is different from the base.
fn pack(top: &Path, compression: Compression, base: Option<&TreeRecord>) -> Option<Stored> {
    let spec = SnapshotSpec {
        compression,
        devices: Devices::Packed,
        left_out: &[],
        own_mounts: &[],
        base,
        threads: 2,
    };
    let mut bytes = Vec::new();
    let root = File::open(top).unwrap();
    let PackedTree { layer, .. } =
        pack_layer(root.as_fd(), &spec, &mut bytes, &AtomicBool::new(false)).unwrap();
    layer.map(|layer| Stored { bytes, layer, compression })
}

fn unpack<'a>(
    layers: impl IntoIterator<Item = Layer<'a>>,
    into: &Path,
) -> Result<TreeRecord, UnpackError> {
    let layers = layers.into_iter().map(Ok);
    let spec = UnpackSpec::of(Origin::Ours);
    let (counts, record) = unpack_recorded(layers, into, &spec, &AtomicBool::new(false))?;
    assert_eq!((counts.devices, counts.unknown, counts.not_given, counts.xattrs), (0, 0, 0, 0));
    Ok(record.expect("it is small"))
}

impl Stored {
    /// With all that is known of it.
    fn layer(&self) -> Layer<'_> {
        let Stored { bytes, layer, compression } = self;
        Layer {
            from: Box::new(&bytes[..]),
            compression: compression.stored(),
            diff_id: Some(layer.diff_id),
            blob: Some(Blob { digest: layer.digest, size: layer.bytes }),
        }
    }
}

fn compressions() -> impl Strategy<Value = Compression> {
    prop_oneof![Just(Compression::Plain), Just(Compression::Zstd(1)), Just(Compression::Gzip(6))]
}

/// A fresh directory on another file system than ours, if there is one that has attributes.
fn elsewhere() -> Option<TempDir> {
    let directory = tempfile::tempdir_in("/dev/shm").ok()?;
    let here = tempfile::tempdir().ok()?;
    let device = |directory: &TempDir| Some(fs::metadata(directory.path()).ok()?.dev());
    lsetxattr(directory.path(), "user.trial", b"", XattrFlags::empty()).ok()?;
    rustix::fs::lremovexattr(directory.path(), "user.trial").ok()?;
    (device(&directory)? != device(&here)?).then_some(directory)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// A tree, and its copy out of a layer; and what becomes of that copy, out of two.
    #[test]
    fn a_tree_comes_out_as_it_went_in(
        made in steps(30),
        given in traits(12),
        changes in steps(10),
        more in traits(5),
        compression in compressions(),
    ) {
        let [one, two, three] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let [one, two, three] = [one.path(), two.path(), three.path()];
        made.iter().for_each(|step| take(step, one));
        given.iter().for_each(|one_trait| give(one_trait, one));
        let lower = pack(one, compression, None).unwrap();
        let record = unpack([lower.layer()], two).unwrap();
        prop_assert_eq!(everything(two), everything(one));
        prop_assert_eq!(record.entries(), everything(one).len() as u64);
        prop_assert_eq!(&pack(two, compression, None).unwrap().layer, &lower.layer);
        prop_assert!(pack(two, compression, Some(&record)).is_none(), "nothing was changed");

        changes.iter().for_each(|step| take(step, two));
        more.iter().for_each(|one_trait| give(one_trait, two));
        let upper = pack(two, compression, Some(&record));
        let layers = [lower.layer()].into_iter().chain(upper.as_ref().map(Stored::layer));
        unpack(layers, three).unwrap();
        prop_assert_eq!(everything(three), everything(two));
    }

    /// A layer depends on nothing but what is in the tree.
    #[test]
    fn a_tree_on_another_file_system_is_the_same_layer(made in steps(30), given in traits(12)) {
        let Some(other) = elsewhere() else {
            println!("SKIPPED: image::round_trip: /dev/shm cannot be used");
            return Ok(());
        };
        let here = tempfile::tempdir().unwrap();
        made.iter().for_each(|step| take(step, here.path()));
        given.iter().for_each(|one_trait| give(one_trait, here.path()));
        let compression = Compression::Zstd(1);
        let stored = pack(here.path(), compression, None).unwrap();
        unpack([stored.layer()], other.path()).unwrap();
        prop_assert_eq!(everything(other.path()), everything(here.path()));
        prop_assert_eq!(pack(other.path(), compression, None).unwrap().layer, stored.layer);
    }
}

#[test]
fn holes_stay_holes() {
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    give(&Trait::Holes(0, 3, 1 << 20), one.path());
    let stored = pack(one.path(), Compression::Plain, None).unwrap();
    assert!(stored.bytes.len() < 300_000, "{} bytes", stored.bytes.len());
    unpack([stored.layer()], two.path()).unwrap();
    assert_eq!(everything(two.path()), everything(one.path()));
    let blocks = fs::metadata(two.path().join("holes")).unwrap().blocks();
    assert!(blocks < 600, "{blocks} blocks of 512 bytes");
}

/// Looking for its holes moves the offset that a read begins at.
#[test]
fn a_small_file_whose_holes_are_too_small_is_packed_whole() {
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    give(&Trait::Holes(0, 2, 27_840), one.path());
    let meta = fs::metadata(one.path().join("holes")).unwrap();
    assert!(meta.blocks() * 512 < meta.len(), "it has holes");
    let stored = pack(one.path(), Compression::Plain, None).unwrap();
    assert!(stored.layer.tar_bytes > meta.len(), "they are packed");
    unpack([stored.layer()], two.path()).unwrap();
    assert_eq!(everything(two.path()), everything(one.path()));
}

#[test]
fn a_sealed_layer_is_opened_on_the_way() {
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    give(&Trait::Large(0, 1_000_000), one.path());
    let stored = pack(one.path(), Compression::Zstd(1), None).unwrap();
    let (key, other) = (Key::parse(&[1; 32]).unwrap(), Key::parse(&[2; 32]).unwrap());
    let salt = Salt::random().unwrap();
    let mut sealer = Sealer::new(Vec::new(), &key, &salt, Purpose::Layer);
    sealer.write_all(&stored.bytes).unwrap();
    let sealed = sealer.finish().unwrap();
    let unpacked = |bytes: &[u8], key: &Key| {
        let opener = Opener::new(bytes, key, &salt, Purpose::Layer);
        unpack([Layer { from: Box::new(opener), ..stored.layer() }], two.path())
    };
    let damaged = [&sealed[..sealed.len() - 1], &[!sealed[sealed.len() - 1]]].concat();
    for (bytes, key) in [(&sealed, &other), (&damaged, &key)] {
        assert_eq!(unpacked(bytes, key).unwrap_err().kind(), Kind::Image);
        assert_eq!(fs::read_dir(two.path()).unwrap().count(), 0);
    }
    assert_eq!(unpacked(&sealed, &key).unwrap().entries(), 2);
    assert_eq!(everything(two.path()), everything(one.path()));
}
