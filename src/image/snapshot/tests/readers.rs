//! Layers as GNU tar and Python read them.

use std::{
    collections::BTreeMap,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    process::{Command, Stdio},
    time::{Duration, Instant, UNIX_EPOCH},
};

use super::*;

/// Lists every member: path and link in hexadecimal, kind, mode, owner, time, size, attribute, and a hash
/// of the data where there is not too much of it.
const LIST: &str = r#"
import hashlib, sys, tarfile
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
    for m in tar:
        raw = lambda text: text.encode("utf-8", "surrogateescape").hex()
        data = tar.extractfile(m).read() if m.isreg() and m.size < 1 << 24 else b""
        time = m.pax_headers.get("mtime", str(m.mtime))
        user = raw(m.pax_headers.get("SCHILY.xattr.user.note", ""))
        print(raw(m.name), m.type.decode(), m.mode, m.uid, m.gid, time, m.size, raw(m.linkname),
              hashlib.sha256(data).hexdigest()[:8], user, sep="|")
"#;

/// What one of [`LIST`]'s lines says but for the path.
fn line(path: &Path, meta: &fs::Metadata, first: Option<&[u8]>) -> String {
    use sha2::{Digest, Sha256};
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let kind = meta.file_type();
    let is_data = kind.is_file() && first.is_none();
    let (letter, target) = match first {
        Some(first) => ("1", first.to_vec()),
        None if kind.is_dir() => ("5", Vec::new()),
        None if kind.is_symlink() => {
            ("2", fs::read_link(path).unwrap().into_os_string().into_encoded_bytes())
        }
        None if kind.is_file() => ("0", Vec::new()),
        None => ("6", Vec::new()),
    };
    let few = is_data && meta.len() < 1 << 24;
    let data = if few { fs::read(path).unwrap() } else { Vec::new() };
    let size = if is_data { meta.len() } else { 0 };
    let (seconds, nanoseconds) = (meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap());
    let time = crate::archive::entry::Time { seconds, nanoseconds }.to_decimal();
    let mut note = vec![0; 100];
    let read = rustix::fs::lgetxattr(path, "user.note", &mut note[..]);
    note.truncate(if first.is_some() { 0 } else { read.unwrap_or(0) });
    let owner = format!("{}|{}", meta.uid(), meta.gid());
    let sum = &hex(&Sha256::digest(&data))[..8];
    let target = hex(&target);
    format!("{letter}|{}|{owner}|{time}|{size}|{target}|{sum}|{}", meta.mode() & 0o7777, hex(&note))
}

/// All of a tree as [`LIST`] would show it, with links as a layer has them.
fn expected(top: &Path) -> BTreeMap<String, String> {
    let (mut ahead, mut all) = (vec![top.to_path_buf()], Vec::new());
    while let Some(path) = ahead.pop() {
        if path.is_dir() && !path.is_symlink() {
            ahead.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        all.push(path);
    }
    // Paths are compared by their components, as a walk has them.
    all.sort();
    let mut firsts: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut lines = BTreeMap::new();
    for path in all {
        let meta = fs::symlink_metadata(&path).unwrap();
        let inside = path.strip_prefix(top).unwrap().as_os_str().as_bytes();
        let first = firsts.get(&meta.ino()).filter(|_| !meta.is_dir()).cloned();
        firsts.entry(meta.ino()).or_insert_with(|| inside.to_vec());
        let shown = if inside.is_empty() { b"." } else { inside };
        let shown = shown.iter().map(|byte| format!("{byte:02x}")).collect();
        lines.insert(shown, line(&path, &meta, first.as_deref()));
    }
    lines
}

/// A tree with something of everything.
fn build(top: &Path) {
    let at = |path: &[u8]| top.join(name(path));
    let long = "x".repeat(255);
    fs::create_dir_all(at(b"d/empty")).unwrap();
    fs::create_dir_all(top.join(&long).join(&long)).unwrap();
    fs::write(top.join(&long).join(&long).join(&long), "deep").unwrap();
    fs::write(at(b"not \xff UTF-8"), "odd").unwrap();
    fs::write(at("\u{e4}\u{1f980}".as_bytes()), "umlaut").unwrap();
    fs::write(at(b"new\nline"), "line").unwrap();
    fs::write(at(b"d/one"), "linked").unwrap();
    fs::hard_link(at(b"d/one"), at(b"d/two")).unwrap();
    fs::hard_link(at(b"d/one"), at(b"z \xfe")).unwrap();
    symlink("d/one", at(b"link")).unwrap();
    symlink(name(&b"\xff/".repeat(90)), at(b"long link")).unwrap();
    fifo(&at(b"pipe"));
    fs::write(at(b"large"), (0..9_000_001_u32).map(|n| (n >> 3) as u8).collect::<Vec<u8>>())
        .unwrap();
    fs::set_permissions(at(b"large"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(at(b"d"), fs::Permissions::from_mode(0o1777)).unwrap();
    let holes = File::create(at(b"holes")).unwrap();
    holes.set_len(9 << 30).unwrap();
    holes.write_all_at(b"middle", 5 << 30).unwrap();
    let small = File::create(at(b"small holes")).unwrap();
    small.set_len(3_000_000).unwrap();
    small.write_all_at(b"end", 2_999_997).unwrap();
    let old = UNIX_EPOCH - Duration::from_millis(1500);
    File::options().write(true).open(at(b"d/one")).unwrap().set_modified(old).unwrap();
    let whole = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().write(true).open(at(b"large")).unwrap().set_modified(whole).unwrap();
    for path in [&b"d"[..], b"d/one", b"holes"] {
        let flags = rustix::fs::XattrFlags::empty();
        let value = b"line\nand \x00\xff";
        let set = rustix::fs::lsetxattr(at(path), "user.note", value, flags);
        set.expect("the file system of the tests has user attributes");
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(at(b"large"), Some(3_000_000_000), Some(2_097_152)).unwrap();
        fs::set_permissions(at(b"large"), fs::Permissions::from_mode(0o4755)).unwrap();
        std::os::unix::fs::chown(at(b"d/empty"), Some(2_097_151), Some(12)).unwrap();
    }
}

fn piped(command: &mut Command, input: &[u8]) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    });
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && words.is_empty(), "{command:?}: {words}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn others_read_what_was_packed() {
    let top = tempfile::tempdir().unwrap();
    let tree = top.path().join("tree");
    fs::create_dir(&tree).unwrap();
    build(&tree);
    let (bytes, packed) = packed(&tree, &plain());
    assert_eq!((packed.counts.unreadable, packed.counts.changed), (0, 0));
    assert!(bytes.len() < 12 << 20, "{} bytes: the holes are packed", bytes.len());

    let listed = piped(Command::new("python3").args(["-c", LIST]), &bytes);
    let listed: BTreeMap<String, String> = listed
        .lines()
        .map(|line| line.split_once('|').unwrap())
        .map(|(path, rest)| (path.to_string(), rest.to_string()))
        .collect();
    let expected = expected(&tree);
    for (path, line) in &expected {
        assert_eq!(listed.get(path), Some(line), "{path}");
    }
    assert_eq!(listed.len(), expected.len());

    if !is_root("readers") {
        return;
    }
    let copy = top.path().join("copy");
    fs::create_dir(&copy).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["-xpf", "-", "--xattrs", "--xattrs-include=user.*", "--numeric-owner"]);
    // It wonders at times before the epoch.
    piped(tar.args(["--warning=no-timestamp", "-C"]).arg(&copy), &bytes);
    let copied = self::expected(&copy);
    for (path, line) in &expected {
        assert_eq!(copied.get(path), Some(line), "{path}");
    }
    assert_eq!(copied.len(), expected.len());
    let blocks = |name: &str| fs::metadata(copy.join(name)).unwrap().blocks();
    assert!(blocks("holes") < 1000, "the holes are filled");
}

#[test]
fn capabilities_are_kept() {
    if !is_root("capabilities") {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let file = top.path().join("file");
    fs::write(&file, "").unwrap();
    // Version 2, cap_net_raw permitted and effective.
    let value = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let flags = rustix::fs::XattrFlags::empty();
    if let Err(errno) = rustix::fs::lsetxattr(&file, "security.capability", &value, flags) {
        println!("SKIPPED: image::snapshot::capabilities: {errno}");
        return;
    }
    let (bytes, _) = packed(top.path(), &plain());
    let record = [&b"SCHILY.xattr.security.capability="[..], &value].concat();
    assert!(bytes.windows(record.len()).any(|window| window == record));
}

#[test]
fn a_hole_of_many_gibibytes_takes_no_time() {
    let top = tempfile::tempdir().unwrap();
    let file = File::create(top.path().join("hole")).unwrap();
    file.set_len(10 << 30).unwrap();
    let begun = Instant::now();
    let (bytes, tree) = packed(top.path(), &plain());
    let time = begun.elapsed();
    println!("10 GiB of nothing: {time:?}");
    assert_eq!((tree.counts.data_bytes, bytes.len() < 10_000), (0, true));
    // Reading it would take seconds; a busy machine makes milliseconds of it.
    assert!(time < Duration::from_secs(1), "{time:?}");
}
