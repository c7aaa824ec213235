//! Registries that callers name: push, pull and mount from end to end, and skopeo beside us.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::{
    commands::Place,
    servers::{Guard, Server},
    shared::Shared,
    support::{have, skip},
    world::listing,
};

const ALLOWED: &str = "--allow-remote-images";

#[tokio::test]
async fn what_is_pushed_is_read_by_skopeo_and_pulled_by_another() {
    let test = "push and pull";
    let Ok(server) = Server::registry(Guard::Open).map_err(|why| skip(test, &why)) else { return };
    let here = Place::with(&[ALLOWED]).await;
    let tree = here.world.tree("tree");
    let image = here.print(&["snapshot", &tree]);
    let to = server.location("oci", "team/tree:v1");
    let digest = here.print(&["images", "push", &image, &to]);
    assert!(digest.starts_with("sha256:"), "{digest}");
    // Without a tag it is the one that registries mean then.
    here.print(&["images", "push", &image, &server.location("oci", "team/tree")]);
    if have("skopeo") {
        for tag in ["v1", "latest"] {
            let from = server.location("docker", &format!("team/tree:{tag}"));
            let copy = format!("dir:{}", here.world.path(&format!("copy-{tag}")));
            let inspected = skopeo(&["inspect", "--tls-verify=false", &from]);
            let inspected: Value = serde_json::from_str(&inspected).unwrap();
            assert_eq!(inspected["Digest"], digest[..], "{inspected}");
            skopeo(&["--insecure-policy", "copy", "-q", "--src-tls-verify=false", &from, &copy]);
            assert!(Path::new(&here.world.path(&format!("copy-{tag}/manifest.json"))).exists());
        }
    } else {
        skip("skopeo reads what was pushed", "not installed");
    }

    let there = Place::with(&[ALLOWED]).await;
    let pulled = there.print(&["images", "pull", "--tag", "it", &to]);
    assert_eq!(there.json(&["images", "inspect", "it"])[0]["digest"], digest[..]);
    assert_eq!(there.print(&["images", "pull", &to]), pulled);
    let (name, work) = (format!("{to}@{digest}"), there.world.path("work"));
    for name in [&name, &to, &name] {
        there.print(&["mount", name, &work]);
        assert_eq!(there.json(&["mounts"])[0]["image"], pulled[..], "{name}");
    }
    assert_eq!(listing(&there.world.seen("work")), listing(tree.as_ref()));
    // What is here by its digest is not looked for elsewhere.
    drop(server);
    there.print(&["mount", &name, &there.world.path("other")]);
    assert_eq!(there.print(&["images", "ls", "-q"]), pulled);
}

#[track_caller]
fn skopeo(arguments: &[&str]) -> String {
    let output = Command::new("skopeo").args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn what_skopeo_pushes_is_mounted() {
    let test = "an image of skopeo's";
    let Ok(server) = Server::registry(Guard::Open).map_err(|why| skip(test, &why)) else { return };
    if !have("skopeo") {
        return skip(test, "no skopeo");
    }
    let place = Place::with(&[ALLOWED]).await;
    let tree = place.world.tree("tree");
    place.print(&["snapshot", "--compression", "gzip", "--tag", "base", &tree]);
    let from = format!("oci:{}:base", place.world.path("state/images"));
    let to = server.location("docker", "other");
    let copy = ["--insecure-policy", "copy", "-q", "--dest-tls-verify=false", "-f", "v2s2"];
    skopeo(&[&copy[..], &[&from, &to]].concat());
    let work = place.world.path("work");
    place.print(&["mount", &server.location("oci", "other"), &work]);
    assert_eq!(listing(&place.world.seen("work")), listing(tree.as_ref()));
}

#[tokio::test]
async fn what_may_not_be_is_said() {
    let place = Place::with(&[ALLOWED]).await;
    let image = place.print(&["snapshot", &place.world.tree("tree")]);
    let no = |args: &[&str], words: &[&str]| {
        let (code, _, said) = place.run(args);
        assert!(code != 0 && words.iter().all(|word| said.contains(word)), "{args:?}: {said}");
    };
    let plain = ["images", "push", "--plain-http", &image, "oci://registry.invalid/a"];
    no(&plain, &["registry.invalid", "without TLS"]);
    let taken = ["images", "push", &image, "oci://localhost:1/a:im-another"];
    no(&taken, &[&image, "im-another"]);
    no(&["images", "pull", "oci://localhost:1/a"], &["localhost:1", "connect"]);
    no(&["mount", "oci://localhost:1/a", &place.world.path("work")], &["localhost:1", "connect"]);
    let closed = Place::new().await;
    let (code, _, said) = closed.run(&["images", "pull", "oci://localhost:1/a"]);
    assert!(code != 0 && said.contains("allowed"), "{said}");
}

#[tokio::test]
async fn the_repository_that_is_shared_is_allowed_and_no_other() {
    let test = "the shared repository";
    let Some(shared) = Shared::registry(test, Guard::TlsAndPassword) else { return };
    let (here, there) = (Place::with(&shared.flags()).await, Place::with(&shared.flags()).await);
    let tree = here.world.tree("tree");
    let image = here.print(&["snapshot", &tree]);
    let base = shared.location("oci", "team/images:base");
    here.print(&["images", "push", &image, &base]);
    let work = there.world.path("work");
    there.print(&["mount", &base, &work]);
    assert_eq!(listing(&there.world.seen("work")), listing(tree.as_ref()));
    for other in [shared.location("oci", "team/other"), "oci://r.example/team/images".into()] {
        let (code, _, said) = here.run(&["images", "push", &image, &other]);
        assert!(code != 0 && said.contains("allowed"), "{other}: {said}");
    }
}
