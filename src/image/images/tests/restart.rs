//! What an agent leaves behind, the next one has.

use std::{fs, os::unix::ffi::OsStrExt};

use super::{
    round::WAYS,
    world::{World, same},
};
use crate::{
    core::{failure::Kind, image::Reference},
    image::images::Prune,
};

#[test]
fn images_and_mounts_are_there_again() {
    for disabled in WAYS {
        let world = World::without(disabled);
        let images = world.open();
        let image = world.snapshot(&images, &world.tree()).unwrap().image.id;
        let place = world.place("a");
        world.mount(&images, &image, &place).unwrap();
        fs::write(place.join("new"), "new").unwrap();
        world.close(images);

        let images = world.open();
        let mounts = images.mounts();
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].path, place.as_os_str().as_bytes());
        assert_eq!(mounts[0].image.as_ref(), Some(&image));
        let refused = world.wait(images.remove(Reference::Image(image.clone()))).unwrap_err();
        assert_eq!(refused.kind, Kind::Refused, "{refused}");
        assert!(refused.text.contains("place/a"), "{refused}");
        // It is held, also against what another agent does.
        let (gone, _) = world.wait(images.prune(Some(0), Prune::Now)).unwrap();
        assert!(!gone.contains(&image));
        let two = world.snapshot(&images, &place).unwrap();
        assert_eq!(two.layers.len(), 2, "{disabled:?}");
        let other = world.place("b");
        world.mount(&images, &two.image.id, &other).unwrap();
        same(&other, &place);
        for path in [&place, &other] {
            world.unmount(&images, path).unwrap();
        }
        world.wait(images.remove(Reference::Image(image))).unwrap();
        world.close(images);
    }
}

#[test]
fn half_made_and_forgotten_copies_go() {
    let world = World::without("mount,overlay");
    let images = world.open();
    world.close(images);
    let trees = world.top.join("state/trees");
    fs::create_dir_all(trees.join("im-1.making/half")).unwrap();
    fs::create_dir_all(trees.join("im-2/whole")).unwrap();
    let images = world.open();
    assert!(!trees.join("im-1.making").exists() && trees.join("im-2").exists());
    world.wait(images.prune(None, Prune::Now)).unwrap();
    assert!(!trees.join("im-2").exists());
    world.close(images);

    // A machine that was started anew may have lost what was not flushed.
    fs::create_dir_all(trees.join("im-3/whole")).unwrap();
    fs::write(trees.join("boot"), "another").unwrap();
    let images = world.open();
    assert!(!trees.join("im-3").exists());
    world.close(images);
}

#[test]
fn two_agents_do_not_share_a_state_directory() {
    let world = World::without("mount,overlay");
    let images = world.open();
    let features = crate::os::features::Features::probe("mount,overlay").unwrap();
    let (work, now) = (crate::os::work::Work::new(), std::time::SystemTime::now());
    let places = world.places(&work);
    let second = crate::image::images::Images::open(world.settings(), places, &features, work, now);
    assert!(second.is_err());
    world.close(images);
}
