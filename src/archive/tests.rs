//! Trees packed and unpacked again, and archives that want more than they may.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use tar::{EntryType, Header};

use super::*;

/// Remembers what it was told.
#[derive(Default)]
struct Heard {
    problems: Vec<String>,
    notices: Vec<String>,
}

impl Watch for Heard {
    fn problem(&mut self, text: String) {
        self.problems.push(text);
    }

    fn notice(&mut self, text: String) {
        self.notices.push(text);
    }

    fn copied(&mut self, _: &Tally) {}
}

/// Gathers an archive; `then` runs after each piece.
struct Gathered<F: FnMut(usize)> {
    archive: Vec<u8>,
    then: F,
}

impl<F: FnMut(usize)> Pieces for Gathered<F> {
    fn take(&mut self, piece: Vec<u8>) -> io::Result<Vec<u8>> {
        self.archive.extend_from_slice(&piece);
        (self.then)(self.archive.len());
        Ok(piece)
    }
}

fn packed(paths: &[&Path], heard: &mut Heard) -> (Vec<u8>, Tally) {
    let sources: Vec<Source> = paths.iter().map(|path| Source::parse(path.into())).collect();
    let mut to = Gathered { archive: Vec::new(), then: |_| {} };
    let tally = pack(&sources, Packing::default(), &mut to, heard).unwrap();
    (to.archive, tally)
}

fn unpacked(archive: impl Read, to: &Path, layout: Layout) -> (Result<Tally, String>, Heard) {
    let mut heard = Heard::default();
    let to = Destination::find(to, layout).unwrap();
    let tally = unpack(archive, &Unpack { to, owners: Owners::Own }, &mut heard);
    (tally.map_err(|error| error.to_string()), heard)
}

/// All beneath a directory: what each path is, its mode and time, and its data or target.
fn everything(top: &Path) -> BTreeMap<PathBuf, (String, Vec<u8>)> {
    let (mut found, mut ahead) = (BTreeMap::new(), vec![top.to_path_buf()]);
    while let Some(path) = ahead.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let data = if kind.is_file() {
            fs::read(&path).unwrap()
        } else if kind.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            Vec::new()
        };
        if kind.is_dir() {
            ahead.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let what = format!(
            "{:o} links {} modified {}.{:09}",
            meta.mode(),
            if kind.is_dir() { 0 } else { meta.nlink() },
            meta.mtime(),
            meta.mtime_nsec()
        );
        found.insert(path.strip_prefix(top).unwrap().into(), (what, data));
    }
    found
}

#[test]
fn a_tree_survives() {
    let top = tempfile::tempdir().unwrap();
    let at = |path: &str| top.path().join(path);
    let long = "x".repeat(200);
    let name = |bytes: &[u8]| {
        let name: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec());
        at("tree").join(name)
    };
    fs::create_dir_all(at(&format!("tree/{long}/{long}/empty"))).unwrap();
    fs::write(at("tree/empty"), "").unwrap();
    fs::write(at("tree/small"), "small").unwrap();
    fs::hard_link(at("tree/small"), at("tree/again")).unwrap();
    fs::write(at(&format!("tree/{long}/{long}/large")), vec![7; 1_000_001]).unwrap();
    fs::write(name(b"newline\n and \xff"), "odd").unwrap();
    fs::write(name(format!("{}\n{}", "y".repeat(150), "z".repeat(20)).as_bytes()), "").unwrap();
    symlink("nowhere", at("tree/link")).unwrap();
    symlink(format!("{long}/{long}/{long}\n"), at("tree/long-link")).unwrap();
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, at("tree/fifo"), kind, mode, 0).unwrap();
    let old = fs::File::options().write(true).open(at("tree/small")).unwrap();
    let before_the_epoch = std::time::UNIX_EPOCH - std::time::Duration::from_millis(1500);
    old.set_modified(before_the_epoch).unwrap();
    fs::set_permissions(at("tree/empty"), fs::Permissions::from_mode(0o604)).unwrap();
    fs::set_permissions(at(&format!("tree/{long}")), fs::Permissions::from_mode(0o555)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("tree/socket")).unwrap();

    let mut heard = Heard::default();
    let (archive, tally) = packed(&[&at("tree")], &mut heard);
    assert_eq!(heard.problems, [""; 0]);
    assert!(heard.notices[0].contains("tree/socket: left out"), "{:?}", heard.notices);
    assert_eq!((tally.skipped, tally.bytes), (1, 1_000_001 + 5 + 3));
    fs::remove_file(at("tree/socket")).unwrap();

    let (made, heard) = unpacked(&archive[..], &at("copy"), Layout::One);
    assert_eq!(heard.problems, [""; 0]);
    assert_eq!(made.unwrap(), Tally { skipped: 0, ..tally });
    let (mut from, to) = (everything(&at("tree")), everything(&at("copy")));
    // Taking the socket away was a change.
    from.remove(Path::new("")).unwrap();
    for (path, what) in &from {
        assert_eq!(to.get(path), Some(what), "{path:?}");
    }
    assert_eq!(to.len(), from.len() + 1);
    assert!(fs::symlink_metadata(at("copy/fifo")).unwrap().file_type().is_fifo());
}

/// A directory on a disk: a tmpfs may know no extended attributes.
fn on_disk() -> tempfile::TempDir {
    tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/target")).unwrap()
}

/// What a path has of extended attributes, as text.
fn extended_of(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let (found, left_out) = extended::read(fs::File::open(path).unwrap());
    assert_eq!(left_out, 0, "{path:?}");
    found.into_iter().map(|(name, value)| (String::from_utf8(name).unwrap(), value)).collect()
}

#[test]
fn extended_attributes_survive_as_far_as_they_may() {
    let top = on_disk();
    let at = |path: &str| top.path().join(path);
    fs::create_dir(at("tree")).unwrap();
    fs::write(at("tree/small"), "small").unwrap();
    fs::write(at("tree/large"), vec![7; 1_000_001]).unwrap();
    let set = |path: &str, name: &str, value: &[u8]| {
        rustix::fs::setxattr(at(path), name, value, rustix::fs::XattrFlags::empty())
    };
    if let Err(errno) = set("tree", "user.of=a%directory", b"d\n\0\xff") {
        println!("SKIPPED: extended attributes: target/ knows none: {errno}");
        return;
    }
    set("tree/small", "user.empty", b"").unwrap();
    set("tree/small", "user.second", b"2").unwrap();
    set("tree/large", "user.large", &[1; 3000]).unwrap();
    // Version 2, nothing permitted; only root may give it.
    let capability = [&[0, 0, 0, 2][..], &[0; 16]].concat();
    let root = set("tree/small", "security.capability", &capability).is_ok();
    fs::set_permissions(at("tree/small"), fs::Permissions::from_mode(0o444)).unwrap();

    let mut heard = Heard::default();
    let (archive, _) = packed(&[&at("tree")], &mut heard);
    for (to, owners) in [("own", Owners::Own), ("kept", Owners::Kept)] {
        let mut heard = Heard::default();
        let how = Unpack { to: Destination::find(&at(to), Layout::One).unwrap(), owners };
        unpack(&archive[..], &how, &mut heard).unwrap();
        assert_eq!((&heard.problems, &heard.notices), (&vec![], &vec![]), "{to}");
        for path in ["", "small", "large"] {
            let mut wanted = extended_of(&at("tree").join(path));
            assert_eq!(wanted.contains_key("security.capability"), root && path == "small");
            if owners == Owners::Own {
                wanted.remove("security.capability");
            }
            assert_eq!(extended_of(&at(to).join(path)), wanted, "{to}/{path}");
        }
        assert_eq!(fs::metadata(at(to).join("small")).unwrap().mode() & 0o7777, 0o444);
    }

    // A file system that knows none: the copy is whole all the same, and it is told once.
    let proc_like = Path::new("/dev/shm");
    let bare = tempfile::tempdir_in(proc_like).unwrap();
    let knows = rustix::fs::setxattr(bare.path(), "user.a", b"", rustix::fs::XattrFlags::empty());
    if knows.is_err() {
        let (made, heard) = unpacked(&archive[..], &bare.path().join("copy"), Layout::One);
        assert_eq!((made.unwrap().problems, heard.notices.len()), (0, 1), "{:?}", heard.notices);
        assert!(heard.notices[0].starts_with("4 extended attributes"), "{:?}", heard.notices);
    }
}

#[test]
fn extended_attributes_beyond_the_bound_are_told() {
    let top = on_disk();
    let file = top.path().join("file");
    fs::write(&file, "").unwrap();
    let large = vec![7; 60_000];
    let given = (0..6).all(|number| {
        let name = format!("user.{number}");
        rustix::fs::setxattr(&file, name, &large, rustix::fs::XattrFlags::empty()).is_ok()
    });
    if !given {
        println!("SKIPPED: many extended attributes: target/ has no room for them");
        return;
    }
    let mut heard = Heard::default();
    let (archive, tally) = packed(&[&file], &mut heard);
    assert_eq!(tally.problems, 0);
    assert!(heard.notices[0].ends_with("2 of its extended attributes are left out"));
    unpacked(&archive[..], &top.path().join("copy"), Layout::One).0.unwrap();
    assert_eq!(extended_of(&top.path().join("copy")).len(), 4);
}

#[test]
fn a_sparse_file_stays_one() {
    let top = on_disk();
    let at = |path: &str| top.path().join(path);
    let file = fs::File::create(at("file")).unwrap();
    file.set_len(50 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", 20_000_001).unwrap();
    let (archive, _) = packed(&[&at("file")], &mut Heard::default());
    unpacked(&archive[..], &at("copy"), Layout::One).0.unwrap();
    assert!(fs::read(at("copy")).unwrap() == fs::read(at("file")).unwrap());
    let bytes = fs::metadata(at("copy")).unwrap().blocks() * 512;
    assert!(bytes <= 128 << 10, "{bytes} bytes on disk");
}

#[test]
fn a_file_that_changes_meanwhile_leaves_a_whole_archive() {
    let top = tempfile::tempdir().unwrap();
    let at = |path: &str| top.path().join(path);
    for (change, length, words) in
        [("shorter", 300_000_u64, "zeros"), ("longer", 3_000_000, "changed meanwhile")]
    {
        fs::create_dir_all(at("tree")).unwrap();
        fs::write(at("tree/file"), vec![7; 1_000_000]).unwrap();
        let file = fs::File::options().write(true).open(at("tree/file")).unwrap();
        let mut heard = Heard::default();
        let then = |length_so_far: usize| {
            if (200_000..300_000).contains(&length_so_far) {
                file.set_len(length).unwrap();
            }
        };
        let mut to = Gathered { archive: Vec::new(), then };
        let sources = [Source::parse(at("tree"))];
        let tally = pack(&sources, Packing::default(), &mut to, &mut heard).unwrap();
        assert_eq!(tally.problems, 1, "{change}");
        assert!(heard.problems[0].contains(words), "{change}: {:?}", heard.problems);
        let (made, _) = unpacked(&to.archive[..], &at(change), Layout::One);
        assert_eq!(made.unwrap().entries, 2);
        let copy = fs::read(at(change).join("file")).unwrap();
        assert_eq!(copy.len(), 1_000_000, "{change}");
        assert!(copy[..300_000].iter().all(|byte| *byte == 7), "{change}");
    }
}

#[test]
fn what_the_kernel_makes_is_copied_and_not_walked() {
    let top = tempfile::tempdir().unwrap();
    let mut heard = Heard::default();
    let (archive, _) = packed(&[Path::new("/proc/self/status")], &mut heard);
    unpacked(&archive[..], &top.path().join("status"), Layout::One).0.unwrap();
    let status = fs::read_to_string(top.path().join("status")).unwrap();
    assert!(status.starts_with("Name:"), "{status}");
    assert_eq!(heard.problems, [""; 0]);
}

/// A member by hand: its kind, path, link and data.
struct By(EntryType, &'static [u8], &'static [u8], &'static [u8]);

fn archive_of(members: &[By]) -> Vec<u8> {
    let mut archive = Vec::new();
    for By(kind, path, link, data) in members {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(*kind);
        header.set_mode(0o4777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(data.len() as u64);
        header.set_cksum();
        archive.extend_from_slice(header.as_bytes());
        archive.extend_from_slice(data);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

#[test]
fn nothing_outside_the_destination_is_touched() {
    use EntryType::{Directory, Link, Regular, Symlink};
    // What each wants; whether it is refused.
    let cases: Vec<(Vec<By>, bool)> = vec![
        (vec![By(Regular, b"../outside/made", b"", b"bad")], true),
        (vec![By(Regular, b"a/../../outside/made", b"", b"bad")], true),
        (vec![By(Directory, b"..", b"", b"")], true),
        (vec![By(Regular, b"/outside/made", b"", b"bad")], false),
        (
            vec![By(Symlink, b"out", b"../outside", b""), By(Regular, b"out/made", b"", b"bad")],
            true,
        ),
        (
            vec![
                By(Symlink, b"one", b".", b""),
                By(Symlink, b"one/two", b"..", b""),
                By(Regular, b"two/outside/made", b"", b"bad"),
            ],
            true,
        ),
        (
            vec![By(Symlink, b"file", b"../outside/file", b""), By(Regular, b"file", b"", b"bad")],
            false,
        ),
        (vec![By(Link, b"file", b"../outside/file", b""), By(Regular, b"file", b"", b"bad")], true),
        (vec![By(Symlink, b"out", b"../outside", b""), By(Link, b"x", b"out/file", b"")], true),
        (vec![By(Symlink, b"out", b"../outside", b""), By(Directory, b"out", b"", b"")], false),
        (
            vec![
                By(Directory, b"d", b"", b""),
                By(Symlink, b"d", b"../outside", b""),
                By(Regular, b"d/x", b"", b"inside"),
            ],
            true,
        ),
        (vec![By(Link, b"self", b"self", b"")], false),
        // No name is the destination itself, which only a directory can be.
        (vec![By(Directory, b"./", b"", b""), By(Directory, b"/", b"", b"")], false),
        (vec![By(Regular, b".", b"", b"bad")], true),
        (vec![By(Symlink, b"/.", b"../outside", b"")], true),
    ];
    for (number, (members, refused)) in cases.iter().enumerate() {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join(path);
        fs::create_dir(at("outside")).unwrap();
        fs::create_dir(at("inside")).unwrap();
        fs::write(at("outside/file"), "good").unwrap();
        let before = everything(&at("outside"));
        let (made, heard) = unpacked(&archive_of(members)[..], &at("inside"), Layout::Many);
        assert_eq!(everything(&at("outside")), before, "case {number}");
        assert_eq!(made.unwrap().problems > 0, *refused, "case {number}: {:?}", heard.problems);
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 2, "case {number}");
    }
}

#[test]
fn bits_that_give_rights_are_not_taken_from_strangers() {
    let top = tempfile::tempdir().unwrap();
    let archive = archive_of(&[By(EntryType::Regular, b"program", b"", b"x")]);
    unpacked(&archive[..], top.path(), Layout::Many).0.unwrap();
    let mode = fs::metadata(top.path().join("program")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o777);
}

#[test]
fn what_is_no_whole_archive_is_an_error() {
    let top = tempfile::tempdir().unwrap();
    let whole = archive_of(&[
        By(EntryType::Regular, b"a", b"", b"data"),
        By(EntryType::Regular, b"b", b"", b"data"),
    ]);
    for length in [0, 1, 511, 512, 514, 1024, 1030, 2048] {
        let (made, _) = unpacked(&whole[..length], top.path(), Layout::Many);
        assert!(made.unwrap_err().contains("stops before its end"), "{length} bytes");
    }
    assert!(unpacked(&whole[..2560], top.path(), Layout::Many).0.is_ok());
    let cases: [(&[u8], &str); 3] = [
        (&[b'x'; 1024], "no tar stream"),
        (&[&[0x1f, 0x8b][..], &[0; 1022]].concat(), "it is compressed"),
        (&[&whole[..1024], &[b'x'; 1024]].concat(), "checksum"),
    ];
    for (bytes, words) in cases {
        let error = unpacked(bytes, top.path(), Layout::Many).0.unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let mut huge = archive_of(&[By(EntryType::GNULongName, b"x", b"", b"")]);
    let mut header = Header::from_byte_slice(&huge[..512]).clone();
    header.set_size(1 << 40);
    header.set_cksum();
    huge[..512].copy_from_slice(header.as_bytes());
    let endless = huge[..512].chain(io::repeat(b'x'));
    assert!(unpacked(endless, top.path(), Layout::Many).0.unwrap_err().contains("1 MiB"));
}

#[test]
fn half_a_file_is_never_left() {
    let top = tempfile::tempdir().unwrap();
    let from = top.path().join("from");
    fs::write(&from, vec![7; 500_000]).unwrap();
    let (archive, _) = packed(&[&from], &mut Heard::default());
    fs::create_dir(top.path().join("to")).unwrap();
    let to = top.path().join("to/file");
    fs::write(&to, "before").unwrap();
    let (made, _) = unpacked(&archive[..300_000], &to, Layout::One);
    assert!(made.is_err());
    assert_eq!(fs::read(&to).unwrap(), b"before");
    assert_eq!(fs::read_dir(top.path().join("to")).unwrap().count(), 1);
}
