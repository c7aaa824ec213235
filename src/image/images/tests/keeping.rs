//! Images are named, removed and pruned.

use std::fs;

use super::world::{World, nobody, of};
use crate::{
    core::{
        failure::Kind,
        image::{Reference, Tag, Ttl},
    },
    image::images::{Packing, Prune, Settings, Snapshot},
};

#[test]
fn tags_name_images_and_keep_them() {
    let world = World::without("mount,overlay");
    let images = world.open();
    let renewed = Ttl::parse(None, std::time::SystemTime::now()).unwrap();
    let tag = |name| Tag::parse(name).unwrap();
    let wanted = Snapshot { ttl: renewed, tag: Some(tag("one")), ..of(&world.tree()) };
    let one = world.wait(images.snapshot(wanted, nobody())).unwrap();
    assert_eq!((one.image.tags.clone(), one.expires), (vec![tag("one")], None));
    let id = Reference::Image(one.image.id.clone());
    world.wait(images.tag(id.clone(), tag("two"))).unwrap();
    let described = world.wait(images.get(Reference::Tag(tag("two")))).unwrap();
    assert_eq!(described.kept.image.id, one.image.id);
    assert!(described.config.unwrap().contains("doorward snapshot"));

    let (gone, _) = world.wait(images.prune(Some(0), Prune::Now)).unwrap();
    assert_eq!(gone, []);
    for name in ["one", "two"] {
        assert_eq!(world.wait(images.remove(Reference::Tag(tag(name)))), Ok(0));
    }
    let missing = world.wait(images.remove(Reference::Tag(tag("two")))).unwrap_err();
    assert_eq!(missing.kind, Kind::Unknown);
    let kept = world.wait(images.get(id.clone())).unwrap().kept;
    assert!(kept.expires.is_some());
    assert!(world.wait(images.remove(id.clone())).unwrap() > 0);
    assert_eq!(world.wait(images.get(id)).unwrap_err().kind, Kind::Unknown);
    world.close(images);
}

#[test]
fn what_was_mounted_a_moment_ago_can_be_removed() {
    for disabled in ["", "overlay", "mount,overlay"] {
        let world = World::without(disabled);
        let images = world.open();
        let id = world.snapshot(&images, &world.tree()).unwrap().image.id;
        let place = world.place("a");
        world.mount(&images, &id, &place).unwrap();
        world.unmount(&images, &place).unwrap();
        world.wait(images.remove(Reference::Image(id))).unwrap();
        world.settle();
        assert_eq!(world.wait(images.list()), Ok((Vec::new(), 0)));
        let left = ["trees", "spares"].map(|name| world.top.join("state").join(name));
        let left = left.iter().flat_map(|path| fs::read_dir(path).unwrap());
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["boot"], "{disabled:?}");
        world.close(images);
    }
}

#[test]
fn pruning_does_what_it_said() {
    let world = World::without("mount,overlay");
    let images = world.open();
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        fs::write(world.tree().join("file"), name.repeat(100)).unwrap();
        ids.push(world.snapshot(&images, &world.tree()).unwrap().image.id);
    }
    let place = world.place("a");
    world.mount(&images, &ids[0], &place).unwrap();
    let said = world.wait(images.prune(Some(1), Prune::Dry)).unwrap();
    assert_eq!(world.wait(images.list()).unwrap().0.len(), 3);
    let done = world.wait(images.prune(Some(1), Prune::Now)).unwrap();
    assert_eq!(said, done);
    assert_eq!(done.0, ids[1..]);
    let (kept, _) = world.wait(images.list()).unwrap();
    assert_eq!(kept.len(), 1);
    world.unmount(&images, &place).unwrap();
    world.close(images);
}

#[test]
fn a_store_that_is_too_large_makes_room_by_itself() {
    let world = World::without("mount,overlay");
    let settings = Settings { bytes_max: 1, compression: Packing::Gzip, ..world.settings() };
    let (images, _) = world.open_with(settings);
    let one = world.snapshot(&images, &world.tree()).unwrap();
    assert!(one.layers[0].media_type.ends_with("gzip"));
    let two = world.snapshot(&images, &world.tree()).unwrap();
    let (kept, _) = world.wait(images.list()).unwrap();
    let ids: Vec<_> = kept.iter().map(|kept| &kept.image.id).collect();
    // The last one is there for whoever asked for it.
    assert_eq!(ids, [&two.image.id]);
    world.close(images);
}

#[test]
fn the_house_is_kept() {
    let world = World::without("mount,overlay");
    let images = world.open();
    let now = std::time::SystemTime::now();
    let short = Snapshot { ttl: Ttl::Until(now), ..of(&world.tree()) };
    let gone = world.wait(images.snapshot(short, nobody())).unwrap().image.id;
    let stays = world.snapshot(&images, &world.tree()).unwrap().image.id;
    let own = world.top.join("state/own");
    assert!(own.join(gone.as_str()).exists());
    world.wait(async {
        let house = images.keep_house();
        let listed = async {
            while own.join(gone.as_str()).exists() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = house => {}
            () = listed => {}
        }
    });
    let ids: Vec<_> =
        world.wait(images.list()).unwrap().0.into_iter().map(|kept| kept.image.id).collect();
    assert_eq!(ids, [stays]);
    world.close(images);
}
