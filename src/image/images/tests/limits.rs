//! What we do not have room or rights for.

use std::{fs, path::Path};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::world::{World, nobody};
use crate::{
    core::{
        failure::Kind,
        image::{Reference, Ttl},
    },
    image::{
        images::{Form, Settings},
        mounts::tests::places::run,
        store::tests::skip,
    },
};

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let world = World::without("mount,overlay");
    if !world.may_mount {
        return skip("a full disk", "no right to mount");
    }
    let small = world.top.join("small");
    fs::create_dir(&small).unwrap();
    let path = small.display().to_string();
    run("mount", &["-t", "tmpfs", "-o", "size=2m", "small", &path]);
    let state_dir = small.join("state");
    let settings = Settings { store: state_dir.join("images"), state_dir, ..world.settings() };
    let (images, _) = world.open_with(settings);
    let one = world.snapshot(&images, &world.tree()).unwrap();

    let large: String = (0..100_000_u64)
        .map(|at| crate::core::image::Digest::of(&at.to_le_bytes()).hex())
        .collect();
    fs::write(world.tree().join("large"), large).unwrap();
    let refused = world.snapshot(&images, &world.tree()).unwrap_err();
    assert_eq!(refused.kind, Kind::Exhausted, "{refused}");
    fs::remove_file(world.tree().join("large")).unwrap();
    world.snapshot(&images, &world.tree()).unwrap();
    let checked = world.wait(images.verify(None, nobody())).unwrap();
    assert_eq!(checked.faults, []);
    assert!(world.wait(images.get(Reference::Image(one.image.id))).is_ok());
    world.close(images);
}

/// A device without a driver.
fn device(path: &Path) -> bool {
    let (kind, mode) = (FileType::CharacterDevice, Mode::RUSR);
    mknodat(CWD, path, kind, mode, makedev(240, 7)).is_ok()
}

#[test]
fn devices_come_out_of_our_own_images_alone() {
    for disabled in ["", "mount,overlay"] {
        let world = World::without(disabled);
        if !device(&world.tree().join("device")) {
            return skip("devices", "no right to make one");
        }
        let images = world.open();
        let own = world.snapshot(&images, &world.tree()).unwrap().image.id;
        let foreign = world.wait(async {
            let image = Reference::Image(own.clone());
            let (mut archive, _) = images.export(image, Form::Oci).await.unwrap();
            let (to, from) = tokio::sync::mpsc::channel(1);
            tokio::spawn(async move {
                while let Some(piece) = archive.recv().await {
                    to.send(Some(piece.unwrap())).await.unwrap();
                }
                to.send(None).await.unwrap();
            });
            images.import(from, Ttl::Never, None).await.unwrap().remove(0).image.id
        });
        let (place, other) = (world.place("a"), world.place("b"));
        world.mount(&images, &own, &place).unwrap();
        assert!(place.join("device").exists());
        world.mount(&images, &foreign, &other).unwrap();
        assert!(!other.join("device").exists());
        // What stands on somebody else's layers is somebody else's, whoever made the last one.
        device(&other.join("another"));
        let mixed = world.snapshot(&images, &other).unwrap();
        assert_eq!(mixed.layers.len(), 2);
        let third = world.place("c");
        world.mount(&images, &mixed.image.id, &third).unwrap();
        assert!(!third.join("device").exists() && !third.join("another").exists());
        for path in [&place, &other, &third] {
            world.unmount(&images, path).unwrap();
        }
        world.close(images);
    }
}
