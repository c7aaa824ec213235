//! What somebody who packs a directory is told about it.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    behaviour::ways,
    world::{World, picture, same, unmount},
};
use crate::{
    core::mounts::Way,
    image::mounts::{InUse, MountError},
};

#[test]
fn a_view_says_what_is_mounted_and_what_lies_beneath() {
    for (way, disabled) in ways() {
        let world = World::without(disabled);
        let path = world.original();
        let inner = path.join("a/deep");
        let mounts = world.open();
        world.mount(&mounts, &path, "im-1").unwrap();
        world.mount(&mounts, &inner, "").unwrap();

        let outer = mounts.view(&path).unwrap();
        assert_eq!((outer.path(), outer.beneath()), (&*path, &[inner.clone()][..]));
        let Some(InUse { image, way: how, record }) = outer.mounted() else { panic!("no mount") };
        assert_eq!((&image[..], *how), ("im-1", way));
        assert_eq!(fs::read_to_string(record).unwrap(), "im-1", "{}", way.name());
        same_hidden(outer.hidden(), &path.join("a"), way);
        drop(outer);

        let empty = mounts.view(&inner).unwrap();
        let mounted = empty.mounted().unwrap();
        assert_eq!((&mounted.image[..], mounted.record.exists()), ("", false));
        assert_eq!((empty.beneath(), empty.hidden()), (&[][..], &[][..]));
        drop(empty);

        let above = mounts.view(&world.top).unwrap();
        assert_eq!((above.mounted(), above.beneath()), (None, &[path.clone(), inner][..]));
        same_hidden(above.hidden(), &world.top.join("place"), way);
        same_hidden(above.hidden(), &path.join("a"), way);
        let everything = mounts.view(Path::new("/")).unwrap();
        assert_eq!(everything.beneath(), above.beneath());
        drop((above, everything));

        let beside = mounts.view(&world.top.join("images")).unwrap();
        assert!(beside.mounted().is_none() && beside.beneath().is_empty());
        drop(beside);
        let none = mounts.view(&world.top.join("nothing")).err().unwrap();
        assert!(none.to_string().contains("No such file"), "{none}");
        let file = mounts.view(&path.join("file")).err().unwrap();
        assert!(matches!(file, MountError::NotDirectory(_)), "{file}");
    }
}

/// What was there lies in this directory, if it was moved.
fn same_hidden(hidden: &[std::path::PathBuf], within: &Path, way: Way) {
    let there: Vec<_> = hidden.iter().filter(|path| path.parent() == Some(within)).collect();
    let seen = there.iter().filter(|path| path.is_dir()).count();
    assert_eq!(seen, usize::from(matches!(way, Way::Swap | Way::Entries)), "{hidden:?}");
}

#[test]
fn what_is_looked_at_stays_as_it_is() {
    for (way, disabled) in ways() {
        let world = World::without(disabled);
        let path = world.original();
        let image = picture(&world.image("im-1"));
        let mounts = world.open();
        world.mount(&mounts, &path, "im-1").unwrap();
        let held = AtomicBool::new(true);
        let beneath = mounts.view(&path.join("a")).unwrap();
        // As many as like may look.
        let view = mounts.view(&path).unwrap();
        drop(beneath);
        // All of them run in this thread's mount namespace.
        std::thread::scope(|scope| {
            let waiting = [
                scope.spawn(|| unmount(&mounts, &path).map(|()| held.load(Ordering::SeqCst))),
                scope.spawn(|| {
                    let above = world.mount(&mounts, &path.join("a/deep"), "");
                    // By then there is no such directory, or it is one of the original.
                    let _ = above.map(|_| unmount(&mounts, &path.join("a/deep")));
                    Ok(held.load(Ordering::SeqCst))
                }),
            ];
            // What has nothing to do with it does not wait, and neither does the list.
            let beside = world.top.join("place/beside");
            world.mount(&mounts, &beside, "im-2").unwrap();
            assert_eq!(mounts.list().len(), 2);
            unmount(&mounts, &beside).unwrap();
            for _ in 0..20 {
                same(&path, &image, way.name());
            }
            held.store(false, Ordering::SeqCst);
            drop(view);
            for waited in waiting {
                match waited.join().unwrap() {
                    Ok(held) => assert!(!held, "{}", way.name()),
                    // The other one was quicker.
                    Err(refused) => assert!(matches!(refused, MountError::Beneath(_)), "{refused}"),
                }
            }
        });
        let _ = unmount(&mounts, &path);
        world.is_clean();
    }
}
