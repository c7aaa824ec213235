//! `snapshot`.

use std::fs;

use doorward::wire::doorward::v1::{Compression, SnapshotRequest, snapshot_request::What};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Server, ended, until};

const NOTICE: &str = "doorward: 2 sockets are left out\\u{1b}\n";

#[test]
fn an_id_and_nothing_else_is_printed() {
    let server = Server::start();
    server.run(&["snapshot", "/data"]).is(0, "im-abc\n", NOTICE);
    server.run(&["snapshot", "-q", "/data"]).is(0, "im-abc\n", "");
    let json = server.json(&["snapshot", "/data"]);
    assert_eq!((&json["id"], &json["digest"]), (&"im-abc".into(), &"sha256:feed".into()));

    let asked = server.seen::<SnapshotRequest>();
    let plain = SnapshotRequest {
        task_id: "ours".into(),
        what: Some(What::Path("/data".into())),
        snapshot_id: asked[0].snapshot_id.clone(),
        ..Default::default()
    };
    assert_eq!(asked[0], plain);
    let ids: Vec<_> = asked.iter().map(|request| &request.snapshot_id).collect();
    assert!(ids[0].len() == 32 && ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
}

#[test]
fn everything_can_be_said_of_it() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    fs::write(&key, "sixteen bytes ok").unwrap();
    let mut args = vec!["snapshot", "--filesystem", "--ttl", "30d", "--tag", "base", "--id", "x"];
    args.extend(["--compression", "gzip", "--key-file", key.to_str().unwrap()]);
    assert_eq!(server.run(&args).code, 0);
    server.run(&["snapshot", "--ttl", "never", "--compression", "none", "/"]);
    let [first, second] = &server.seen::<SnapshotRequest>()[..] else { panic!("not two") };
    assert!(matches!(first.what, Some(What::Filesystem(_))));
    assert_eq!(
        (first.ttl_seconds, &first.tag[..], &first.snapshot_id[..]),
        (Some(2_592_000), "base", "x")
    );
    assert_eq!(
        (first.compression(), &first.key[..]),
        (Compression::Gzip, &b"sixteen bytes ok"[..])
    );
    assert_eq!((second.ttl_seconds, second.compression()), (Some(-1), Compression::None));

    fs::write(&key, "short").unwrap();
    let seen = server.run(&["snapshot", "--key-file", key.to_str().unwrap(), "/data"]);
    let said =
        format!("doorward: failed to read the key in {key:?}: it has 5 bytes and needs 16\n");
    seen.is(125, "", &said);
    assert_eq!(server.seen::<SnapshotRequest>().len(), 2);
}

#[test]
fn what_the_agent_says_against_it() {
    let server = Server::start();
    let missing = "doorward: failed to snapshot /missing: no directory /missing\n";
    server.run(&["snapshot", "/missing"]).is(1, "", missing);
    let full = "doorward: failed to snapshot /full: the store is full\n";
    server.run(&["snapshot", "/full"]).is(125, "", full);
}

#[test]
fn a_break_is_no_second_snapshot() {
    let server = Server::start();
    server.run(&["snapshot", "/breaks"]).is(0, "im-abc\n", NOTICE);
    let asked = server.seen::<SnapshotRequest>();
    assert_eq!((asked.len(), &asked[0]), (2, &asked[1]));
}

#[test]
fn an_agent_that_never_says_what_came_of_it_is_given_up() {
    let server = Server::start();
    let seen = server.run(&["snapshot", "/endless"]);
    assert_eq!((seen.code, &seen.stdout[..]), (125, ""));
    assert!(seen.stderr.ends_with(" s: the agent does not say what came of it\n"), "{seen:?}");
    assert_eq!(server.seen::<SnapshotRequest>().len(), 17);
}

#[test]
fn who_leaves_is_told_that_it_goes_on() {
    let server = Server::start();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let before = server.seen::<SnapshotRequest>().len();
        let child = server.command(&["snapshot", "--id", "x", "/slow"]).spawn().unwrap();
        until("it has asked", || server.seen::<SnapshotRequest>().len() > before);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let said = "doorward: the snapshot goes on; the same command with --id x waits for it\n";
        ended(child).is(code, "", said);
    }
}
