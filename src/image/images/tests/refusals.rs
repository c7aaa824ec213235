//! What is refused, and as what.

use std::{fs, os::unix::ffi::OsStrExt, path::Path};

use super::world::{World, nobody, of};
use crate::{
    core::{failure::Kind, image::Reference},
    image::images::{Images, Subject},
};

fn refused_mount(world: &World, images: &Images, image: &str, path: &Path) -> Kind {
    let path = path.as_os_str().as_bytes().to_vec();
    let image = (!image.is_empty()).then(|| Reference::parse(image).unwrap());
    world.wait(images.mount(image, path, None, nobody())).unwrap_err().kind
}

#[test]
fn snapshots_of_what_is_no_directory() {
    let world = World::without("mount,overlay");
    let images = world.open();
    let file = world.tree().join("file");
    let state = world.top.join("state");
    for (path, kind) in [
        (Path::new("relative"), Kind::Invalid),
        (Path::new(""), Kind::Invalid),
        (&world.top.join("missing"), Kind::Unknown),
        (&file, Kind::Invalid),
        (&file.join("beneath"), Kind::Invalid),
        (&state, Kind::Invalid),
        (&state.join("images"), Kind::Invalid),
        (Path::new("/proc/self"), Kind::Invalid),
    ] {
        let refused = world.snapshot(&images, path).unwrap_err();
        assert_eq!(refused.kind, kind, "{path:?}: {refused}");
    }
    let with_nul = Subject::Directory(b"/a\0b".to_vec());
    let wanted = crate::image::images::Snapshot { subject: with_nul, ..of(&file) };
    assert_eq!(world.wait(images.snapshot(wanted, nobody())).unwrap_err().kind, Kind::Invalid);
    assert_eq!(world.wait(images.list()).unwrap().0, []);
    world.close(images);
}

#[test]
fn mounts_where_and_of_what_cannot_be_mounted() {
    let world = World::without("mount,overlay");
    let images = world.open();
    let one = world.snapshot(&images, &world.tree()).unwrap().image.id;
    let two = world.snapshot(&images, &world.tree()).unwrap().image.id;
    let place = world.place("a");
    let known = one.as_str();
    for (image, path, kind) in [
        (known, Path::new("/"), Kind::Invalid),
        (known, Path::new("relative"), Kind::Invalid),
        ("", Path::new("/"), Kind::Invalid),
        ("im-unknown", &place, Kind::Unknown),
        ("im-unknown", Path::new("/"), Kind::Invalid),
        ("unknown-tag", &place, Kind::Unknown),
        ("oci://localhost/a:b", &place, Kind::Refused),
        (known, &world.tree().join("file"), Kind::Refused),
        (known, &world.top.join("state/images"), Kind::Invalid),
    ] {
        assert_eq!(refused_mount(&world, &images, image, path), kind, "{image} {path:?}");
    }
    assert_eq!(world.wait(images.unmount(b"/nowhere".to_vec())).unwrap_err().kind, Kind::Refused);
    world.mount(&images, &one, &place).unwrap();
    let other = world.mount(&images, &two, &place).unwrap_err();
    assert_eq!(other.kind, Kind::Refused, "{other}");
    assert!(other.text.contains(known), "{other}");
    let inner = place.join("inner");
    world.mount(&images, &two, &inner).unwrap();
    assert_eq!(world.unmount(&images, &place).unwrap_err().kind, Kind::Refused);
    world.unmount(&images, &inner).unwrap();
    world.unmount(&images, &place).unwrap();
    assert_eq!(fs::read_dir(world.top.join("place")).unwrap().count(), 0);
    world.close(images);
}

#[test]
fn what_is_damaged_is_not_mounted_and_is_called_so() {
    for disabled in ["", "mount,overlay"] {
        let world = World::without(disabled);
        let images = world.open();
        let kept = world.snapshot(&images, &world.tree()).unwrap();
        let layer = &kept.layers[0];
        let blob = world.top.join("state/images/blobs/sha256").join(layer.digest.hex());
        let mut bytes = fs::read(&blob).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&blob, bytes).unwrap();
        let place = world.place("a");
        let refused = world.mount(&images, &kept.image.id, &place).unwrap_err();
        assert!(refused.damaged && refused.kind == Kind::Internal, "{refused:?}");
        assert!(!place.exists());
        assert_eq!(images.mounts(), []);
        let image = Some(Reference::Image(kept.image.id.clone()));
        let checked = world.wait(images.verify(image, nobody())).unwrap();
        assert_eq!(checked.faults.len(), 1);
        assert_eq!((checked.faults[0].digest, checked.blobs), (layer.digest, 3));
        world.close(images);
    }
}

#[test]
fn after_the_end_nothing_begins() {
    let world = World::without("mount,overlay");
    let images = world.open();
    world.wait(images.close(std::time::Duration::ZERO));
    let refused = world.snapshot(&images, &world.tree()).unwrap_err();
    assert_eq!(refused.kind, Kind::Refused);
}
