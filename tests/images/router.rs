//! What public clients do: the four RPCs of the main door.

use std::{fs, time::Duration};

use doorward::wire::modal::task_command_router::{
    TaskMountDirectoryRequest, TaskSnapshotDirectoryRequest, TaskSnapshotFilesystemRequest,
    TaskUnmountDirectoryRequest,
};
use tonic::{Code, Request};

use crate::{
    support::{Noise, Setup, door::refused, until},
    world::{
        World, all_mounts, directory, images, list, listing, mounting, snapshot_of, task,
        unmounting,
    },
};

const KEY: &[u8] = b"sixteen bytes ok";

/// A directory becomes an image, and the image a directory, with each way of mounting.
async fn round(world: &World, setup: Setup) -> String {
    let agent = setup.start().await;
    let door = agent.door().await;
    let mut raw = door.raw.clone();
    let tree = world.tree("tree");
    let image = snapshot_of(&door, directory(&tree, "first")).await.unwrap();
    assert!(image.starts_with("im-"), "{image}");
    let (work, before) = (world.path("work"), listing(tree.as_ref()));
    fs::create_dir_all(&work).unwrap();
    fs::write(format!("{work}/hidden"), "hidden").unwrap();

    raw.task_mount_directory(mounting(&image, &work)).await.unwrap();
    raw.task_mount_directory(mounting(&image, &work)).await.unwrap();
    assert_eq!(listing(&world.seen("work")), before);
    assert_eq!(door.print(&format!("{work}/script; cat {work}/file")).await, "ran\nwords\n");
    let other = snapshot_of(&door, directory(&tree, "second")).await.unwrap();
    let over = raw.task_mount_directory(mounting(&other, &work)).await;
    refused("another image", over, Code::FailedPrecondition, &[]);

    // What is written there is in the next snapshot, and nowhere else.
    door.print(&format!("echo more > {work}/more; rm {work}/script; echo x >> {work}/file")).await;
    let changed = snapshot_of(&door, directory(&work, "third")).await.unwrap();
    assert_eq!(listing(tree.as_ref()), before);
    let again = world.path("made/on/the/way");
    raw.task_mount_directory(mounting(&changed, &again)).await.unwrap();
    assert_eq!(listing(&world.seen("made/on/the/way")), listing(&world.seen("work")));
    let seen = door.print(&format!("cat {again}/more {again}/file; ls {again}")).await;
    assert_eq!(seen, "more\nwords\nx\ndeep\nfile\nlink\nmore\n");

    let way = all_mounts(&images(&agent).await).await[0].way.clone();
    raw.task_unmount_directory(unmounting(&again)).await.unwrap();
    raw.task_unmount_directory(unmounting(&work)).await.unwrap();
    assert_eq!(door.print(&format!("ls {work}")).await, "hidden\n");
    let twice = raw.task_unmount_directory(unmounting(&work)).await;
    refused("not mounted", twice, Code::FailedPrecondition, &[]);
    way
}

#[tokio::test]
async fn an_image_is_a_directory_again_by_the_best_way() {
    let world = World::new().await;
    let way = round(&world, world.setup()).await;
    assert!(["overlay", "bind", "rename", "entries"].contains(&&way[..]), "{way}");
}

#[tokio::test]
async fn an_image_is_a_directory_again_without_overlays() {
    let world = World::new().await;
    let way = round(&world, world.setup().env("DOORWARD_DISABLE", "overlay")).await;
    assert!(["bind", "rename", "entries"].contains(&&way[..]), "{way}");
}

#[tokio::test]
async fn an_image_is_a_directory_again_without_mounts() {
    let world = World::new().await;
    let way = round(&world, world.setup().env("DOORWARD_DISABLE", "overlay,mount")).await;
    assert!(["rename", "entries"].contains(&&way[..]), "{way}");
}

#[tokio::test]
async fn no_image_is_an_empty_directory() {
    let world = World::new().await;
    let agent = world.agent().await;
    let door = agent.door().await;
    let work = world.path("work");
    door.raw.clone().task_mount_directory(mounting("", &work)).await.unwrap();
    door.raw.clone().task_mount_directory(mounting("", &work)).await.unwrap();
    assert_eq!(door.print(&format!("ls -A {work}; touch {work}/new; ls {work}")).await, "new\n");
    door.raw.clone().task_unmount_directory(unmounting(&work)).await.unwrap();
}

#[tokio::test]
async fn a_repeat_is_the_same_image_also_at_once_and_later() {
    let world = World::new().await;
    let agent = world.agent().await;
    let door = agent.door().await;
    let tree = world.tree("tree");
    let mut noise = Noise::new(1);
    for n in 0..64 {
        fs::write(format!("{tree}/noise-{n}"), noise.bytes(1 << 18)).unwrap();
    }
    let calls = (0..8).map(|_| {
        let (door, request) = (door.clone(), directory(&tree, "the-same"));
        tokio::spawn(async move { snapshot_of(&door, request).await.unwrap() })
    });
    let calls: Vec<_> = calls.collect();
    let mut ids = Vec::new();
    for call in calls {
        ids.push(call.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    fs::write(format!("{tree}/later"), "later").unwrap();
    assert_eq!(snapshot_of(&door, directory(&tree, "the-same")).await.unwrap(), ids[0]);
    // Without an id each call is one of its own.
    let one = snapshot_of(&door, directory(&tree, "")).await.unwrap();
    let two = snapshot_of(&door, directory(&tree, "")).await.unwrap();
    assert!(one != two && one != ids[0]);
    assert_eq!(list(&images(&agent).await).await.len(), 3);
}

#[tokio::test]
async fn the_work_goes_on_when_the_deadline_has_passed() {
    let world = World::new().await;
    let agent = world.agent().await;
    let door = agent.door().await;
    let tree = world.tree("tree");
    let mut noise = Noise::new(2);
    for n in 0..48 {
        fs::write(format!("{tree}/noise-{n}"), noise.bytes(1 << 20)).unwrap();
    }
    let mut request = Request::new(directory(&tree, "slow"));
    request.set_timeout(Duration::from_millis(1));
    let given_up = door.raw.clone().task_snapshot_directory(request).await.unwrap_err();
    assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&given_up.code()), "{given_up:?}");
    let image = snapshot_of(&door, directory(&tree, "slow")).await.unwrap();
    let kept = list(&images(&agent).await).await;
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0].image_id, image);

    // One that nobody asks for again is there too, by and by.
    let mut request = Request::new(directory(&tree, "unasked"));
    request.set_timeout(Duration::from_millis(20));
    let _ = door.raw.clone().task_snapshot_directory(request).await;
    let raw = images(&agent).await;
    let begun = std::time::Instant::now();
    while list(&raw).await.len() < 2 {
        assert!(begun.elapsed() < crate::support::PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_key_is_needed_again_and_told_to_nobody() {
    let world = World::new().await;
    let agent = world.setup().flags(["--log", "trace"]).start().await;
    let door = agent.door().await;
    let mut raw = door.raw.clone();
    let tree = world.tree("tree");
    let key = |key: &[u8]| Some(key.to_vec().into());
    let sealed = TaskSnapshotDirectoryRequest {
        customer_supplied_encryption_key: key(KEY),
        ..directory(&tree, "sealed")
    };
    let image = snapshot_of(&door, sealed).await.unwrap();
    let plain = snapshot_of(&door, directory(&tree, "plain")).await.unwrap();
    let work = world.path("work");
    let with = |image: &str, bytes: Option<bytes::Bytes>| TaskMountDirectoryRequest {
        customer_supplied_encryption_key: bytes,
        ..mounting(image, &work)
    };
    for (what, request) in [
        ("no key", with(&image, None)),
        ("another key", with(&image, key(b"sixteen other ok"))),
        ("a key too many", with(&plain, key(KEY))),
        ("a short key", with(&image, key(&KEY[1..]))),
        ("an empty key", with(&plain, key(b""))),
        ("a long key", with(&image, key(&[b'k'; 513]))),
    ] {
        refused(what, raw.task_mount_directory(request).await, Code::InvalidArgument, &[]);
    }
    raw.task_mount_directory(with(&image, key(KEY))).await.unwrap();
    assert_eq!(listing(&world.seen("work")), listing(tree.as_ref()));
    raw.task_unmount_directory(unmounting(&work)).await.unwrap();
    let log = agent.log();
    let told = log.lines().find(|line| line.contains("sixteen") || line.contains("115, 105, 120"));
    assert_eq!(told, None);
    // What was unpacked goes in the background; `plain` has the words too, compressed.
    let found = || {
        let mut grep = std::process::Command::new("grep");
        let found = grep.args(["-rlE", "sixteen|words", &world.path("state")]).output().unwrap();
        String::from_utf8(found.stdout).unwrap()
    };
    until("nothing of it is on the disk", || found().is_empty()).await;
}

#[tokio::test]
async fn every_refusal_of_a_snapshot_has_its_code() {
    let world = World::new().await;
    let agent = world.agent().await;
    let door = agent.door().await;
    let tree = world.tree("tree");
    let (invalid, missing) = (Code::InvalidArgument, Code::NotFound);
    let ttl = |ttl_seconds| TaskSnapshotDirectoryRequest { ttl_seconds, ..directory(&tree, "") };
    let container =
        TaskSnapshotDirectoryRequest { container_id: "co-1".into(), ..directory(&tree, "") };
    let other = TaskSnapshotDirectoryRequest { task_id: "ta-other".into(), ..directory(&tree, "") };
    let short = TaskSnapshotDirectoryRequest {
        customer_supplied_encryption_key: Some(vec![b'k'; 15].into()),
        ..directory(&tree, "")
    };
    for (what, request, code) in [
        ("ttl 0", ttl(Some(0)), invalid),
        ("ttl -2", ttl(Some(-2)), invalid),
        ("the smallest ttl", ttl(Some(i64::MIN)), invalid),
        ("a relative path", directory("tree", ""), invalid),
        ("no path", directory("", ""), invalid),
        ("the root", directory("/", ""), invalid),
        ("a NUL", directory("/a\0", ""), invalid),
        ("a snapshot id", directory(&tree, "a/b"), invalid),
        ("a missing directory", directory("/no/such", ""), missing),
        ("a file", directory(&format!("{tree}/file"), ""), invalid),
        ("a container", container, missing),
        ("a task", other, missing),
        ("a key", short, invalid),
    ] {
        refused(what, snapshot_of(&door, request).await, code, &[]);
    }
    let unset = TaskSnapshotFilesystemRequest { task_id: task(), ..Default::default() };
    let answer = door.raw.clone().task_snapshot_filesystem(unset).await;
    refused("no ttl", answer, invalid, &["ttl_seconds"]);
    assert!(list(&images(&agent).await).await.is_empty());
}

#[tokio::test]
async fn every_refusal_of_a_mount_has_its_code() {
    let world = World::new().await;
    let agent = world.agent().await;
    let door = agent.door().await;
    let tree = world.tree("tree");
    let (invalid, missing) = (Code::InvalidArgument, Code::NotFound);
    let work = world.path("work");
    for (what, request, code) in [
        ("an unknown image", mounting("im-unknown", &work), missing),
        ("no image id", mounting("im-", &work), invalid),
        ("the root", mounting("", "/"), invalid),
        ("a relative path", mounting("", "work"), invalid),
        ("no path", mounting("", ""), invalid),
        ("a registry", mounting("oci://localhost:1/a", &work), Code::FailedPrecondition),
        (
            "a container",
            TaskMountDirectoryRequest { container_id: "co-1".into(), ..mounting("", &work) },
            missing,
        ),
        (
            "a task",
            TaskMountDirectoryRequest { task_id: "ta-other".into(), ..mounting("", &work) },
            missing,
        ),
    ] {
        let answer = door.raw.clone().task_mount_directory(request).await;
        refused(what, answer, code, &[]);
    }
    assert!(!std::path::Path::new(&work).exists(), "a refusal made the directory");
    for (what, request, code) in [
        ("not mounted", unmounting(&tree), Code::FailedPrecondition),
        ("a relative path", unmounting("tree"), invalid),
        ("the root", unmounting("/"), invalid),
        (
            "a container",
            TaskUnmountDirectoryRequest { container_id: "co-1".into(), ..unmounting(&tree) },
            missing,
        ),
    ] {
        let answer = door.raw.clone().task_unmount_directory(request).await;
        refused(what, answer, code, &[]);
    }
}

#[tokio::test]
async fn who_works_in_a_directory_is_named_to_the_caller() {
    let world = World::new().await;
    let agent = world.agent().await;
    let door = agent.door().await;
    let work = world.tree("work");
    let script = format!("cd {work}; touch {work}.there; read line");
    let exec = door.start(&crate::support::sh(&script)).await.unwrap();
    let there = format!("{work}.there");
    until("it is there", || std::path::Path::new(&there).exists()).await;
    let pid = agent.control().await.get(&exec).await.unwrap().pid.unwrap().to_string();
    let answer = door.raw.clone().task_mount_directory(mounting("", &work)).await.unwrap();
    // A client of one answer finds the trailers among its metadata.
    let warning = answer.metadata().get("x-modal-warning").map(|value| value.to_str().unwrap());
    assert!(warning.is_some_and(|text| text.contains(&pid)), "{pid}: {warning:?}");
    door.raw.clone().task_unmount_directory(unmounting(&work)).await.unwrap();
}
