//! The whole file system as an image, and the public client: agents in a root directory of their own.

use doorward::wire::{
    doorward::v1::{ArchiveFormat, ExportImageRequest},
    modal::task_command_router::TaskSnapshotFilesystemRequest,
};
use tonic::Status;

use crate::{
    rooted,
    support::{
        Agent, Setup,
        clients::{self, Client, GO, JAVASCRIPT, PYTHON},
        container, have, is_root, skip,
    },
    world::{World, all, images, mounting, task},
};

/// An agent in a file system of its own; none if that cannot be here.
async fn agent(group: &str, setup: Setup) -> Option<(World, Agent)> {
    let world = World::new().await;
    if !is_root() || world.namespace().is_none() {
        skip(group, "no mount namespace of its own");
        return None;
    }
    let Some(root) = rooted::root(&world) else {
        skip(group, "no static busybox");
        return None;
    };
    let agent = rooted::within(&world, &root, setup).start().await;
    Some((world, agent))
}

async fn whole(agent: &Agent) -> Result<String, Status> {
    let request = TaskSnapshotFilesystemRequest {
        task_id: task(),
        ttl_seconds: Some(3600),
        ..TaskSnapshotFilesystemRequest::default()
    };
    let answer = agent.door().await.raw.clone().task_snapshot_filesystem(request).await?;
    Ok(answer.into_inner().image_id)
}

#[tokio::test]
async fn the_whole_file_system_is_all_but_what_is_not_its_own() {
    let Some((_world, agent)) = agent("the whole file system", Setup::new()).await else { return };
    let door = agent.door().await;
    let mut raw = door.raw.clone();
    // A mount of ours is part of it.
    raw.task_mount_directory(mounting("", "/place/mounted")).await.unwrap();
    door.print("echo inside > /place/mounted/file").await;
    let image = whole(&agent).await.unwrap();
    raw.task_mount_directory(mounting(&image, "/place/all")).await.unwrap();
    let script = "cd /place/all && cat etc/marked tmp/kept place/mounted/file && ls -A proc dev && ls var/lib && ./bin/busybox echo runs && test ! -e place/all/etc && echo whole";
    let printed = door.print(script).await;
    let lines: Vec<&str> = printed.lines().filter(|line| !line.is_empty()).collect();
    let expected = ["marked", "kept", "inside", "dev:", "proc:", "runs", "whole"];
    assert_eq!(lines, expected, "{printed}");
    for path in ["/place/all", "/place/mounted"] {
        let request = crate::world::unmounting(path);
        raw.task_unmount_directory(request).await.unwrap();
    }
}

#[tokio::test]
async fn podman_runs_a_whole_file_system() {
    let Some(prepared) = container::prepared("podman runs a file system") else { return };
    if !have("podman") {
        return skip("podman runs a file system", "no podman");
    }
    let Some((world, agent)) = agent("podman runs a file system", Setup::new()).await else {
        return;
    };
    let image = whole(&agent).await.unwrap();
    let format = ArchiveFormat::Oci.into();
    let request = ExportImageRequest { task_id: task(), image, format };
    let pieces = all(images(&agent).await.export_image(request).await).await.unwrap();
    let archive: Vec<u8> = pieces.iter().flat_map(|piece| piece.data.to_vec()).collect();
    let file = world.path("all.tar");
    std::fs::write(&file, archive).unwrap();
    let run = |args: &[&str]| {
        let output = container::podman(&prepared).args(args).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    };
    let loaded = run(&["load", "-q", "-i", &file]);
    let name = loaded.trim().rsplit(' ').next().unwrap();
    let name = name.trim_start_matches("sha256:");
    let script = "cat /etc/marked; /script";
    let printed = run(&["run", "--rm", "--network", "none", name, "/bin/sh", "-c", script]);
    assert_eq!(printed, "marked\nran\n");
    run(&["rmi", "-f", name]);
}

#[tokio::test]
async fn the_python_client() {
    the_client(&PYTHON).await;
}

#[tokio::test]
async fn the_javascript_client() {
    the_client(&JAVASCRIPT).await;
}

#[tokio::test]
async fn the_go_client() {
    the_client(&GO).await;
}

async fn the_client(client: &Client) {
    if !client.ready() {
        return;
    }
    let Some((_world, agent)) = agent("images of public clients", clients::setup()).await else {
        return;
    };
    let variables = [("DOORWARD_PLACE", "/place"), ("DOORWARD_STATE", "/var/lib/doorward")];
    client.cases_with("images", &agent, agent.host_and_port(), &variables).await;
}
