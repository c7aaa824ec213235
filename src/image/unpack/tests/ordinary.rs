//! Whose the files are: those of the archive for root, those of whoever unpacks for anybody else.

use std::process::Command;

use super::*;

/// A file with these owner and mode.
fn owned(path: &str, uid: u32, mode: u32) -> Vec<u8> {
    member(EntryType::Regular, path, ("", b"x"), |header| {
        header.set_uid(uid.into());
        header.set_mode(mode);
    })
}

#[test]
fn root_gives_files_to_their_owners() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: owners: not root");
        return;
    }
    let place = Place::new();
    let link = member(EntryType::Symlink, "link", ("x", b""), |header| header.set_uid(5));
    let counts = place.unpack(&[archive(&[
        owned("setuid", 3_000_000, 0o6755),
        owned("own", 0, 0o4755),
        owned("nobody", u32::MAX, 0o4755),
        link,
    ])]);
    assert_eq!(counts.unwrap().not_given, 1);
    let facts = |path: &str| {
        let meta = fs::symlink_metadata(place.at(path)).unwrap();
        (meta.uid(), meta.mode() & 0o7777)
    };
    assert_eq!(facts("setuid"), (3_000_000, 0o6755));
    assert_eq!(facts("own"), (0, 0o4755));
    // Nobody's rights are given, and not ours in their place.
    assert_eq!(facts("nobody"), (0, 0o755));
    assert_eq!(facts("link").0, 5);
}

#[test]
fn anybody_else_keeps_them() {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        // This very test, by somebody who is not root.
        let name = "image::unpack::tests::ordinary::anybody_else_keeps_them";
        let this = std::env::current_exe().unwrap();
        let ran = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"])
            .arg(this)
            .args(["--exact", name])
            .env("TMPDIR", "/tmp")
            .current_dir("/")
            .output();
        let ran = ran.unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(ran.status.success() && said.contains("1 passed"), "{ran:?}");
        return;
    }
    let place = Place::new();
    let uid = uid.as_raw();
    let closed = member(EntryType::Directory, "closed/", ("", b""), |header| header.set_mode(0));
    let counts = place
        .unpack(&[
            archive(&[owned("other", uid + 1, 0o6755), owned("own", uid, 0o4444), closed]),
            archive(&[owned("closed/in", uid + 1, 0o200), owned("own", uid, 0o4111)]),
        ])
        .unwrap();
    assert_eq!(counts.not_given, 2);
    let facts = |path: &str| {
        let meta = fs::metadata(place.at(path)).unwrap();
        (meta.uid(), meta.mode() & 0o7777)
    };
    assert_eq!((facts("other"), facts("own")), ((uid, 0o755), (uid, 0o4111)));
    assert_eq!(facts("closed"), (uid, 0));
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(place.at("closed"), open).unwrap();
    assert_eq!(facts("closed/in"), (uid, 0o200));
    // What was closed already is removed all the same after an error.
    let place = Place::new();
    let closed = member(EntryType::Directory, "closed/", ("", b""), |header| header.set_mode(0));
    let bad = file("../x", "x");
    place.unpack(&[archive(&[closed, file("closed/in", "x"), bad])]).unwrap_err();
}
