//! Trees that GNU tar packs come out as GNU tar unpacks them.

use std::{
    ffi::OsStr,
    os::unix::fs::{FileExt, PermissionsExt},
    process::Command,
};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::*;

/// Something to be made at a path.
#[derive(Debug, Clone)]
struct Planned {
    path: PathBuf,
    what: What,
    mode: u32,
    owner: u32,
    modified: (i64, u32),
    xattr: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
enum What {
    File(usize),
    /// Data at the ends of holes, and another hole.
    Holes(Vec<u32>),
    Directory,
    Symlink(Vec<u8>),
    /// Another name of the first file that was made.
    Link,
    Fifo,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-c]{1,2}".prop_map(String::into_bytes),
        1 => prop::collection::vec(1..=255_u8, 1..20),
        1 => (80..255_usize).prop_map(|length| vec![b'n'; length]),
    ]
    .prop_filter("no name", |name| {
        !name.contains(&b'/') && name != b"." && name != b".." && !name.starts_with(b".wh.")
    })
}

fn planned() -> impl Strategy<Value = Planned> {
    let what = prop_oneof![
        4 => prop_oneof![0..2000_usize, 260_000..270_000_usize].prop_map(What::File),
        1 => prop::collection::vec(1..200_u32, 1..40).prop_map(What::Holes),
        3 => Just(What::Directory),
        1 => prop::collection::vec(1..=255_u8, 1..150).prop_map(What::Symlink),
        1 => Just(What::Link),
        1 => Just(What::Fifo),
    ];
    let path = prop::collection::vec(name(), 1..4);
    let time = (-100_000..4_000_000_000_i64, 0..1_000_000_000_u32);
    let xattr = prop::option::weighted(0.3, prop::collection::vec(any::<u8>(), 0..100));
    (path, what, 0..0o10000_u32, any::<u16>(), time, xattr).prop_map(
        |(path, what, mode, owner, modified, xattr)| Planned {
            path: path.iter().map(|part| OsStr::from_bytes(part)).collect(),
            what,
            mode,
            owner: owner.into(),
            modified,
            xattr,
        },
    )
}

/// Makes what can be made: of two things with one path the first.
fn build(top: &Path, plan: &[Planned]) {
    let mut first = None;
    let mut made = Vec::new();
    for one in plan {
        let path = top.join(&one.path);
        if fs::symlink_metadata(&path).is_ok()
            || fs::create_dir_all(path.parent().unwrap()).is_err()
        {
            continue;
        }
        match &one.what {
            What::File(length) => {
                fs::write(&path, vec![b'x'; *length]).unwrap();
                first.get_or_insert(path.clone());
            }
            What::Holes(holes) => {
                let file = fs::File::create(&path).unwrap();
                let mut at = 0;
                for hole in holes {
                    at += u64::from(*hole) << 12;
                    file.write_all_at(b"data", at).unwrap();
                }
                file.set_len(at + (u64::from(holes[0]) << 10)).unwrap();
            }
            What::Directory => fs::create_dir(&path).unwrap(),
            What::Symlink(target) => {
                std::os::unix::fs::symlink(OsStr::from_bytes(target), &path).unwrap();
            }
            What::Link => match &first {
                Some(first) => fs::hard_link(first, &path).unwrap(),
                None => continue,
            },
            What::Fifo => {
                rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
            }
        }
        made.push((path, one));
    }
    // What is within others first, whose times it would change.
    for (path, one) in made.iter().rev() {
        dress(path, one);
    }
}

fn dress(path: &Path, one: &Planned) {
    let link = matches!(one.what, What::Symlink(_));
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(path, Some(one.owner), Some(one.owner)).unwrap();
    }
    if let (Some(value), What::File(_) | What::Directory) = (&one.xattr, &one.what) {
        // Not every file system has them.
        let _ = rustix::fs::setxattr(path, "user.generated", value, XattrFlags::empty());
    }
    if !link {
        // Whoever is not root has to be able to read it.
        let mode = if rustix::process::geteuid().is_root() { one.mode } else { one.mode | 0o700 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let (tv_sec, nanoseconds) = one.modified;
    let time = rustix::fs::Timespec { tv_sec, tv_nsec: nanoseconds.into() };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(CWD, path, &times, flags).unwrap();
}

fn tar(directory: &Path, words: &[&str], archive: &Path) {
    let mut tar = Command::new("tar");
    tar.current_dir(directory).args(words).arg("-f").arg(archive);
    if words[0] == "-c" {
        tar.arg(".");
    }
    let ran = tar.output().unwrap();
    assert!(ran.status.success(), "{words:?}: {ran:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_is_unpacked_as_gnu_tar_does(plan in prop::collection::vec(planned(), 0..25)) {
        let place = Place::new();
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        fs::create_dir(at("tree")).unwrap();
        build(&at("tree"), &plan);
        for format in ["pax", "gnu"] {
            let archive = at(&format!("{format}.tar"));
            let xattrs: &[&str] = if format == "pax" { &["--xattrs"] } else { &[] };
            let words = [&["-c", "-S", "--sort=name", "--format", format], xattrs].concat();
            tar(&at("tree"), &words, &archive);
            let theirs = at(format);
            fs::create_dir(&theirs).unwrap();
            tar(&theirs, &[&["-x", "-p", "--numeric-owner"], xattrs].concat(), &archive);
            fs::remove_dir_all(place.root()).unwrap();
            fs::create_dir(place.root()).unwrap();
            let bytes = fs::read(&archive).unwrap();
            place.unpack_as(&[bytes], &UnpackSpec::of(Origin::Ours)).unwrap();
            let (ours, theirs) = (everything(&place.root()), everything(&theirs));
            for (path, thing) in &theirs {
                prop_assert_eq!(ours.get(path), Some(thing), "{:?} of {}", path, format);
            }
            prop_assert_eq!(ours.len(), theirs.len());
        }
    }
}
