//! Whole trees: every kind of file, many files, a terminal's progress line, owners.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::Read,
    os::unix::{
        ffi::OsStringExt,
        fs::{MetadataExt, PermissionsExt, chown, symlink},
    },
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use rustix::{
    fs::{CWD, FileType, Mode, XattrFlags, getxattr, mknodat, setxattr},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::support::{Agent, everything, is_root, noise, said, skip};

/// A tree with something of every kind.
fn make(top: &Path) {
    let at = |path: &str| top.join(path);
    let odd = |bytes: &[u8]| top.join(OsString::from_vec(bytes.to_vec()));
    let long = "long".repeat(60);
    fs::create_dir_all(at(&format!("{long}/{long}/empty"))).unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(at("-dash"), "dash").unwrap();
    fs::write(at("large"), noise(3_000_003)).unwrap();
    fs::hard_link(at("large"), at(&format!("{long}/again"))).unwrap();
    fs::write(odd(b"not \xff\xfe UTF-8"), "odd").unwrap();
    fs::write(odd(b"new\nline"), "odd").unwrap();
    symlink("../nowhere", at("link")).unwrap();
    symlink(OsString::from_vec(b"\xff".repeat(150)), at("odd-link")).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    for (path, mode) in [("empty", 0o604), ("large", 0o1755), (&long, 0o555)] {
        fs::set_permissions(at(path), PermissionsExt::from_mode(mode)).unwrap();
    }
    let file = fs::File::options().write(true).open(at("-dash")).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::new(981_173_106, 123_456_789)).unwrap();
}

#[test]
fn holes_and_what_users_gave_are_kept_both_ways() {
    let agent = Agent::start();
    fs::create_dir(agent.at("tree")).unwrap();
    let file = fs::File::create(agent.at("tree/sparse")).unwrap();
    file.set_len(100 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"data", 70_000_003).unwrap();
    let give = |path: &str| {
        setxattr(agent.at(path), "user.note", path.as_bytes(), XattrFlags::empty()).is_ok()
    };
    // Not every file system knows them.
    let given = give("tree") && give("tree/sparse");
    agent.copy(&["tree", ":in"]);
    agent.copy(&[":in", "out"]);
    for copy in ["in", "out"] {
        let path = agent.at(copy).join("sparse");
        assert!(fs::read(&path).unwrap() == fs::read(agent.at("tree/sparse")).unwrap());
        let bytes = fs::metadata(&path).unwrap().blocks() * 512;
        assert!(bytes <= 256 << 10, "{copy}: {bytes} bytes on disk");
        for (path, note) in [(agent.at(copy), "tree"), (path, "tree/sparse")] {
            let mut value = [0; 64];
            let length = getxattr(&path, "user.note", &mut value[..]).unwrap_or(0);
            assert_eq!(&value[..length] == note.as_bytes(), given, "{path:?}");
        }
    }
}

#[test]
fn everything_is_kept_both_ways() {
    let agent = Agent::start();
    make(&agent.at("tree"));
    let tree = everything(&agent.at("tree"));
    agent.copy(&["tree", ":in"]);
    assert_eq!(everything(&agent.at("in")), tree);
    agent.copy(&[":in", "out"]);
    assert_eq!(everything(&agent.at("out")), tree);
    // Over what is there: files are replaced, directories stay.
    agent.copy(&["tree/.", ":in"]);
    let files = |mut all: BTreeMap<PathBuf, String>| {
        all.retain(|_, what| !what.starts_with("40"));
        all
    };
    assert_eq!(files(everything(&agent.at("in"))), files(tree));
    for name in [&b"not \xff\xfe UTF-8"[..], b"new\nline", b"100%"] {
        let name = OsString::from_vec(name.to_vec());
        fs::write(agent.at("name"), "by name").unwrap();
        let mut there = OsString::from(":");
        there.push(&name);
        agent.copy(&["name".into(), there.clone()]);
        assert_eq!(fs::read_to_string(agent.at("").join(&name)).unwrap(), "by name");
        agent.copy(&[there, "back".into()]);
        assert_eq!(fs::read_to_string(agent.at("back")).unwrap(), "by name");
    }
}

#[test]
fn a_thousand_files_are_a_thousand_files() {
    let agent = Agent::start();
    let data = noise(1 << 20);
    for number in 0..1000usize {
        let directory = agent.at(&format!("tree/{}", number / 50));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(number.to_string()), &data[number * 31..number * 37]).unwrap();
    }
    let tree = everything(&agent.at("tree"));
    assert_eq!(tree.len(), 1000 + 20 + 1);
    agent.copy(&["tree", ":in"]);
    assert_eq!(everything(&agent.at("in")), tree);
    agent.copy(&[":in", "out"]);
    assert_eq!(everything(&agent.at("out")), tree);
}

#[test]
fn a_file_is_replaced_and_never_written_into() {
    let agent = Agent::start();
    for (name, length) in [("small", 10), ("large", 1_000_000)] {
        fs::write(agent.at(name), noise(length)).unwrap();
        fs::write(agent.at("before"), "before").unwrap();
        let to = format!("to-{name}");
        fs::hard_link(agent.at("before"), agent.at(&to)).unwrap();
        agent.copy(&[name, &format!(":{to}")]);
        assert_eq!(fs::read(agent.at(&to)).unwrap(), noise(length));
        assert_eq!(fs::read_to_string(agent.at("before")).unwrap(), "before");
    }
}

#[test]
fn owners_and_devices_go_along_where_that_is_asked_for() {
    if !is_root() {
        return skip("owners", "needs root");
    }
    let agent = Agent::start();
    fs::create_dir(agent.at("tree")).unwrap();
    fs::write(agent.at("tree/file"), "").unwrap();
    fs::set_permissions(agent.at("tree/file"), PermissionsExt::from_mode(0o4755)).unwrap();
    symlink("x", agent.at("tree/link")).unwrap();
    for path in ["tree", "tree/file"] {
        chown(agent.at(path), Some(3_000_000_000), Some(77)).unwrap();
    }
    fs::set_permissions(agent.at("tree/file"), PermissionsExt::from_mode(0o4755)).unwrap();
    let null = rustix::fs::makedev(1, 3);
    let devices = mknodat(CWD, agent.at("tree/null"), FileType::CharacterDevice, Mode::RUSR, null);
    let owner = |path: &str| {
        let meta = fs::symlink_metadata(agent.at(path)).unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o7777)
    };
    for (sources, to) in [(["tree", ":kept"], "kept"), ([":tree", "kept-out"], "kept-out")] {
        agent.copy(&[&["-a"], &sources[..]].concat());
        assert_eq!(owner(to), (3_000_000_000, 77, 0o755));
        assert_eq!(owner(&format!("{to}/file")), (3_000_000_000, 77, 0o4755));
        assert_eq!(owner(&format!("{to}/link")).0, 0);
        if devices.is_ok() {
            let meta = fs::metadata(agent.at(&format!("{to}/null"))).unwrap();
            assert_eq!(meta.rdev(), null);
        }
    }
    let output = agent.cp(&["tree", ":own"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // Without its owner a program is not to run as somebody.
    assert_eq!((owner("own"), owner("own/file")), ((0, 0, 0o755), (0, 0, 0o755)));
    if devices.is_ok() {
        assert_eq!(said(&output).1, "doorward: tree/null: left out: it is a device\n");
        assert!(!agent.at("own/null").exists());
    }
}

#[test]
fn a_terminal_is_told_how_far_it_is() {
    let agent = Agent::start();
    fs::write(agent.at("file"), noise(5 << 20)).unwrap();
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let path = ptsname(&ours, Vec::new()).unwrap();
    let theirs = fs::File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&ours, size).unwrap();
    for (flag, shown) in [("--", "5.0 MiB  1 file  "), ("-q", "")] {
        let mut command = agent.cp(&[flag, "file", ":copy"]);
        let status = command.stderr(theirs.try_clone().unwrap()).status().unwrap();
        assert!(status.success());
        rustix::io::ioctl_fionbio(&ours, true).unwrap();
        let (mut text, mut ours) = (Vec::new(), fs::File::from(ours.try_clone().unwrap()));
        // What was written is there: the writer has ended.
        let _ = ours.read_to_end(&mut text);
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(shown), "{flag}: {text:?}");
        assert_eq!(text.is_empty(), shown.is_empty(), "{flag}: {text:?}");
    }
}
