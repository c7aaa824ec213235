//! `mount`, `unmount` and `mounts`.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use doorward::wire::doorward::v1::{MountRequest, UnmountRequest};
use serde_json::json;

use crate::support::Server;

#[test]
fn an_image_or_an_empty_directory_at_a_path() {
    let server = Server::start();
    let notice = "doorward: 2 sockets are left out\\u{1b}\n";
    server.run(&["mount", "im-abc", "/data"]).is(0, "", notice);
    server.run(&["mount", "-q", "--empty", "/data"]).is(0, "", "");
    server.run(&["mount", "-q", "", "/data"]).is(0, "", "");
    let expected = json!({
        "path": "/data", "image": "im-abc", "way": "overlay", "since": "2023-11-14T22:13:20Z",
    });
    assert_eq!(server.json(&["mount", "im-abc", "/data"]), expected);
    let mut odd = server.command(&["mount", "-q", "--empty"]);
    assert!(odd.arg(OsStr::from_bytes(b"/\xff")).status().unwrap().success());

    let asked = server.seen::<MountRequest>();
    let images: Vec<_> = asked.iter().map(|request| &request.image[..]).collect();
    assert_eq!(images, ["im-abc", "", "", "im-abc", ""]);
    assert_eq!((&asked[0].path[..], &asked[4].path[..]), (&b"/data"[..], &b"/\xff"[..]));
    assert!(asked.iter().all(|request| request.task_id == "ours"));
}

#[test]
fn what_the_agent_says_against_it() {
    let server = Server::start();
    let cases = [
        ("nobody", 1, "no image nobody here"),
        ("busy", 1, "it is mounted at /data"),
        ("sealed", 125, "it needs a key"),
        ("damaged", 125, "blob sha256:1a is not what it was"),
    ];
    for (image, code, why) in cases {
        let said = format!("doorward: failed to mount {image} at /data: {why}\n");
        server.run(&["mount", image, "/data"]).is(code, "", &said);
    }
    let said = "doorward: failed to unmount /none: nothing is mounted at /none\n";
    server.run(&["unmount", "/none"]).is(1, "", said);
}

#[test]
fn unmount_names_the_path() {
    let server = Server::start();
    server.run(&["unmount", "/data"]).is(0, "", "");
    let expected = UnmountRequest { task_id: "ours".into(), path: "/data".into() };
    assert_eq!(server.seen::<UnmountRequest>(), [expected]);
}

#[test]
fn mounts_are_listed() {
    let server = Server::start();
    let seen = server.run(&["mounts"]);
    let lines: Vec<Vec<&str>> =
        seen.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["IMAGE", "WAY", "AGE", "PATH"]);
    // The age has two words.
    assert_eq!((lines[1][..2].to_vec(), lines[1][4]), (vec!["empty", "overlay"], "/data"));
    assert_eq!((lines[2][0], lines[2][4]), ("im-abc", r"/odd\xff\u{1b}"));
    let json = server.json(&["mounts"]);
    let empty = json!({"path": "/data", "way": "overlay", "since": "2023-11-14T22:13:20Z"});
    assert_eq!(json[0], empty);
    assert_eq!(json[1]["path_base64"], "L29kZP8b");
    assert_eq!(json[1]["path"], "/odd\u{fffd}\u{1b}");
}
