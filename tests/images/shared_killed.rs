//! Agents that are killed while an image goes to a registry or comes from there.

use std::fs;

use tonic::Code;

use crate::{
    gate::{Gate, Way},
    killed::{kill, large},
    servers::Guard,
    shared::Shared,
    support::{Setup, door::refused},
    world::{World, directory, images, list, listing, mount, mounting, snapshot_of},
};

/// After so much of an image the link stands still: most of it is missing.
const PART: u64 = 1 << 20;

/// An agent to be whose store is at this port.
fn setup(world: &World, port: u16) -> Setup {
    let place = format!("oci+http://127.0.0.1:{port}/team/images");
    world.setup().flags(["--image-store", &place])
}

#[tokio::test]
async fn a_push_that_was_cut_off_is_not_there_and_a_repeat_ends_it() {
    let Some(shared) = Shared::registry("a push that is cut off", Guard::Open) else { return };
    let gate = Gate::new(shared.port(), Way::Up, PART).await;
    let (one, two) = (World::new().await, World::new().await);
    let tree = large(&one);
    let mut agent = setup(&one, gate.port).start().await;
    let (door, request) = (agent.door().await, directory(&tree, "cut"));
    let call = tokio::spawn(async move { snapshot_of(&door, request).await });
    gate.reached().await;
    kill(&mut agent).await;
    assert!(call.await.unwrap().is_err());
    gate.open();

    agent = setup(&one, gate.port).start().await;
    let kept = list(&images(&agent).await).await;
    assert_eq!(kept.len(), 1);
    let other = setup(&two, shared.port()).start().await;
    let raw = images(&other).await;
    let early = mount(&raw, &kept[0].image_id, &two.path("work")).await;
    refused("half of it is there", early, Code::NotFound, &[]);
    let image = snapshot_of(&agent.door().await, directory(&tree, "cut")).await.unwrap();
    assert_eq!(image, kept[0].image_id);
    mount(&raw, &image, &two.path("work")).await.unwrap();
    assert_eq!(listing(&two.seen("work")), listing(tree.as_ref()));
}

#[tokio::test]
async fn a_pull_that_was_cut_off_leaves_nothing_and_a_repeat_ends_it() {
    let Some(shared) = Shared::registry("a pull that is cut off", Guard::Open) else { return };
    let (one, two) = (World::new().await, World::new().await);
    let tree = large(&one);
    let first = setup(&one, shared.port()).start().await;
    let image = snapshot_of(&first.door().await, directory(&tree, "whole")).await.unwrap();

    let gate = Gate::new(shared.port(), Way::Down, PART).await;
    let mut agent = setup(&two, gate.port).start().await;
    let (raw, id, work) = (images(&agent).await, image.clone(), two.path("work"));
    let call = tokio::spawn(async move { mount(&raw, &id, &work).await });
    gate.reached().await;
    kill(&mut agent).await;
    assert!(call.await.unwrap().is_err());
    gate.open();

    agent = setup(&two, gate.port).start().await;
    let raw = images(&agent).await;
    assert!(list(&raw).await.is_empty());
    mount(&raw, &image, &two.path("work")).await.unwrap();
    assert_eq!(listing(&two.seen("work")), listing(tree.as_ref()));
    let left = fs::read_dir(two.path("state/images/doorward/tmp")).unwrap().count();
    assert!(left <= 2, "{left} sessions are left of dead agents");
}

#[tokio::test]
async fn who_wants_what_is_being_pulled_waits_for_it() {
    let Some(shared) = Shared::registry("pulls at once", Guard::Open) else { return };
    let (one, two) = (World::new().await, World::new().await);
    let tree = large(&one);
    let first = setup(&one, shared.port()).start().await;
    let image = snapshot_of(&first.door().await, directory(&tree, "whole")).await.unwrap();
    let gate = Gate::new(shared.port(), Way::Down, PART).await;
    let agent = setup(&two, gate.port).start().await;
    let mounts = ["a", "b", "c"].map(|name| {
        let (id, path) = (image.clone(), two.path(name));
        let request = mounting(&id, &path);
        let door = agent.door();
        async { door.await.raw.clone().task_mount_directory(request).await }
    });
    let mounts = mounts.map(|mount| async { mount.await.unwrap() });
    let opened = async {
        gate.reached().await;
        gate.open();
    };
    let [a, b, c] = mounts;
    tokio::join!(a, b, c, opened);
    for name in ["a", "b", "c"] {
        assert_eq!(listing(&two.seen(name)), listing(tree.as_ref()));
    }
    assert_eq!(agent.log().matches("pulled ").count(), 1, "{}", agent.log());
}
