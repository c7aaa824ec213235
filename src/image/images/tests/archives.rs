//! Images as single files, and what differs between two of them.

use std::{fs, os::unix::fs::symlink};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::world::{World, same};
use crate::{
    core::{
        failure::Kind,
        image::{ImageId, Reference, Tag, Ttl},
    },
    image::images::{Change, Form, Images, ImagesError, Kept},
};

/// What follows an archive's pieces.
#[derive(Clone, Copy)]
enum End {
    Whole,
    Cut,
}

async fn exported(images: &Images, id: &ImageId, form: Form) -> Vec<Bytes> {
    let (mut archive, _) = images.export(Reference::Image(id.clone()), form).await.unwrap();
    let mut pieces = Vec::new();
    while let Some(piece) = archive.recv().await {
        pieces.push(piece.unwrap());
    }
    pieces
}

async fn imported(
    images: &Images,
    pieces: Vec<Bytes>,
    end: End,
    tag: Option<Tag>,
) -> Result<Vec<Kept>, ImagesError> {
    let (to, from) = mpsc::channel(1);
    let sending = tokio::spawn(async move {
        let last = matches!(end, End::Whole).then_some(None);
        for piece in pieces.into_iter().map(Some).chain(last) {
            if to.send(piece).await.is_err() {
                return;
            }
        }
    });
    let kept = images.import(from, Ttl::Never, tag).await;
    sending.await.unwrap();
    kept
}

#[test]
fn what_goes_out_comes_in() {
    let world = World::without("mount,overlay");
    let images = world.open();
    let one = world.snapshot(&images, &world.tree()).unwrap();
    for form in [Form::Oci, Form::Docker] {
        let pieces = world.wait(exported(&images, &one.image.id, form));
        for end in [End::Cut, End::Whole] {
            let mut pieces = pieces.clone();
            if let End::Cut = end {
                // All that belongs to it is there, but nobody says so.
                let refused = world.wait(imported(&images, pieces.clone(), end, None));
                assert_eq!(refused.unwrap_err().kind, Kind::Invalid);
                let last = pieces.pop().unwrap();
                pieces.push(last.slice(..last.len() / 2));
            }
            let tag = Tag::parse("in").unwrap();
            let kept = world.wait(imported(&images, pieces, end, Some(tag.clone())));
            match end {
                End::Cut => assert_eq!(kept.unwrap_err().kind, Kind::Invalid),
                End::Whole => {
                    let [kept] = &kept.unwrap()[..] else { panic!("not one") };
                    assert_eq!(kept.image.tags, [tag]);
                    assert_eq!(kept.layers[0].diff_id, one.layers[0].diff_id);
                    let place = world.place("a");
                    world.mount(&images, &kept.image.id, &place).unwrap();
                    same(&place, &world.tree());
                    world.unmount(&images, &place).unwrap();
                }
            }
        }
    }
    assert_eq!(world.wait(images.list()).unwrap().0.len(), 3);
    world.close(images);
}

#[test]
fn whoever_stops_reading_stops_the_export() {
    let world = World::without("mount,overlay");
    let images = world.open();
    let id = world.snapshot(&images, &world.tree()).unwrap().image.id;
    let archives: Vec<_> = world.wait(async {
        let mut archives = Vec::new();
        for _ in 0..crate::core::limits::IMAGE_STREAMS_AT_ONCE {
            let image = Reference::Image(id.clone());
            archives.push(images.export(image, Form::Oci).await);
        }
        archives
    });
    drop(archives);
    world.settle();
    assert!(!world.wait(exported(&images, &id, Form::Oci)).is_empty());
    world.close(images);
}

#[test]
fn differences_are_named() {
    for disabled in ["", "mount,overlay"] {
        let world = World::without(disabled);
        let images = world.open();
        let tree = world.tree();
        fs::create_dir(tree.join("gone")).unwrap();
        fs::write(tree.join("gone/inner"), "").unwrap();
        fs::write(tree.join("kind"), "").unwrap();
        symlink("one", tree.join("target")).unwrap();
        let one = world.snapshot(&images, &tree).unwrap().image.id;
        let place = world.place("a");
        world.mount(&images, &one, &place).unwrap();
        fs::write(place.join("added"), "added").unwrap();
        fs::remove_dir_all(place.join("gone")).unwrap();
        fs::remove_file(place.join("kind")).unwrap();
        fs::create_dir(place.join("kind")).unwrap();
        fs::remove_file(place.join("target")).unwrap();
        symlink("two", place.join("target")).unwrap();
        fs::write(place.join("file"), "eno").unwrap();
        let two = world.snapshot(&images, &place).unwrap();
        assert_eq!(two.layers.len(), 2);
        let of = |id: &ImageId| (Reference::Image(id.clone()), None);
        let found = world.wait(images.diff(of(&one), of(&two.image.id))).unwrap();
        let told: Vec<(String, Change, bool)> = found
            .iter()
            .map(|one| {
                let path = String::from_utf8(one.path.clone()).unwrap();
                let content =
                    one.aspects.iter().any(|aspect| ["content", "target", "kind"].contains(aspect));
                (path, one.change, content)
            })
            .collect();
        let expected = [
            ("added", Change::Added, false),
            ("file", Change::Changed, true),
            ("gone", Change::Removed, false),
            ("gone/inner", Change::Removed, false),
            ("kind", Change::Changed, true),
            ("target", Change::Changed, true),
        ];
        assert_eq!(told, expected.map(|(path, change, content)| (path.into(), change, content)));
        assert_eq!(world.wait(images.diff(of(&one), of(&one))), Ok(Vec::new()));

        // A whole snapshot of the same is the same.
        let copy = world.top.join("copy");
        crate::image::mounts::clone_tree(&place, &copy, &|| false).unwrap();
        let three = world.snapshot(&images, &copy).unwrap();
        assert_eq!(three.layers.len(), 1);
        let found = world.wait(images.diff(of(&two.image.id), of(&three.image.id)));
        assert_eq!(found, Ok(Vec::new()));
        world.unmount(&images, &place).unwrap();
        world.close(images);
    }
}
