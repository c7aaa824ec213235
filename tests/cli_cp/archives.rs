//! Tar streams: of other programs into the container, ours to other programs, and bad ones.

use std::{
    fs,
    io::{Cursor, Write},
    path::Path,
    process::{Command, Stdio},
};

use tar::{Archive, Builder, EntryType, Header};

use crate::support::{Agent, everything, fed, noise, said, until};

/// A member: name, kind, link target or data.
type Member<'a> = (&'a str, EntryType, &'a str);

fn archive(members: &[Member<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, text) in members {
        let mut header = Header::new_gnu();
        // As they are: the builder's own methods refuse what we need.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_mode(0o755);
        header.set_entry_type(*kind);
        let data = match kind {
            EntryType::Symlink | EntryType::Link => {
                header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
                ""
            }
            _ => text,
        };
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn tar_reads_what_comes_out_and_its_streams_go_in() {
    let agent = Agent::start();
    let deep = format!("tree/{}/{}", "d".repeat(150), "e".repeat(150));
    fs::create_dir_all(agent.at(&deep)).unwrap();
    fs::write(agent.at(&format!("{deep}/file")), noise(700_000)).unwrap();
    fs::write(agent.at("tree/small"), "small").unwrap();
    fs::hard_link(agent.at("tree/small"), agent.at("tree/twin")).unwrap();
    let tree = everything(&agent.at("tree"));
    let tar = |words: &[&str]| {
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(agent.at("")).args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        tar
    };

    let out = agent.cp(&[":tree", "-"]).output().unwrap();
    assert_eq!(said(&out), (Some(0), String::new()));
    fs::create_dir(agent.at("out")).unwrap();
    let read = fed(&mut tar(&["-x", "-p", "-C", "out"]), out.stdout);
    assert_eq!(said(&read), (Some(0), String::new()));
    assert_eq!(everything(&agent.at("out/tree")), tree);

    for format in ["gnu", "pax", "oldgnu", "ustar"] {
        let made = tar(&["-c", "--format", format, "tree"]).output().unwrap();
        if format == "ustar" && !made.status.success() {
            // Names of that length are beyond it; what it could pack is a whole archive.
            assert!(said(&made).1.contains("too long"), "{made:?}");
        }
        fs::create_dir(agent.at(format)).unwrap();
        let put = fed(&mut agent.cp(&["-", &format!(":{format}")]), made.stdout);
        assert_eq!(said(&put), (Some(0), String::new()), "{format}");
        let copy = everything(&agent.at(format).join("tree"));
        match format {
            "pax" => assert_eq!(copy, tree),
            "ustar" => assert!(copy.contains_key(Path::new("small"))),
            // Without fractions of a second.
            _ => assert!(copy.keys().eq(tree.keys()), "{format}"),
        }
    }
}

#[test]
fn a_sparse_file_of_gnu_tar_is_refused_and_the_rest_is_copied() {
    let agent = Agent::start();
    fs::create_dir(agent.at("tree")).unwrap();
    let sparse = fs::File::create(agent.at("tree/sparse")).unwrap();
    for number in 0..20 {
        // More pieces than a header has room for.
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", number << 20).unwrap();
    }
    fs::write(agent.at("tree/whole"), "whole").unwrap();
    for format in ["gnu", "pax"] {
        let mut tar = Command::new("tar");
        tar.current_dir(agent.at("")).args(["-c", "-S", "--format", format, "tree"]);
        fs::create_dir(agent.at(format)).unwrap();
        let put = agent.cp(&["-", &format!(":{format}")]);
        let (code, text) = said(&fed(&mut { put }, tar.output().unwrap().stdout));
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("sparse: it is a sparse file"), "{text}");
        let whole = fs::read_to_string(agent.at(format).join("tree/whole"));
        assert_eq!(whole.unwrap(), "whole", "{format}");
    }
    // Ours is not refused: its holes are zeros.
    agent.copy(&["tree", ":copy"]);
    assert_eq!(everything(&agent.at("copy")), everything(&agent.at("tree")));
}

#[test]
fn a_stream_of_one_file_has_its_name() {
    let agent = Agent::start();
    fs::write(agent.at("file"), "data").unwrap();
    let out = agent.cp(&[":file", "-"]).output().unwrap();
    let mut archive = Archive::new(Cursor::new(out.stdout));
    let paths: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().into_owned())
        .collect();
    assert_eq!(paths, [Path::new("file")]);
}

#[test]
fn hostile_streams_touch_nothing_outside() {
    use EntryType::{Link, Regular, Symlink};
    let agent = Agent::start();
    let outside = agent.at("outside").display().to_string();
    let deep = format!("{outside}/made");
    let cases: &[(&[Member<'_>], i32)] = &[
        (&[("../outside/made", Regular, "bad")], 1),
        (&[("x/../../outside/made", Regular, "bad")], 1),
        (&[(&deep, Regular, "bad")], 0),
        (&[("out", Symlink, "../outside"), ("out/made", Regular, "bad")], 1),
        (&[("out", Symlink, &outside), ("out/made", Regular, "bad")], 1),
        (&[("up", Symlink, ".."), ("up/outside/made", Regular, "bad")], 1),
        (&[("file", Symlink, "../outside/file"), ("file", Regular, "bad")], 0),
        (&[("file", Link, "../outside/file"), ("file", Regular, "bad")], 1),
        (&[("x", Symlink, "../outside"), ("y", Link, "x/file"), ("y", Regular, "bad")], 1),
    ];
    for (number, (members, code)) in cases.iter().enumerate() {
        let _ = fs::remove_dir_all(&outside);
        fs::create_dir(&outside).unwrap();
        fs::write(agent.at("outside/file"), "good").unwrap();
        let before = everything(outside.as_ref());
        let inside = format!("inside-{number}");
        fs::create_dir(agent.at(&inside)).unwrap();
        let put = fed(&mut agent.cp(&["-", &format!(":{inside}")]), archive(members));
        assert_eq!(put.status.code(), Some(*code), "case {number}: {}", said(&put).1);
        assert_eq!(everything(outside.as_ref()), before, "case {number}");
    }
}

#[test]
fn what_is_no_archive_says_so_and_ends() {
    let agent = Agent::start();
    fs::create_dir(agent.at("to")).unwrap();
    let whole = archive(&[("a", EntryType::Regular, "data"), ("b", EntryType::Regular, "data")]);
    // Long enough that it is still being sent when it is refused.
    let long = noise(40 << 20);
    let cases: [(&[u8], &str); 4] = [
        (&long, "what came is no tar stream"),
        (b"\x1f\x8bcompressed", "stops before its end"),
        (b"", "stops before its end"),
        (&whole[..1024], "stops before its end"),
    ];
    for (input, words) in cases {
        let put = fed(&mut agent.cp(&["-", ":to"]), input.to_vec());
        let (code, text) = said(&put);
        assert_eq!(code, Some(1), "{text}");
        assert!(
            text.starts_with("doorward: failed in the container to read the archive: "),
            "{text}"
        );
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn an_interrupted_copy_cleans_up() {
    let agent = Agent::start();
    fs::create_dir(agent.at("to")).unwrap();
    let mut header = Header::new_gnu();
    header.set_path("large").unwrap();
    header.set_size(100 << 20);
    header.set_mode(0o644);
    header.set_cksum();
    let mut child = agent.cp(&["-", ":to"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(header.as_bytes()).unwrap();
    stdin.write_all(&noise(2 << 20)).unwrap();
    let begun = || fs::read_dir(agent.at("to")).unwrap().count();
    until("the file is begun", || begun() == 1);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(begun(), 0, "something half made was left");
    let listed = agent.exec(&["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]);
    let ours = agent.at("to").display().to_string();
    assert!(!listed.contains(&format!("unpack {ours}")), "the tool still runs");
}
