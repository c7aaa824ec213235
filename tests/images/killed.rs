//! Agents that end, orderly or not, and those that come after them.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use doorward::wire::doorward::v1::{VerifyImagesRequest, verify_images_response::Event};
use rustix::process::Signal;

use crate::{
    support::{Agent, Noise, Setup},
    world::{
        World, all, directory, images, list, listing, mount, mounting, mounts, of, snapshot,
        snapshot_of, task, unmount,
    },
};

/// Kills an agent and waits until it is gone.
pub(crate) async fn kill(agent: &mut Agent) {
    agent.signal(Signal::KILL);
    agent.ended().await;
}

/// A tree that takes a moment to pack and to unpack.
pub(crate) fn large(world: &World) -> String {
    let tree = world.tree("large");
    let mut noise = Noise::new(5);
    for n in 0..300 {
        let folder = format!("{tree}/folder-{}", n % 10);
        fs::create_dir_all(&folder).unwrap();
        fs::write(format!("{folder}/{n}"), noise.bytes(40_000)).unwrap();
    }
    tree
}

/// Mounts outlive their agent, with what was changed in them.
async fn outlived(world: World, setup: impl Fn() -> Setup) {
    let mut agent = setup().start().await;
    let raw = images(&agent).await;
    let tree = world.tree("tree");
    let image = snapshot(&raw, of(&tree)).await.unwrap();
    let work = world.path("work");
    fs::create_dir(&work).unwrap();
    fs::write(format!("{work}/hidden"), "hidden").unwrap();
    mount(&raw, &image.image_id, &work).await.unwrap();
    agent.door().await.print(&format!("echo changed > {work}/file")).await;
    for how in ["TERM", "KILL"] {
        match how {
            "TERM" => assert!(agent.stop().await.success()),
            _ => kill(&mut agent).await,
        }
        agent = setup().start().await;
        let raw = images(&agent).await;
        assert_eq!(mounts(&raw).await, [(work.clone(), image.image_id.clone())], "{how}");
        let printed = agent.door().await.print(&format!("cat {work}/file; ls {work}")).await;
        assert_eq!(printed, "changed\ndeep\nfile\nlink\nscript\n", "{how}");
        mount(&raw, &image.image_id, &work).await.unwrap();
    }
    let raw = images(&agent).await;
    unmount(&raw, &work).await.unwrap();
    assert_eq!(agent.door().await.print(&format!("ls {work}")).await, "hidden\n");
}

#[tokio::test]
async fn mounts_outlive_their_agent() {
    let world = World::new().await;
    let namespace = world.namespace();
    let state = world.path("state");
    outlived(world, move || World::setup_in(&namespace, &state)).await;
}

#[tokio::test]
async fn what_was_moved_into_place_outlives_its_agent() {
    let world = World::new().await;
    let namespace = world.namespace();
    let state = world.path("state");
    let setup =
        move || World::setup_in(&namespace, &state).env("DOORWARD_DISABLE", "mount,overlay");
    outlived(world, setup).await;
}

/// Whether every blob that an image needs is there and right.
async fn is_whole(agent: &Agent) -> bool {
    let request = VerifyImagesRequest { task_id: task(), image: String::new() };
    let messages = all(images(agent).await.verify_images(request).await).await.unwrap();
    let last = messages.into_iter().next_back().and_then(|message| message.event);
    matches!(last, Some(Event::Done(done)) if done.damaged == 0)
}

#[tokio::test]
async fn a_snapshot_that_was_cut_off_is_not_there_or_whole() {
    let world = World::new().await;
    let tree = large(&world);
    let mut agent = world.agent().await;
    let begun = Instant::now();
    let image = snapshot_of(&agent.door().await, directory(&tree, "whole")).await.unwrap();
    let takes = begun.elapsed();
    let mut noise = Noise::new(u64::from(std::process::id()));
    let (mut cut, mut rounds) = (0, 0);
    while rounds < 12 {
        rounds += 1;
        let door = agent.door().await;
        let id = format!("cut-{rounds}");
        let request = directory(&tree, &id);
        let call = tokio::spawn(async move { snapshot_of(&door, request).await });
        let part = u32::try_from(noise.number() % 1000).unwrap();
        tokio::time::sleep(takes * part / 1000).await;
        kill(&mut agent).await;
        let told = call.await.unwrap();
        cut += usize::from(told.is_err());
        agent = world.agent().await;
        let raw = images(&agent).await;
        let kept: Vec<_> = list(&raw).await.into_iter().map(|image| image.image_id).collect();
        assert!(kept.contains(&image));
        if let Ok(told) = told {
            assert!(kept.contains(&told), "an image that was told is gone");
        }
        assert!(is_whole(&agent).await);
        // A repeat is one image, whether the first try made it or not.
        let again = snapshot_of(&agent.door().await, directory(&tree, &id)).await.unwrap();
        assert!(kept.len() == list(&raw).await.len() || !kept.contains(&again));
    }
    assert!(cut >= 3, "only {cut} of {rounds} were cut off");
    agent.stop().await;
    let agent = world.agent().await;
    assert_eq!(list(&images(&agent).await).await.len(), rounds + 1);
    let left = fs::read_dir(world.path("state/images/doorward/tmp")).unwrap().count();
    assert!(left <= 2, "{left} sessions are left of dead agents");
}

/// Kills agents that mount and unmount; the path is as it was or as the image has it.
async fn cut_mounts(disable: &str) {
    let world = World::new().await;
    let setup = || world.setup().env("DOORWARD_DISABLE", disable);
    let tree = large(&world);
    let mut agent = setup().start().await;
    let image = snapshot_of(&agent.door().await, directory(&tree, "image")).await.unwrap();
    let work = world.path("place/work");
    fs::create_dir_all(&work).unwrap();
    fs::write(format!("{work}/hidden"), "hidden").unwrap();
    let (as_image, as_before) = (listing(tree.as_ref()), listing(work.as_ref()));
    let mut noise = Noise::new(u64::from(std::process::id()) + 1);
    let mut takes = Duration::from_millis(400);
    for round in 0..14 {
        let raw = images(&agent).await;
        let is_mounted = !mounts(&raw).await.is_empty();
        let (door, path, id) = (agent.door().await, work.clone(), image.clone());
        let begun = Instant::now();
        let call = tokio::spawn(async move {
            match is_mounted {
                true => unmount(&raw, &path).await,
                false => {
                    let request = mounting(&id, &path);
                    door.raw.clone().task_mount_directory(request).await.map(drop)
                }
            }
        });
        let part = u32::try_from(noise.number() % 1000).unwrap();
        tokio::time::sleep(takes * part / 1000).await;
        kill(&mut agent).await;
        if let Ok(()) = call.await.unwrap() {
            takes = takes.min(begun.elapsed());
        }
        agent = setup().start().await;
        let found = listing(&world.seen("place/work"));
        let mounted = !mounts(&images(&agent).await).await.is_empty();
        let expected = if mounted { &as_image } else { &as_before };
        assert!(found == *expected, "round {round}: mounted {mounted}, {} entries", found.len());
        let beside: Vec<_> = fs::read_dir(world.seen("place"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let extra = beside.iter().filter(|name| *name != "work");
        // Where nothing can be mounted, what was there lies aside as long as it is hidden.
        let allowed = |name: &str| mounted && name.starts_with(".doorward-aside-");
        assert!(extra.clone().all(|name| allowed(name)), "round {round}: {beside:?}");
    }
    let raw = images(&agent).await;
    if !mounts(&raw).await.is_empty() {
        unmount(&raw, &work).await.unwrap();
    }
    assert_eq!(listing(Path::new(&world.seen("place/work"))), as_before);
}

#[tokio::test]
async fn a_mount_that_was_cut_off_is_not_there_or_whole() {
    cut_mounts("").await;
}

#[tokio::test]
async fn a_move_that_was_cut_off_is_not_there_or_whole() {
    cut_mounts("mount,overlay").await;
}
