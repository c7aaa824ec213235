//! What others make of what we keep: skopeo copies and looks at it, podman runs it, umoci unpacks it.

use std::{fs, path::Path, process::Command};

use doorward::wire::doorward::v1::{
    ArchiveFormat, Compression, ExportImageRequest, SnapshotRequest,
};

use crate::{
    rooted,
    support::{Agent, container, have, is_root, skip},
    world::{World, all, images, listing, of, snapshot, task},
};

/// Runs a tool that must succeed, and returns what it printed.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

async fn kept(agent: &Agent, tree: &str, compression: Compression, tag: &str) {
    let compression = compression.into();
    let request = SnapshotRequest { compression, tag: tag.into(), ..of(tree) };
    snapshot(&images(agent).await, request).await.unwrap();
}

/// An archive of an image, as a file.
async fn exported(agent: &Agent, world: &World, tag: &str, format: ArchiveFormat) -> String {
    let request = ExportImageRequest { task_id: task(), image: tag.into(), format: format.into() };
    let pieces = all(images(agent).await.export_image(request).await).await.unwrap();
    let archive: Vec<u8> = pieces.iter().flat_map(|piece| piece.data.to_vec()).collect();
    let file = world.path(&format!("{tag}.tar"));
    fs::write(&file, archive).unwrap();
    file
}

#[tokio::test]
async fn skopeo_looks_at_the_store_and_copies_from_it() {
    if !have("skopeo") {
        return skip("skopeo", "not installed");
    }
    let world = World::new().await;
    let agent = world.agent().await;
    let tree = world.tree("tree");
    let store = world.path("state/images");
    for (compression, tag) in
        [(Compression::Zstd, "zstd"), (Compression::Gzip, "gzip"), (Compression::None, "plain")]
    {
        kept(&agent, &tree, compression, tag).await;
        let from = format!("oci:{store}:{tag}");
        let seen = run(Command::new("skopeo").args(["inspect", &from]));
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        assert_eq!(seen["Layers"].as_array().unwrap().len(), 1, "{seen}");
        let copy = world.path(&format!("copy-{tag}"));
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "-q", &from, &format!("dir:{copy}")]);
        run(&mut skopeo);
        assert!(Path::new(&copy).join("manifest.json").exists());
    }
    let file = exported(&agent, &world, "gzip", ArchiveFormat::Docker).await;
    let copy = format!("dir:{}", world.path("from-docker"));
    let from = format!("docker-archive:{file}");
    run(Command::new("skopeo").args(["--insecure-policy", "copy", "-q", &from, &copy]));
}

#[tokio::test]
async fn podman_runs_what_was_kept() {
    let Some(prepared) = container::prepared("podman runs images") else { return };
    if !have("podman") || !is_root() {
        return skip("podman runs images", "no podman, or not root");
    }
    let world = World::new().await;
    let Some(root) = rooted::root(&world) else {
        return skip("podman runs images", "no static busybox");
    };
    let root = root.to_str().unwrap().to_string();
    let agent = world.agent().await;
    for (compression, format) in
        [(Compression::Zstd, ArchiveFormat::Oci), (Compression::Gzip, ArchiveFormat::Docker)]
    {
        let tag = format!("doorward-{}", compression.as_str_name().to_lowercase());
        kept(&agent, &root, compression, &tag).await;
        let file = exported(&agent, &world, &tag, format).await;
        let podman = || container::podman(&prepared);
        let loaded = run(podman().args(["load", "-q", "-i", &file]));
        let name = loaded.trim().rsplit(' ').next().unwrap().to_string();
        let mut command = podman();
        command.args(["run", "--rm", "--network", "none", &name, "/bin/sh", "-c"]);
        let printed = run(command.arg("cat /file; /script"));
        assert_eq!(printed, "words\nran\n", "{name}");
        run(podman().args(["rmi", "-f", &name]));
    }
}

#[tokio::test]
async fn umoci_unpacks_what_was_kept_with_gzip() {
    if !have("umoci") || !is_root() {
        return skip("umoci", "not installed, or not root");
    }
    let world = World::new().await;
    let agent = world.agent().await;
    let tree = world.tree("tree");
    kept(&agent, &tree, Compression::Gzip, "gzip").await;
    let (image, bundle) = (format!("{}:gzip", world.path("state/images")), world.path("bundle"));
    run(Command::new("umoci").args(["unpack", "--image", &image, &bundle]));
    assert_eq!(listing(&Path::new(&bundle).join("rootfs")), listing(tree.as_ref()));
}
