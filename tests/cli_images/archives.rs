//! `images export` and `images import`.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Stdio,
};

use doorward::wire::doorward::v1::{ArchiveFormat, ExportImageRequest, ImportOpen};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    fake::{ARCHIVE, Piece, Whole},
    support::{Server, ended, terminal, until},
};

/// What the archive of every image is.
fn archive() -> Vec<u8> {
    (0..ARCHIVE).map(|at| (at >> 18) as u8).collect()
}

/// The names in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_archive_goes_to_a_file_or_to_standard_output() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.tar");
    let output = file.to_str().unwrap();
    server.run(&["images", "export", "x", "-o", output]).is(0, "", "");
    assert!(fs::read(&file).unwrap() == archive());
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names(directory.path()), ["x.tar"]);

    let command = ["images", "export", "--format", "docker", "untold"];
    let seen = server.command(&command).output().unwrap();
    assert!(seen.status.success() && seen.stderr.is_empty());
    assert!(seen.stdout == archive());
    let forms: Vec<_> = server.seen::<ExportImageRequest>().iter().map(|r| r.format()).collect();
    assert_eq!(forms, [ArchiveFormat::Oci, ArchiveFormat::Docker]);
}

#[test]
fn what_was_there_is_replaced_as_a_whole_and_devices_are_not() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let [file, link] = ["x.tar", "link"].map(|name| directory.path().join(name));
    fs::write(&file, "before").unwrap();
    symlink("x.tar", &link).unwrap();
    server.run(&["images", "export", "x", "-o", link.to_str().unwrap()]).is(0, "", "");
    assert_eq!(file.metadata().unwrap().len(), ARCHIVE as u64);
    assert!(link.is_symlink());
    server.run(&["images", "export", "x", "-o", "/dev/null"]).is(0, "", "");
    assert!(!Path::new("/dev/null").is_file());
    let output = directory.path().to_str().unwrap();
    let said = format!("doorward: failed to write {output:?}: it is a directory\n");
    server.run(&["images", "export", "x", "-o", output]).is(125, "", &said);
    let seen = server.run(&["images", "export", "x", "-o", "/nonexistent/x.tar"]);
    assert!(
        seen.stderr.starts_with("doorward: failed to write \"/nonexistent/x.tar\": No such file")
    );
}

#[test]
fn no_half_of_an_archive_remains() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.tar");
    fs::write(&file, "before").unwrap();
    let output = file.to_str().unwrap();
    let half = || {
        let mut parts = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap());
        parts.any(|part| part.file_name() != "x.tar" && part.metadata().is_ok_and(|m| m.len() > 0))
    };
    let untouched = || {
        assert_eq!(names(directory.path()), ["x.tar"]);
        assert_eq!(fs::read(&file).unwrap(), b"before");
    };
    for (image, code, why) in [
        ("nobody", 1, "no image nobody here"),
        ("fails", 125, "blob sha256:1a is missing"),
        ("short", 125, "41943040 bytes came of an archive of 41943041"),
    ] {
        let said = format!("doorward: failed to export {image}: {why}\n");
        server.run(&["images", "export", image, "-o", output]).is(code, "", &said);
        untouched();
    }

    let child = server.command(&["images", "export", "breaks", "-o", output]).spawn().unwrap();
    until("half of it is written", half);
    server.cut();
    let seen = ended(child);
    assert_eq!(seen.code, 125, "{seen:?}");
    assert!(seen.stderr.starts_with("doorward: failed to export breaks: "), "{seen:?}");
    untouched();

    let child = server.command(&["images", "export", "breaks", "-o", output]).spawn().unwrap();
    until("half of it is written", half);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    ended(child).is(130, "", "doorward: no whole archive was written\n");
    untouched();
}

#[test]
fn archives_are_neither_shown_nor_typed() {
    let server = Server::start();
    let (_ours, theirs) = terminal();
    let mut export = server.command(&["images", "export", "x"]);
    let child = export.stdout(theirs.try_clone().unwrap()).spawn().unwrap();
    let said = "doorward: failed to export: an archive is not shown: standard output is a terminal; -o FILE \
        writes to a file\n";
    ended(child).is(125, "", said);
    let mut import = server.command(&["images", "import"]);
    let child = import.stdin(theirs).spawn().unwrap();
    let said =
        "doorward: failed to import: an archive is not typed: standard input is a terminal\n";
    ended(child).is(125, "", said);
}

#[test]
fn who_does_not_read_an_archive_ends_us_like_any_program() {
    let server = Server::start();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = server.command(&["images", "export", "x"]).stdout(writer).spawn().unwrap();
    ended(child).is(141, "", "");
}

#[test]
fn an_archive_comes_from_a_file_or_from_standard_input() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.tar");
    fs::write(&file, archive()).unwrap();
    let input = file.to_str().unwrap();
    let args = ["images", "import", "--ttl", "never", "--tag", "x", input];
    server.run(&args).is(0, "im-abc\nim-two\n", "");
    let open = ImportOpen { task_id: "ours".into(), ttl_seconds: Some(-1), tag: "x".into() };
    assert_eq!(server.seen::<ImportOpen>(), [open]);
    let pieces: Vec<usize> = server.seen::<Piece>().iter().map(|piece| piece.0).collect();
    assert!(pieces.iter().all(|bytes| (1..=256 << 10).contains(bytes)), "{pieces:?}");

    for args in [&["images", "import", "--json"][..], &["images", "import", "--json", "-"]] {
        let child = server.command(args).stdin(File::open(&file).unwrap()).spawn().unwrap();
        let seen = ended(child);
        let json: serde_json::Value = serde_json::from_str(&seen.stdout).unwrap();
        assert_eq!((&json[0]["id"], &json[1]["id"]), (&"im-abc".into(), &"im-two".into()));
    }
    let whole = server.seen::<Whole>();
    assert!(whole.len() == 3 && whole.iter().all(|whole| whole.0 == archive()));
}

#[test]
fn what_cannot_be_read_to_its_end_is_not_taken_for_the_whole() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    // A directory can be opened, and not read.
    let said = format!("doorward: failed to read {path:?}: Is a directory (os error 21)\n");
    server.run(&["images", "import", path]).is(125, "", &said);

    let mut command = server.command(&["images", "import"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"half").unwrap();
    until("half of it has come", || !server.seen::<Piece>().is_empty());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    ended(child).is(130, "", "doorward: the agent keeps nothing of it\n");
    assert_eq!(server.seen::<Whole>().len(), 0);
}

#[test]
fn an_agent_that_refuses_is_not_sent_the_rest() {
    let server = Server::start();
    let mut command = server.command(&["images", "import"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // It stays open: whoever waits for its end waits for ever.
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"no archive").unwrap();
    let said = "doorward: failed to import standard input: it is no archive\n";
    ended(child).is(125, "", said);
    drop(input);
}
