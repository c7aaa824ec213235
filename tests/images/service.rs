//! Snapshots and mounts through `doorward.v1.Images`: what is told on the way, what is refused, and who may
//! call.

use std::{fs, os::unix::net::UnixListener};

use doorward::wire::doorward::v1::{
    Compression, ListImagesRequest, MountRequest, SnapshotRequest, UnmountRequest,
    snapshot_response::Event,
};
use tonic::Code;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::{
    support::{
        TASK,
        door::{TOKEN, Token, refused},
    },
    world::{
        World, all, images, list, listing, mount, mount_with, mounts, of, snapshot, task, unmount,
        with_token,
    },
};

#[tokio::test]
async fn progress_and_notices_come_before_the_image() {
    let world = World::new().await;
    let agent = world.agent().await;
    let raw = images(&agent).await;
    let tree = world.tree("tree");
    let _socket = UnixListener::bind(format!("{tree}/socket")).unwrap();
    let request = SnapshotRequest { tag: "team/base".into(), ..of(&tree) };
    let messages = all(raw.clone().snapshot(request).await).await.unwrap();
    let mut kinds = Vec::new();
    for message in &messages {
        kinds.push(match message.event.as_ref().unwrap() {
            Event::Progress(progress) => {
                assert_eq!(progress.step, "reading");
                assert!(progress.done_bytes <= 1 << 20, "{progress:?}");
                "progress"
            }
            Event::Notice(notice) => {
                assert!(notice.text.contains("socket"), "{notice:?}");
                "notice"
            }
            Event::Done(image) => {
                assert!(image.image_id.starts_with("im-") && image.digest.starts_with("sha256:"));
                assert_eq!((&image.tags[..], image.layers.len()), (&["team/base".into()][..], 1));
                // A tag keeps it.
                assert!(image.expires.is_none() && image.size_bytes > 0 && !image.sealed);
                "done"
            }
        });
    }
    assert_eq!(kinds.last(), Some(&"done"), "{messages:?}");
    assert!(kinds.contains(&"notice") && kinds.contains(&"progress"), "{messages:?}");
}

#[tokio::test]
async fn compression_is_as_it_was_asked_for_or_as_the_flag_says() {
    let world = World::new().await;
    let agent = world.setup().flags(["--image-compression=none"]).start().await;
    let raw = images(&agent).await;
    let tree = world.tree("tree");
    for (compression, media) in [
        (Compression::Unspecified, "application/vnd.oci.image.layer.v1.tar"),
        (Compression::Gzip, "application/vnd.oci.image.layer.v1.tar+gzip"),
        (Compression::Zstd, "application/vnd.oci.image.layer.v1.tar+zstd"),
    ] {
        let request = SnapshotRequest { compression: compression.into(), ..of(&tree) };
        let image = snapshot(&raw, request).await.unwrap();
        assert_eq!(image.layers[0].media_type, media);
    }
}

#[tokio::test]
async fn mounts_are_listed_and_images_say_where_they_are() {
    let world = World::new().await;
    let agent = world.agent().await;
    let raw = images(&agent).await;
    let tree = world.tree("tree");
    let image = snapshot(&raw, SnapshotRequest { tag: "base".into(), ..of(&tree) }).await.unwrap();
    let (one, two) = (world.path("one"), world.path("two"));
    let mounted = mount(&raw, "base", &one).await.unwrap();
    assert_eq!((&mounted.image_id, &mounted.path[..]), (&image.image_id, one.as_bytes()));
    assert!(mounted.since.is_some() && !mounted.way.is_empty(), "{mounted:?}");
    mount(&raw, "", &two).await.unwrap();
    let id = image.image_id.clone();
    assert_eq!(mounts(&raw).await, [(one.clone(), id.clone()), (two.clone(), String::new())]);
    assert_eq!(list(&raw).await[0].mounted_at, [one.as_bytes()]);
    let digest = mount(&raw, &image.digest, &one).await;
    assert_eq!(digest.unwrap().image_id, id, "a digest names the same image");
    assert_eq!(listing(&world.seen("one")), listing(tree.as_ref()));
    refused("beneath", unmount(&raw, &format!("{one}/deep")).await, Code::FailedPrecondition, &[]);
    unmount(&raw, &one).await.unwrap();
    unmount(&raw, &two).await.unwrap();
    assert!(mounts(&raw).await.is_empty());
}

#[tokio::test]
async fn every_refusal_has_its_code() {
    let world = World::new().await;
    let agent = world.agent().await;
    let raw = images(&agent).await;
    let tree = world.tree("tree");
    let invalid = Code::InvalidArgument;
    for (what, request) in [
        ("nothing", SnapshotRequest { what: None, ..of(&tree) }),
        ("the root", of("/")),
        ("a tag", SnapshotRequest { tag: "im-a".into(), ..of(&tree) }),
        ("a key", SnapshotRequest { key: vec![b'k'; 513].into(), ..of(&tree) }),
        ("a ttl", SnapshotRequest { ttl_seconds: Some(0), ..of(&tree) }),
        ("a compression", SnapshotRequest { compression: 9, ..of(&tree) }),
        ("an id", SnapshotRequest { snapshot_id: "a b".into(), ..of(&tree) }),
    ] {
        refused(what, snapshot(&raw, request).await, invalid, &[]);
    }
    refused("an image", mount(&raw, "a b", &tree).await, invalid, &["a b"]);
    refused("a path", mount(&raw, "", "tree").await, invalid, &["tree"]);
    refused("an unknown tag", mount(&raw, "nobody", &tree).await, Code::NotFound, &["nobody"]);
    let key = MountRequest {
        task_id: task(),
        path: tree.clone().into(),
        key: vec![b'k'; 15].into(),
        ..MountRequest::default()
    };
    refused("a key", mount_with(&raw, key).await, invalid, &["15"]);
    let other = UnmountRequest { task_id: "ta-other".into(), path: tree.into() };
    refused("a task", raw.clone().unmount(other).await, Code::NotFound, &["ta-other"]);
}

#[tokio::test]
async fn it_stands_behind_the_same_authentication() {
    let world = World::new().await;
    let agent = world.agent().await;
    for (token, code) in [("wrong", Code::Unauthenticated), (TOKEN, Code::Ok)] {
        let mut raw = with_token(&agent, Token::new(token)).await;
        let answer = raw.list_images(ListImagesRequest { task_id: TASK.into() }).await;
        assert_eq!(answer.map_or_else(|status| status.code(), |_| Code::Ok), code);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_stop_a_snapshot() {
    let world = World::new().await;
    let agent = world.agent().await;
    let raw = images(&agent).await;
    let tree = world.tree("tree");
    fs::write(format!("{tree}/large"), vec![1; 64 << 20]).unwrap();
    let request = SnapshotRequest { snapshot_id: "left".into(), ..of(&tree) };
    drop(raw.clone().snapshot(request.clone()).await.unwrap());
    fs::write(format!("{tree}/later"), "later").unwrap();
    let image = snapshot(&raw, request).await.unwrap();
    assert_eq!(list(&raw).await.len(), 1);
    mount(&raw, &image.image_id, &world.path("work")).await.unwrap();
    unmount(&raw, &world.path("work")).await.unwrap();
}

#[tokio::test]
async fn reflection_knows_it() {
    let world = World::new().await;
    let agent = world.agent().await;
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let endpoint = format!("http://{}", agent.host_and_port());
    let channel = tonic::transport::Endpoint::from_shared(endpoint).unwrap().connect().await;
    let channel = channel.unwrap();
    let mut client = ServerReflectionClient::with_interceptor(channel, Token::new(TOKEN));
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"doorward.v1.Images".into()), "{names:?}");
}
