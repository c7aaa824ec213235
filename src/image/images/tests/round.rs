//! Snapshot, mount, change, snapshot, mount.

use std::{
    fs,
    os::unix::{ffi::OsStrExt, net::UnixListener},
};

use super::world::{World, listener, nobody, of, same};
use crate::{
    core::mounts::Way,
    image::images::{Event, Snapshot},
};

/// The ways to mount, by what is disabled.
pub(super) const WAYS: [&str; 3] = ["", "overlay", "mount,overlay"];

#[test]
fn a_changed_mount_is_its_layers_and_one_more() {
    for disabled in WAYS {
        let world = World::without(disabled);
        let images = world.open();
        let one = world.snapshot(&images, &world.tree()).unwrap();
        assert_eq!(one.layers.len(), 1);
        let place = world.place("a");
        let mounted = world.mount(&images, &one.image.id, &place).unwrap();
        same(&place, &world.tree());
        assert_eq!(mounted.image.as_ref(), Some(&one.image.id));
        assert!(mounted.since.is_some());

        let again = world.snapshot(&images, &place).unwrap();
        assert_eq!(again.layers, one.layers, "nothing was changed: {disabled:?}");
        assert_ne!(again.image.id, one.image.id);

        fs::write(place.join("new"), "new").unwrap();
        fs::remove_file(place.join("file")).unwrap();
        let two = world.snapshot(&images, &place).unwrap();
        assert_eq!(two.layers.len(), 2, "{disabled:?}");
        assert_eq!(two.layers[0], one.layers[0]);
        assert!(two.layers[1].size_bytes < 1000, "{:?}", two.layers);
        let other = world.place("b");
        world.mount(&images, &two.image.id, &other).unwrap();
        same(&other, &place);

        let (kept, bytes) = world.wait(images.list()).unwrap();
        let ids: Vec<_> = kept.iter().map(|kept| &kept.image.id).collect();
        assert_eq!(ids, [&two.image.id, &again.image.id, &one.image.id]);
        assert_eq!(kept[2].mounted_at, [place.as_os_str().as_bytes()]);
        let layers: u64 = two.layers.iter().map(|layer| layer.size_bytes).sum();
        assert!(bytes > layers, "{bytes}");
        assert_eq!(images.mounts().len(), 2);
        for path in [&place, &other] {
            world.unmount(&images, path).unwrap();
            assert!(!path.exists(), "{disabled:?}");
        }
        world.close(images);
    }
}

#[test]
fn what_a_mount_hides_comes_back_and_mounts_share_nothing() {
    for disabled in WAYS {
        let world = World::without(disabled);
        let images = world.open();
        let image = world.snapshot(&images, &world.tree()).unwrap().image.id;
        let places = ["a", "b", "c"].map(|name| world.place(name));
        for place in &places {
            fs::create_dir(place).unwrap();
            fs::write(place.join("hidden"), "hidden").unwrap();
        }
        let mut ways = Vec::new();
        for place in &places {
            let mounted = world.mount(&images, &image, place).unwrap();
            ways.push(mounted.way.unwrap());
            same(place, &world.tree());
            fs::write(place.join("a/again"), "changed").unwrap();
            // A repeat succeeds and changes nothing.
            world.mount(&images, &image, place).unwrap();
            assert_eq!(fs::read(place.join("a/again")).unwrap(), b"changed");
            world.settle();
        }
        match if world.may_mount { disabled } else { "mount,overlay" } {
            "" => assert!(ways.iter().all(|way| *way != Way::Swap), "{ways:?}"),
            "overlay" => assert!(ways.iter().all(|way| *way != Way::Overlay), "{ways:?}"),
            _ => assert_eq!(ways, [Way::Swap; 3]),
        }
        for place in &places {
            world.unmount(&images, place).unwrap();
            assert_eq!(fs::read(place.join("hidden")).unwrap(), b"hidden");
            assert_eq!(fs::read_dir(place).unwrap().count(), 1);
        }
        world.close(images);
    }
}

#[test]
fn nothing_is_an_empty_directory() {
    for disabled in WAYS {
        let world = World::without(disabled);
        let images = world.open();
        let place = world.tree();
        let path = place.as_os_str().as_bytes().to_vec();
        let mounted = world.wait(images.mount(None, path, None, nobody())).unwrap();
        assert_eq!(mounted.image, None);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
        fs::write(place.join("new"), "new").unwrap();
        let kept = world.snapshot(&images, &place).unwrap();
        assert_eq!(kept.layers.len(), 1);
        world.unmount(&images, &place).unwrap();
        assert!(!place.join("new").exists());
        let other = world.place("a");
        world.mount(&images, &kept.image.id, &other).unwrap();
        assert_eq!(fs::read_dir(&other).unwrap().count(), 1);
        world.unmount(&images, &other).unwrap();
        world.close(images);
    }
}

#[test]
fn a_spare_copy_is_taken_and_made_again() {
    let world = World::without("overlay");
    let images = world.open();
    let image = world.snapshot(&images, &world.tree()).unwrap().image.id;
    let spare = world.top.join("state/spares").join(image.as_str()).join("ready");
    let places = ["a", "b"].map(|name| world.place(name));
    for place in &places {
        world.mount(&images, &image, place).unwrap();
        world.settle();
        assert!(spare.is_dir());
        same(place, &world.tree());
        // It is known what it was like.
        assert_eq!(world.snapshot(&images, place).unwrap().layers.len(), 1);
    }
    for place in &places {
        world.unmount(&images, place).unwrap();
    }
    world.wait(images.remove(crate::core::image::Reference::Image(image))).unwrap();
    assert!(!spare.exists());
    world.close(images);
}

#[test]
fn one_id_is_one_image_however_often_it_is_asked_for() {
    let world = World::without("mount,overlay");
    let images = world.open();
    let wanted = |id: &str| Snapshot { snapshot_id: Some(id.into()), ..of(&world.tree()) };
    let all = world.wait(async {
        let one = || images.snapshot(wanted("one"), nobody());
        let (a, b, c, d) =
            tokio::join!(one(), one(), one(), images.snapshot(wanted("two"), nobody()));
        [a, b, c, d].map(|kept| kept.unwrap().image.id)
    });
    assert_eq!((&all[0], &all[1]), (&all[1], &all[2]));
    assert_ne!(all[0], all[3]);
    // Whatever the directory has become.
    fs::remove_dir_all(world.tree()).unwrap();
    let again = world.wait(images.snapshot(wanted("one"), nobody())).unwrap();
    assert_eq!(again.image.id, all[0]);
    assert_eq!(world.wait(images.list()).unwrap().0.len(), 2);
    world.close(images);
}

#[test]
fn a_snapshot_goes_on_when_whoever_asked_for_it_leaves() {
    let world = World::without("mount,overlay");
    let images = world.open();
    for snapshot_id in [None, Some("one".to_owned())] {
        let wanted = Snapshot { snapshot_id, ..of(&world.tree()) };
        let left = world.wait(async {
            let snapshot = images.snapshot(wanted, nobody());
            tokio::time::timeout(std::time::Duration::ZERO, snapshot).await
        });
        assert!(left.is_err());
    }
    world.settle();
    assert_eq!(world.wait(images.list()).unwrap().0.len(), 2);
    world.close(images);
}

#[test]
fn what_a_snapshot_leaves_out_is_told() {
    let world = World::without("mount,overlay");
    let images = world.open();
    let _socket = UnixListener::bind(world.tree().join("socket")).unwrap();
    fs::write(world.tree().join(".wh.name"), "").unwrap();
    let (told, heard) = listener();
    world.wait(images.snapshot(of(&world.tree()), told)).unwrap();
    let heard = heard.lock();
    for wanted in ["1 sockets", "1 names that begin with .wh."] {
        let found =
            heard.iter().any(|event| matches!(event, Event::Notice(text) if text.contains(wanted)));
        assert!(found, "{wanted}: {heard:?}");
    }
    let progress = heard.iter().any(|event| matches!(event, Event::Progress(_)));
    assert!(progress, "{heard:?}");
    drop(heard);
    world.close(images);
}

#[test]
fn mounts_beneath_are_packed_and_the_agents_own_files_are_not() {
    for disabled in WAYS {
        let world = World::without(disabled);
        let images = world.open();
        let image = world.snapshot(&images, &world.tree()).unwrap().image.id;
        let inner = world.place("inner");
        world.mount(&images, &image, &inner).unwrap();
        let all = world.snapshot(&images, &world.top).unwrap().image.id;
        let outer = std::env::temp_dir().join(format!("doorward-outer-{}", std::process::id()));
        world.mount(&images, &all, &outer).unwrap();
        assert!(!outer.join("state").exists());
        let names: Vec<_> = fs::read_dir(outer.join("place"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["inner"], "nothing that is hidden: {disabled:?}");
        same(&outer.join("place/inner"), &world.tree());
        world.unmount(&images, &outer).unwrap();
        world.unmount(&images, &inner).unwrap();
        world.close(images);
    }
}
