//! Images that want more than they may. Each case is refused with the name of the entry, or does no harm;
//! nothing outside is touched, and nothing half-made is left: `Place` looks.

use super::*;

/// What becomes of a case.
enum Fate {
    /// It is refused, and the error has these words.
    Refused(&'static [&'static str]),
    /// It is unpacked, and this is there.
    Harmless(&'static [(&'static str, &'static str)]),
}

use Fate::{Harmless, Refused};

fn check(cases: Vec<(Vec<Vec<Vec<u8>>>, Fate)>) {
    for (number, (layers, fate)) in cases.into_iter().enumerate() {
        let place = Place::new();
        let layers: Vec<Vec<u8>> = layers.iter().map(|members| archive(members)).collect();
        let made = place.unpack(&layers);
        match fate {
            Refused(words) => {
                let error = made.expect_err(&format!("case {number}"));
                assert_eq!(error.kind(), Kind::Image, "case {number}: {error}");
                for word in words {
                    assert!(error.to_string().contains(word), "case {number}: {error}");
                }
            }
            Harmless(expected) => {
                made.unwrap_or_else(|error| panic!("case {number}: {error}"));
                let expected: BTreeMap<String, String> = expected
                    .iter()
                    .map(|(path, what)| (path.to_string(), what.to_string()))
                    .collect();
                assert_eq!(listing(&place.root()), expected, "case {number}");
            }
        }
    }
}

#[test]
fn names_that_lead_out() {
    let one = |member: Vec<u8>| vec![vec![member]];
    check(vec![
        (one(file("/etc/passwd", "x")), Harmless(&[("etc", "/"), ("etc/passwd", "x")])),
        (one(file("../outside/x", "x")), Refused(&["../outside/x", "leads out"])),
        (one(file("a/../../outside/x", "x")), Refused(&["a/../../outside/x", "leads out"])),
        (one(directory("..")), Refused(&["..", "leads out"])),
        (one(file(".", "x")), Refused(&["it has no name"])),
        (one(symlink("./", "../outside")), Refused(&["it has no name"])),
        (one(file("../.wh.outside", "")), Refused(&["leads out"])),
        (one(file(".wh...", "")), Refused(&[".wh...", "it hides no name"])),
        (one(file("a/.wh..", "")), Refused(&["it hides no name"])),
        (one(file("a/.wh.", "")), Refused(&["it hides no name"])),
        (vec![vec![records(&[("path", b"a\0b")]), file("x", "x")]], Refused(&["a\\0b", "NUL"])),
        (one(file(&"n".repeat(300), "x")), Refused(&["nnnn", "name too long"])),
        (one(file(&format!("a/{}/b", "n".repeat(256)), "x")), Refused(&["/b of layer 1"])),
        (one(file(&"d/".repeat(300), "x")), Refused(&["d/d/d", "name too long"])),
        (one(file(&format!("{}x", "d/".repeat(100_000)), "x")), Refused(&["d/d/d/", "…"])),
        (one(file("\u{1b}[31mred", "x")), Harmless(&[("\u{1b}[31mred", "x")])),
        (one(file("\u{1b}[31m/../x", "x")), Refused(&["\\u{1b}[31m"])),
    ]);
}

#[test]
fn links_that_lead_out() {
    let out = || symlink("out", "../outside");
    check(vec![
        // As if the directory were the root.
        (
            vec![vec![out(), file("out/file", "x")]],
            Harmless(&[("out", "-> ../outside"), ("outside", "/"), ("outside/file", "x")]),
        ),
        (
            vec![vec![symlink("out", "/etc"), file("out/x", "x")]],
            Harmless(&[("etc", "/"), ("etc/x", "x"), ("out", "-> /etc")]),
        ),
        (
            vec![vec![
                symlink("one", "."),
                symlink("one/two", ".."),
                file("two/outside/file", "x"),
            ]],
            Harmless(&[("one", "-> ."), ("outside", "/"), ("outside/file", "x"), ("two", "-> ..")]),
        ),
        (vec![vec![symlink("f", "../outside/file"), file("f", "x")]], Harmless(&[("f", "x")])),
        (
            vec![vec![out(), directory("out"), file("out/x", "x")]],
            Harmless(&[("out", "/"), ("out/x", "x")]),
        ),
        // Midway, with what was made in it before.
        (
            vec![vec![
                directory("d/"),
                file("d/before", "x"),
                symlink("d", "../outside"),
                file("d/file", "x"),
            ]],
            Harmless(&[("d", "-> ../outside"), ("outside", "/"), ("outside/file", "x")]),
        ),
        (
            vec![vec![directory("d/e/"), symlink("d/e", "../../outside"), file("d/e/file", "x")]],
            Harmless(&[
                ("d", "/"),
                ("d/e", "-> ../../outside"),
                ("outside", "/"),
                ("outside/file", "x"),
            ]),
        ),
        (
            vec![vec![out()], vec![file("out/.wh.file", ""), file("out/.wh..wh..opq", "")]],
            Harmless(&[("out", "-> ../outside")]),
        ),
        (vec![vec![out()], vec![file(".wh.out", "")]], Harmless(&[])),
        (
            vec![vec![symlink("a", "b"), symlink("b", "a"), file("a/x", "x")]],
            Refused(&["a/x", "symbolic links"]),
        ),
        (vec![vec![file("f", "x"), file("f/x", "x")]], Refused(&["f/x", "ot a directory"])),
    ]);
}

#[test]
fn hard_links_that_lead_out() {
    let out = || symlink("out", "../outside");
    let up = || hardlink("x", "../outside/file");
    check(vec![
        (vec![vec![up()]], Refused(&["x of layer 1", "target leads out"])),
        (vec![vec![out(), hardlink("x", "out/file")]], Refused(&["its target is not there"])),
        (vec![vec![hardlink("x", "/etc/passwd")]], Refused(&["its target is not there"])),
        (vec![vec![hardlink("x", ".")]], Refused(&["its target is a directory"])),
        (vec![vec![directory("d"), hardlink("x", "d")]], Refused(&["can have no other name"])),
        (vec![vec![hardlink("x", "x")]], Refused(&["its target is not there"])),
        (vec![vec![file("x", "x"), hardlink("x", "x")]], Harmless(&[("x", "x")])),
        (vec![vec![file("d/x", "x"), hardlink("d", "d/x")]], Refused(&["its target is not there"])),
        // Another name of a link is no way to what it leads to.
        (
            vec![vec![symlink("f", "../outside/file"), hardlink("g", "f"), file("g", "x")]],
            Harmless(&[("f", "-> ../outside/file"), ("g", "x")]),
        ),
        // It is its own target, by another way.
        (
            vec![vec![
                file("usr/lib/x", "x"),
                symlink("lib", "usr/lib"),
                hardlink("lib/x", "usr/lib/x"),
            ]],
            Harmless(&[("lib", "-> usr/lib"), ("usr", "/"), ("usr/lib", "/"), ("usr/lib/x", "x")]),
        ),
    ]);
}

#[test]
fn sizes_that_lie() {
    let sized = |size: u64, data: &str| {
        member(EntryType::Regular, "big", ("", data.as_bytes()), |header| header.set_size(size))
    };
    let sparse = |size: u64| {
        member(EntryType::GNUSparse, "holes", ("", b"data"), |header| {
            let gnu = header.as_gnu_mut().unwrap();
            gnu.sparse[0].set_offset(size - 4);
            gnu.sparse[0].set_length(4);
            gnu.set_real_size(size);
        })
    };
    check(vec![
        (vec![vec![sized(1 << 40, "x")]], Refused(&["big", "stops before its end"])),
        (vec![vec![file("a", "a"), sized(5000, "x"), file("b", "b")]], Refused(&["stops before"])),
        (vec![vec![sized(0, &"x".repeat(600))]], Refused(&["at big", "checksum"])),
        (vec![vec![sparse(1 << 60)]], Refused(&["holes", "larger than is taken"])),
    ]);
    let place = Place::new();
    place.unpack(&[archive(&[sparse(1 << 40)])]).unwrap();
    let meta = fs::metadata(place.at("holes")).unwrap();
    assert_eq!(meta.size(), 1 << 40);
    assert!(meta.blocks() < 1000, "{} blocks", meta.blocks());
}

#[test]
fn bombs() {
    let bounded = |change: fn(&mut Bounds)| {
        let mut spec = UnpackSpec::of(Origin::Foreign);
        change(&mut spec.bounds);
        spec
    };
    let three = archive(&[file("a", "a"), file("b", "b"), file("c", "c")]);
    let cases: [(UnpackSpec, &[&str]); 3] = [
        (bounded(|bounds| bounds.entries = 2), &["c of layer 1", "more entries"]),
        (bounded(|bounds| bounds.bytes = three_blocks()), &["larger than", "bytes"]),
        (bounded(|bounds| bounds.file_bytes = 0), &["a of layer 1", "larger than is taken"]),
    ];
    for (spec, words) in cases {
        let error = Place::new().unpack_as(std::slice::from_ref(&three), &spec).unwrap_err();
        assert_eq!(error.kind(), Kind::Image);
        assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
    }
    // What is exactly as large as it may be is taken.
    let spec = bounded(|bounds| (bounds.entries, bounds.bytes) = (3, 4096));
    assert_eq!(three.len(), 4096);
    Place::new().unpack_as(&[three], &spec).unwrap();

    let zeros = archive(&[member(EntryType::Regular, "zeros", ("", &vec![0; 8 << 20]), |_| ())]);
    let stored = zstd(&zeros);
    assert!((stored.len() * 1200) < zeros.len());
    for (origin, good) in [(Origin::Foreign, false), (Origin::Ours, true)] {
        let place = Place::new();
        let mut spec = UnpackSpec::of(origin);
        spec.bounds.ratio_free_bytes = 4 << 20;
        let from = Box::new(&stored[..]);
        let layer = Layer { from, compression: Compression::Zstd, ..plain(b"") };
        let made = unpack_layers([Ok(layer)], &place.root(), &spec, &AtomicBool::new(false));
        place.check(&made);
        assert_eq!(made.is_ok(), good, "{made:?}");
        if let Err(error) = made {
            assert!(error.to_string().contains("at zeros: it becomes more than 1200"), "{error}");
        }
    }
}

fn three_blocks() -> u64 {
    3 * 512
}

#[test]
fn devices_are_left_out() {
    let device = |path: &str| {
        member(EntryType::Char, path, ("", b""), |header| {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        })
    };
    let place = Place::new();
    let layer = archive(&[
        device("dev/null"),
        hardlink("dev/zero", "dev/null"),
        member(EntryType::Fifo, "fifo", ("", b""), |_| ()),
        member(EntryType::new(b'V'), "label", ("", b""), |_| ()),
    ]);
    let counts = place.unpack(&[layer]).unwrap();
    assert_eq!((counts.devices, counts.unknown), (2, 1));
    assert_eq!(
        listing(&place.root()),
        [("dev", "/"), ("fifo", "special")]
            .map(|(path, what)| { (path.to_string(), what.to_string()) })
            .into()
    );
    let whiteout = member(EntryType::Char, "whiteout", ("", b""), |_| ());
    let counts = Place::new()
        .unpack_as(&[archive(&[device("null"), whiteout])], &UnpackSpec::of(Origin::Ours))
        .unwrap();
    // One that is not 0/0 is made where we may.
    assert!((1..=2).contains(&counts.devices), "{counts:?}");
}

#[test]
fn attributes_that_are_not_an_images_to_set() {
    let place = Place::new();
    let said: [(&str, &[u8]); 5] = [
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"x"),
        ("SCHILY.xattr.user.colour", b"red"),
        ("SCHILY.xattr.user.nul\0", b""),
    ];
    let counts = place.unpack(&[archive(&[records(&said), file("a", "a")])]).unwrap();
    let found = xattrs(&place.at("a"));
    if found.is_empty() {
        println!("SKIPPED: extended attributes: this file system has none");
        return;
    }
    assert_eq!(found, [("user.colour".to_string(), b"red".to_vec())]);
    assert_eq!(counts.xattrs, 4);
    // A file that its owner may not write to has them too, and so have directories.
    let place = Place::new();
    let closed = member(EntryType::Regular, "closed", ("", b"x"), |header| header.set_mode(0o400));
    let said = records(&said[3..4]);
    place.unpack(&[archive(&[said.clone(), closed, said, directory("d/")])]).unwrap();
    assert_eq!((xattrs(&place.at("closed")).len(), xattrs(&place.at("d")).len()), (1, 1));
    assert_eq!(fs::metadata(place.at("closed")).unwrap().mode() & 0o7777, 0o400);
}
