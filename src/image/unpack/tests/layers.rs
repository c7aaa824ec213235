//! What later layers make of earlier ones.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// A case: what it is about, its layers, and what is there afterwards.
type Case = (&'static str, Vec<Vec<Vec<u8>>>, &'static [(&'static str, &'static str)]);

fn check(cases: Vec<Case>) {
    for (name, layers, expected) in cases {
        let place = Place::new();
        let layers: Vec<Vec<u8>> = layers.iter().map(|members| archive(members)).collect();
        place.unpack(&layers).unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected: BTreeMap<String, String> =
            expected.iter().map(|(path, what)| (path.to_string(), what.to_string())).collect();
        assert_eq!(listing(&place.root()), expected, "{name}");
    }
}

/// A directory with a file, and one within it.
fn lower() -> Vec<Vec<u8>> {
    vec![directory("d/"), file("d/old", "old"), directory("d/sub/"), file("d/sub/old", "old")]
}

#[test]
fn whiteouts() {
    let hides = |path: &str| file(path, "");
    check(vec![
        ("a file", vec![vec![file("a", "1"), file("b", "2")], vec![hides(".wh.a")]], &[("b", "2")]),
        ("a directory", vec![lower(), vec![hides(".wh.d")]], &[]),
        ("one within", vec![lower(), vec![hides("d/.wh.sub")]], &[("d", "/"), ("d/old", "old")]),
        (
            "a name that the layer makes, before",
            vec![vec![file("a", "old")], vec![hides(".wh.a"), file("a", "new")]],
            &[("a", "new")],
        ),
        (
            "a name that the layer makes, behind",
            vec![vec![file("a", "old")], vec![file("a", "new"), hides(".wh.a")]],
            &[("a", "new")],
        ),
        (
            "a directory that the layer makes, before",
            vec![lower(), vec![hides(".wh.d"), directory("d/"), file("d/new", "new")]],
            &[("d", "/"), ("d/new", "new")],
        ),
        (
            "a directory that the layer makes, behind",
            vec![lower(), vec![directory("d/"), file("d/sub/new", "new"), hides(".wh.d")]],
            &[("d", "/"), ("d/sub", "/"), ("d/sub/new", "new")],
        ),
        (
            "a directory that becomes a file",
            vec![lower(), vec![file("d", "file"), hides(".wh.d")]],
            &[("d", "file")],
        ),
        (
            "nothing",
            vec![
                vec![file("a", "1")],
                vec![hides(".wh.b"), hides("x/.wh.b"), hides("a/.wh.b"), hides("y/.wh..wh..opq")],
            ],
            &[("a", "1")],
        ),
        (
            "the lowest layer has nothing to hide",
            vec![vec![file("a", "1"), hides(".wh.a")]],
            &[("a", "1")],
        ),
        (
            "made, hidden and made again",
            vec![lower(), vec![hides(".wh.d")], vec![file("d/new", "new")]],
            &[("d", "/"), ("d/new", "new")],
        ),
        (
            "what AUFS keeps",
            vec![
                vec![file("a", "1")],
                vec![
                    directory(".wh..wh.plnk/"),
                    file(".wh..wh.plnk/1.2", "x"),
                    hides(".wh..wh.aufs"),
                ],
            ],
            &[("a", "1")],
        ),
    ]);
}

#[test]
fn opaque_directories() {
    let opaque = |path: &str| file(&format!("{path}.wh..wh..opq"), "");
    check(vec![
        (
            "new content behind",
            vec![lower(), vec![directory("d/"), opaque("d/"), file("d/new", "new")]],
            &[("d", "/"), ("d/new", "new")],
        ),
        (
            "new content before",
            vec![lower(), vec![file("d/sub/new", "new"), file("d/new", "new"), opaque("d/")]],
            &[("d", "/"), ("d/new", "new"), ("d/sub", "/"), ("d/sub/new", "new")],
        ),
        (
            "alone",
            vec![lower(), vec![opaque("d/sub/")]],
            &[("d", "/"), ("d/old", "old"), ("d/sub", "/")],
        ),
        ("the root", vec![lower(), vec![file("new", "new"), opaque("")]], &[("new", "new")]),
        (
            "what an earlier layer hid stays hidden",
            vec![lower(), vec![opaque("d/")], vec![file("d/sub/x", "x")]],
            &[("d", "/"), ("d/sub", "/"), ("d/sub/x", "x")],
        ),
    ]);
}

#[test]
fn one_thing_becomes_another() {
    check(vec![
        (
            "a file becomes a directory",
            vec![vec![file("a", "1")], vec![directory("a/"), file("a/b", "2")]],
            &[("a", "/"), ("a/b", "2")],
        ),
        ("a directory becomes a file", vec![lower(), vec![file("d", "1")]], &[("d", "1")]),
        ("a directory becomes a link", vec![lower(), vec![symlink("d", "x")]], &[("d", "-> x")]),
        (
            "a link becomes a directory",
            vec![
                vec![directory("x/"), file("x/old", "old"), symlink("a", "x")],
                vec![directory("a/"), file("a/b", "2")],
            ],
            &[("a", "/"), ("a/b", "2"), ("x", "/"), ("x/old", "old")],
        ),
        (
            "a directory stays",
            vec![lower(), vec![directory("d/"), file("d/old", "new")]],
            &[("d", "/"), ("d/old", "new"), ("d/sub", "/"), ("d/sub/old", "old")],
        ),
        (
            "and back within one layer",
            vec![vec![file("a", "1"), directory("a"), file("a/b", "2"), file("a", "3")]],
            &[("a", "3")],
        ),
        (
            "a link to a directory is the way to it",
            vec![
                vec![directory("usr/lib/"), symlink("lib", "usr/lib"), symlink("usr/run", "/run")],
                vec![file("lib/a", "a"), file("usr/run/b", "b"), file("usr/lib/c", "c")],
                vec![file("lib/.wh.c", ""), file("lib/.wh.none", "")],
            ],
            &[
                ("lib", "-> usr/lib"),
                ("run", "/"),
                ("run/b", "b"),
                ("usr", "/"),
                ("usr/lib", "/"),
                ("usr/lib/a", "a"),
                ("usr/run", "-> /run"),
            ],
        ),
    ]);
}

#[test]
fn hard_links_to_files_of_lower_layers() {
    let place = Place::new();
    let counts = place.unpack(&[
        archive(&[file("a", "one"), hardlink("b", "a"), symlink("s", "a")]),
        archive(&[hardlink("d/c", "a"), hardlink("t", "s"), hardlink("a", "b"), file("b", "two")]),
    ]);
    assert_eq!(counts.unwrap().entries, 7);
    let all = everything(&place.root());
    let first = |path: &str| all[Path::new(path)].first.clone();
    assert_eq!((first("a"), first("d/c")), (Some("a".into()), Some("a".into())));
    assert_eq!((first("b"), &all[Path::new("b")].content[..]), (None, &b"two"[..]));
    assert_eq!((first("s"), first("t")), (Some("s".into()), Some("s".into())));
    assert_eq!(all[Path::new("a")].content, b"one");
}

#[test]
fn more_directories_than_are_remembered() {
    let place = Place::new();
    let way = "n".repeat(250) + "/";
    let above = way.repeat(15);
    let (many, at) = (7000, |number: usize| format!("{above}{number}/"));
    let members: Vec<Vec<u8>> = (0..many)
        .map(|number| {
            member(EntryType::Directory, &at(number), ("", b""), |header| header.set_mode(0o711))
        })
        .collect();
    place.unpack(&[archive(&members)]).unwrap();
    // The whole path is as long as the kernel takes one.
    let directory = fs::File::open(place.at(&above)).unwrap();
    for number in [0, many / 2, many - 1] {
        let name = number.to_string();
        let flags = rustix::fs::AtFlags::empty();
        let found = rustix::fs::statat(&directory, &name, flags).unwrap();
        assert_eq!(found.st_mode & 0o7777, 0o711, "{number}");
    }
    let last = rustix::fs::statat(&directory, "6999", rustix::fs::AtFlags::empty()).unwrap();
    assert_eq!(last.st_mtime, 1_000_000_000);
}

#[test]
fn directories_keep_their_modes_and_times() {
    let place = Place::new();
    let with = |path: &str, mode: u32, seconds: u64| {
        member(EntryType::Directory, path, ("", b""), |header| {
            header.set_mode(mode);
            header.set_mtime(seconds);
        })
    };
    place
        .unpack(&[
            archive(&[with("./", 0o711, 5), with("a/", 0o2555, 10), with("a/b/", 0o500, 11)]),
            // Without an entry for the directories that it changes.
            archive(&[file("a/b/new", "new"), file("made/x", "x")]),
            archive(&[with("a/b/", 0o501, 12), file("a/.wh.none", "")]),
        ])
        .unwrap();
    let facts = |path: &str| {
        let meta = fs::metadata(place.at(path)).unwrap();
        (meta.permissions().mode() & 0o7777, meta.mtime())
    };
    assert_eq!(facts(""), (0o711, 5));
    assert_eq!(facts("a"), (0o2555, 10));
    assert_eq!(facts("a/b"), (0o501, 12));
    // What no entry tells of is the same everywhere.
    assert_eq!(facts("made"), (0o755, 0));
    for path in ["a/b", "a"] {
        fs::set_permissions(place.at(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
}
