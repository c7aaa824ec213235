//! `images rm`, `tag`, `prune`, `verify` and `diff`.

use std::fs;

use doorward::wire::doorward::v1::{DiffImagesRequest, PruneImagesRequest, TagImageRequest};
use serde_json::json;

use crate::support::Server;

#[test]
fn each_is_removed_whatever_becomes_of_the_others() {
    let server = Server::start();
    let said = "doorward: failed to remove nobody: no image nobody here\n\
        doorward: failed to remove busy: it is mounted at /data\n";
    server.run(&["images", "rm", "a", "nobody", "busy", "b"]).is(1, "a\nb\n", said);
    let seen = server.run(&["images", "rm", "--json", "a"]);
    assert_eq!(seen.lines(), [json!({"image": "a", "freed_bytes": 12})]);
}

#[test]
fn a_tag_is_given() {
    let server = Server::start();
    server.run(&["images", "tag", "im-abc", "base"]).is(0, "", "");
    let said = "doorward: failed to tag nobody as base: no image nobody here\n";
    server.run(&["images", "tag", "nobody", "base"]).is(1, "", said);
    let expected =
        TagImageRequest { task_id: "ours".into(), image: "im-abc".into(), tag: "base".into() };
    assert_eq!(server.seen::<TagImageRequest>()[0], expected);
}

#[test]
fn prune_says_what_goes() {
    let server = Server::start();
    server.run(&["images", "prune"]).is(0, "im-a\nim-b\n", "doorward: freed 3.0 MiB\n");
    let dry = ["images", "prune", "--dry-run", "--keep", "20GiB"];
    server.run(&dry).is(0, "im-a\nim-b\n", "doorward: would free 3.0 MiB\n");
    let expected = json!({"dry_run": true, "removed": ["im-a", "im-b"], "freed_bytes": 3 << 20});
    assert_eq!(server.json(&dry), expected);
    let asked = server.seen::<PruneImagesRequest>();
    assert_eq!((asked[0].keep_bytes, asked[0].dry_run), (None, false));
    assert_eq!((asked[1].keep_bytes, asked[1].dry_run), (Some(20 << 30), true));
}

#[test]
fn verify_tells_each_damage_once() {
    let server = Server::start();
    let found = "sha256:1a  content  needed by im-a, im-b\nsha256:1b  content  no image needs it\n\
        12 blobs, 3.0 MiB: 2 damaged\n";
    server.run(&["images", "verify"]).is(1, found, "");
    server.run(&["images", "verify", "good"]).is(0, "12 blobs, 3.0 MiB: all is well\n", "");
    let seen = server.run(&["images", "verify", "--json", "other"]);
    let expected = [
        json!({"event": "damage", "digest": "sha256:1a", "what": "content", "images": ["im-a", "im-b"]}),
        json!({"event": "damage", "digest": "sha256:1b", "what": "content", "images": []}),
        json!({"event": "done", "blobs": 12, "bytes": 3 << 20, "damaged": 2}),
    ];
    assert_eq!((seen.code, seen.lines()), (1, expected.to_vec()));
    let said = "doorward: failed to verify nobody: no image nobody here\n";
    server.run(&["images", "verify", "nobody"]).is(1, "", said);
}

#[test]
fn differences_are_lines() {
    let server = Server::start();
    let lines = "A a\\xff\nC b  (mode, time)\nD c\\u{1b}\n";
    server.run(&["images", "diff", "x", "y"]).is(0, lines, "");
    server.run(&["images", "diff", "x", "x"]).is(0, "", "");
    let expected = [
        json!({"change": "added", "path": "a\u{fffd}", "path_base64": "Yf8="}),
        json!({"change": "changed", "path": "b", "aspects": ["mode", "time"]}),
        json!({"change": "removed", "path": "c\u{1b}"}),
    ];
    assert_eq!(server.run(&["images", "diff", "--json", "x", "y"]).lines(), expected);
    let said = "doorward: failed to compare x with nobody: no image nobody here\n";
    server.run(&["images", "diff", "x", "nobody"]).is(1, "", said);
    let seen = server.run(&["images", "diff", "x", "fails"]);
    assert_eq!(seen.code, 125, "{seen:?}");
    assert!(seen.stderr.ends_with("compare x with fails: blob sha256:1a is missing\n"), "{seen:?}");
}

#[test]
fn each_side_of_a_comparison_has_its_own_key() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    fs::write(&key, "sixteen bytes ok").unwrap();
    let key = key.to_str().unwrap();
    server.run(&["images", "diff", "--key-file-a", key, "x", "y"]);
    server.run(&["images", "diff", "--key-file-b", key, "x", "y"]);
    let asked = server.seen::<DiffImagesRequest>();
    let keys: Vec<_> = asked.iter().map(|seen| (seen.from_key.len(), seen.to_key.len())).collect();
    assert_eq!(keys, [(16, 0), (0, 16)]);
}
