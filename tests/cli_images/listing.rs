//! `images ls` and `images inspect`.

use serde_json::json;

use crate::support::Server;

#[test]
fn a_table_ids_or_json() {
    let server = Server::start();
    let seen = server.run(&["images", "ls"]);
    assert_eq!((seen.code, &seen.stderr[..]), (0, ""));
    let lines: Vec<&str> = seen.stdout.lines().collect();
    let heads: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(heads, ["IMAGE", "SIZE", "AGE", "USED", "EXPIRES", "MOUNTS", "SEALED", "TAGS"]);
    assert!(
        lines[1].starts_with("im-abc     3.0 MiB  ") && lines[1].contains(" never "),
        "{seen:?}"
    );
    assert!(lines[1].ends_with(r"  base \u{1b}[2Jv1"), "{seen:?}");
    assert!(lines[2].contains(" over ") && lines[2].ends_with(" yes"), "{seen:?}");
    server.run(&["images", "ls", "-q"]).is(0, "im-abc\nim-sealed\n", "");

    let json = server.json(&["images", "ls"]);
    assert_eq!(json["size_bytes"], 5 << 20);
    let sealed = json!({
        "id": "im-sealed", "tags": [], "digest": "", "expires": "1970-01-01T00:00:01Z", "size_bytes": 0,
        "sealed": true, "layers": [], "mounts": [],
    });
    assert_eq!(json["images"][1], sealed);
}

#[test]
fn inspect_tells_all_in_words() {
    let server = Server::start();
    let seen = server.run(&["images", "inspect", "base"]);
    let row = |name: &str| {
        let line = seen.stdout.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line[name.len()..].trim().to_string()
    };
    assert_eq!(row("Image"), "im-abc");
    assert_eq!(row("Tags"), r"base \u{1b}[2Jv1");
    assert_eq!(row("Expires"), "never");
    assert_eq!(row("Size"), "3.0 MiB");
    assert_eq!(row("Mounted at"), "/data");
    assert!(row("Created").starts_with("2023-11-14T22:13:20Z ("), "{seen:?}");
    let layers = "Layers      sha256:1a 3.0 MiB application/vnd.oci.image.layer.v1.tar+zstd\n            sha256:1b ";
    assert!(seen.stdout.contains(layers), "{seen:?}");
    assert!(seen.stdout.contains("\n            /\\xff\n"), "{seen:?}");
}

#[test]
fn inspect_tells_all_as_json_and_goes_on_after_an_unknown_one() {
    let server = Server::start();
    let seen = server.run(&["images", "inspect", "--json", "nobody", "base"]);
    assert_eq!(seen.code, 1);
    assert_eq!(seen.stderr, "doorward: failed to inspect nobody: no image nobody here\n");
    let json: serde_json::Value = serde_json::from_str(&seen.stdout).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 1);
    assert_eq!(json[0]["manifest"], json!({"schemaVersion": 2}));
    assert_eq!(json[0]["config"], "no JSON");
    let layer = json!({
        "digest": "sha256:1a", "media_type": "application/vnd.oci.image.layer.v1.tar+zstd",
        "size_bytes": 3 << 20, "diff_id": "sha256:d1",
    });
    assert_eq!(json[0]["layers"][0], layer);
    assert_eq!(json[0]["mounts"][1], json!({"path": "/\u{fffd}", "path_base64": "L/8="}));
    assert!(json[0].get("expires").is_none());
}
