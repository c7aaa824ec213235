//! Images that only their key opens.

use std::fs;

use super::{
    round::WAYS,
    world::{World, key, nobody, of, same},
};
use crate::{
    core::{failure::Kind, image::Reference},
    image::{
        crypt::Key,
        images::{Form, Images, Kept, Snapshot},
    },
};

fn sealed(world: &World, images: &Images, path: &std::path::Path, key: Key) -> Kept {
    let wanted = Snapshot { key: Some(key), ..of(path) };
    world.wait(images.snapshot(wanted, nobody())).unwrap()
}

#[test]
fn only_the_right_key_opens_and_nothing_open_is_left() {
    for disabled in WAYS {
        let world = World::without(disabled);
        let images = world.open();
        let kept = sealed(&world, &images, &world.tree(), key("k"));
        assert!(kept.image.sealed && kept.layers[0].diff_id.is_none());
        let id = &kept.image.id;
        let place = world.place("a");
        for (wrong, says) in [(None, "no key"), (Some(key("l")), "another key")] {
            let refused = world.mount_with(&images, id, &place, wrong).unwrap_err();
            assert_eq!(refused.kind, Kind::Invalid, "{refused}");
            assert!(refused.text.contains(says), "{refused}");
            assert!(!place.exists());
        }
        world.mount_with(&images, id, &place, Some(key("k"))).unwrap();
        same(&place, &world.tree());
        world.settle();
        fs::write(place.join("new"), "new").unwrap();

        let two = sealed(&world, &images, &place, key("k"));
        assert_eq!((two.layers.len(), &two.layers[0]), (2, &kept.layers[0]));
        for (other, is_sealed) in [(Some(key("l")), true), (None, false)] {
            let wanted = Snapshot { key: other, ..of(&place) };
            let kept = world.wait(images.snapshot(wanted, nobody())).unwrap();
            assert_eq!((kept.layers.len(), kept.image.sealed), (1, is_sealed));
        }
        let other = world.place("b");
        world.mount_with(&images, &two.image.id, &other, Some(key("k"))).unwrap();
        same(&other, &place);
        for path in [&place, &other] {
            world.unmount(&images, path).unwrap();
        }
        world.settle();
        for copies in ["spares", "trees"] {
            let copies = fs::read_dir(world.top.join("state").join(copies)).unwrap();
            let left: Vec<_> = copies.map(|entry| entry.unwrap().path()).collect();
            assert!(left.iter().all(|path| path.ends_with("boot")), "{left:?}");
        }
        world.close(images);
    }
}

#[test]
fn a_key_where_none_is_needed_is_refused() {
    let world = World::without("mount,overlay");
    let images = world.open();
    let id = world.snapshot(&images, &world.tree()).unwrap().image.id;
    let place = world.place("a");
    let refused = world.mount_with(&images, &id, &place, Some(key("k"))).unwrap_err();
    assert_eq!(refused.kind, Kind::Invalid);
    world.close(images);
}

#[test]
fn nothing_of_a_sealed_image_is_shown() {
    let world = World::without("mount,overlay");
    let images = world.open();
    let id = sealed(&world, &images, &world.tree(), key("k")).image.id;
    let image = Reference::Image(id);
    let described = world.wait(images.get(image.clone())).unwrap();
    assert_eq!(described.config, None);
    assert!(!described.manifest.contains("doorward snapshot"));
    let refused = world.wait(images.export(image.clone(), Form::Docker)).unwrap_err();
    assert_eq!(refused.kind, Kind::Invalid);
    let one = |key: Option<Key>| (image.clone(), key);
    let same = world.wait(images.diff(one(Some(key("k"))), one(Some(key("k")))));
    assert_eq!(same, Ok(Vec::new()));
    let refused = world.wait(images.diff(one(Some(key("k"))), one(None))).unwrap_err();
    assert_eq!(refused.kind, Kind::Invalid);
    world.close(images);
}
