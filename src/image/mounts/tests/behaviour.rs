//! What a caller sees of mounts, the same by every way.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use super::{
    places::may_mount,
    world::{World, paths, picture, same, unmount},
};
use crate::{
    core::{limits::MOUNTS_MAX, mounts::Way},
    image::mounts::{Kind, MountError},
    os::mount,
};

/// Every way, with what must be disabled for it. Those that need a right that is missing are skipped aloud.
pub(super) fn ways() -> Vec<(Way, &'static str)> {
    let may = may_mount("mounts by overlay and bind");
    let all = [(Way::Overlay, ""), (Way::Bind, "overlay"), (Way::Swap, "mount,overlay")];
    all.into_iter().filter(|(way, _)| may || *way == Way::Swap).collect()
}

#[test]
fn an_image_hides_what_was_there_and_unmounting_shows_it_again() {
    for (way, disabled) in ways() {
        let world = World::without(disabled);
        let path = world.original();
        let original = picture(&path);
        let mounts = world.open();
        let mounted = world.mount(&mounts, &path, "im-1").unwrap();
        assert_eq!((mounted.way, mounted.is_new, mounted.path), (way, true, path.clone()));
        let image = picture(&world.image("im-1"));
        same(&path, &image, way.name());
        // It can be written to, and its directories and files changed in every manner.
        fs::write(path.join("new"), "new").unwrap();
        fs::rename(path.join("a"), path.join("b")).unwrap();
        fs::write(path.join("b/again"), "changed").unwrap();
        assert_eq!(fs::read(path.join("b/deep/file")).unwrap(), b"changed", "{}", way.name());
        fs::remove_file(path.join("file")).unwrap();
        unmount(&mounts, &path).unwrap();
        same(&path, &original, way.name());
        world.is_clean();
        same(&world.image("im-1"), &image, "the image itself");
        assert_eq!(mounts.list(), []);
        // What was private to it waits to be removed.
        let gone = world.top.join("state/mounts/gone");
        assert!(fs::read_dir(&gone).unwrap().count() > 0, "{}", way.name());
        mounts.sweep().unwrap();
        assert_eq!(fs::read_dir(&gone).unwrap().count(), 0);
    }
}

#[test]
fn what_is_missing_is_made_and_removed_again() {
    for (way, disabled) in ways() {
        let world = World::without(disabled);
        let path = world.place().join("x/y");
        let mounts = world.open();
        world.mount(&mounts, &path, "im-1").unwrap();
        same(&path, &picture(&world.image("im-1")), way.name());
        unmount(&mounts, &path).unwrap();
        assert!(!world.place().exists(), "{}", way.name());
        // What somebody else put into a directory that we made keeps it.
        world.mount(&mounts, &path, "").unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        fs::write(world.place().join("theirs"), "").unwrap();
        fs::write(path.join("ours"), "").unwrap();
        unmount(&mounts, &path).unwrap();
        assert!(!world.place().join("x").exists(), "{}", way.name());
        assert!(world.place().join("theirs").exists());
        world.is_clean();
    }
}

#[test]
fn requests_are_repeated_refused_and_nested() {
    for (way, disabled) in ways() {
        let world = World::without(disabled);
        let path = world.original();
        let mounts = world.open();
        world.mount(&mounts, &path, "im-1").unwrap();
        fs::write(path.join("kept"), "").unwrap();
        assert!(!world.mount(&mounts, &path, "im-1").unwrap().is_new);
        assert!(path.join("kept").exists());
        let other = world.mount(&mounts, &path, "im-2").unwrap_err();
        assert!(matches!(&other, MountError::Other(_, image) if image == "im-1"), "{other}");
        assert_eq!(other.kind(), Kind::Refused);

        let (inner, beside) = (path.join("a/deep"), path.join("a/again"));
        world.mount(&mounts, &inner, "im-2").unwrap();
        same(&inner, &picture(&world.image("im-2")), way.name());
        assert_eq!(paths(&mounts.list()), [path.as_path(), &inner]);
        let above = world.mount(&mounts, &path.join("a"), "im-2").unwrap_err();
        assert!(matches!(above, MountError::Beneath(_)), "{above}");
        let outer = unmount(&mounts, &path).unwrap_err();
        assert!(matches!(outer, MountError::Beneath(_)), "{outer}");
        for not in [path.join("a"), world.top.join("place"), world.top.join("nothing")] {
            let not = unmount(&mounts, &not).unwrap_err();
            assert!(matches!(not, MountError::NotMounted(_)), "{not}");
        }
        let file = world.mount(&mounts, &beside, "im-2").unwrap_err();
        assert!(matches!(file, MountError::NotDirectory(_)), "{file}");
        unmount(&mounts, &inner).unwrap();
        assert_eq!(fs::read_to_string(inner.join("file")).unwrap(), "one".repeat(1000));
        unmount(&mounts, &path).unwrap();
        world.is_clean();
    }
}

#[test]
fn a_tree_that_cannot_be_made_leaves_nothing() {
    for (way, disabled) in ways() {
        let world = World::without(disabled);
        let path = world.original();
        let original = picture(&path);
        let mounts = world.open();
        let bad = world.mount(&mounts, &path, "im-bad").unwrap_err();
        assert_eq!((bad.kind(), &bad.to_string()[..]), (Kind::Tree, "it is bad"));
        same(&path, &original, way.name());
        world.is_clean();
        for key in ["im 1", "im-\n", &"x".repeat(513)] {
            assert_eq!(world.mount(&mounts, &path, key).unwrap_err().kind(), Kind::Invalid);
        }
    }
}

#[test]
fn places_that_are_none_are_refused() {
    let world = World::without("");
    let mounts = world.open();
    let state = world.top.join("state");
    for path in ["/", "relative", "/proc/x", "/sys"] {
        let refused = world.mount(&mounts, Path::new(path), "im-1").unwrap_err();
        assert_eq!(refused.kind(), Kind::Invalid, "{path}: {refused}");
    }
    for path in [world.top.clone(), state.clone(), state.join("mounts/x"), "/tmp/..".into()] {
        let refused = world.mount(&mounts, &path, "im-1").unwrap_err();
        assert!(matches!(refused, MountError::Place(_)), "{path:?}: {refused}");
    }
    world.is_clean();
}

#[test]
fn a_link_is_resolved_once() {
    for (way, disabled) in ways() {
        let world = World::without(disabled);
        let path = world.original();
        let link = world.top.join("link");
        symlink(&path, &link).unwrap();
        let mounts = world.open();
        assert_eq!(world.mount(&mounts, &link, "im-1").unwrap().path, path);
        same(&path, &picture(&world.image("im-1")), way.name());
        assert!(!world.mount(&mounts, &path, "im-1").unwrap().is_new);
        assert_eq!(mounts.list()[0].asked, link);
        // Where it leads now does not matter.
        fs::remove_file(&link).unwrap();
        unmount(&mounts, &link).unwrap();
        world.is_clean();
    }
}

#[test]
fn two_mounts_share_nothing_that_is_written_to() {
    for (way, disabled) in ways() {
        let world = World::without(disabled);
        let mounts = world.open();
        let image = picture(&world.image("im-1"));
        let [one, two] = ["one", "two"].map(|name| world.place().join(name));
        world.mount(&mounts, &one, "im-1").unwrap();
        world.mount(&mounts, &two, "im-1").unwrap();
        for path in image.keys().map(|path| one.join(path)) {
            let seen = fs::symlink_metadata(&path).unwrap();
            if seen.is_file() {
                use std::os::unix::fs::{FileExt, PermissionsExt};
                let file = fs::File::options().write(true).open(&path).unwrap();
                file.write_all_at(b"written", 0).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            } else if seen.is_dir() {
                fs::write(path.join("added"), "").unwrap();
            }
        }
        same(&two, &image, way.name());
        same(&world.image("im-1"), &image, "the image itself");
        for path in [&one, &two] {
            unmount(&mounts, path).unwrap();
        }
        world.is_clean();
    }
}

#[test]
fn the_next_agent_knows_its_mounts() {
    for (way, disabled) in ways() {
        let world = World::without(disabled);
        let path = world.original();
        let original = picture(&path);
        let mounts = world.open();
        world.mount(&mounts, &path, "im-1").unwrap();
        world.mount(&mounts, &path.join("inner"), "").unwrap();
        fs::write(path.join("kept"), "").unwrap();
        let before = mounts.list();
        // Nobody else has them meanwhile.
        let taken = crate::image::mounts::Mounts::open(&world.top.join("state"), &world.features);
        assert_eq!(taken.err().unwrap().kind(), std::io::ErrorKind::WouldBlock);
        drop(mounts);
        let (mounts, told) = world.open_told();
        assert_eq!((mounts.list(), told), (before, vec![]), "{}", way.name());
        assert!(path.join("kept").exists());
        unmount(&mounts, &path.join("inner")).unwrap();
        unmount(&mounts, &path).unwrap();
        same(&path, &original, way.name());
        world.is_clean();
    }
}

#[test]
fn what_somebody_unmounted_is_forgotten_and_what_a_restart_took_away_comes_back() {
    for (way, disabled) in ways().into_iter().filter(|(way, _)| *way != Way::Swap) {
        let world = World::without(disabled);
        let path = world.original();
        let original = picture(&path);
        let mounts = world.open();
        world.mount(&mounts, &path, "im-1").unwrap();
        fs::write(path.join("kept"), "").unwrap();
        mount::unmount(&path, mount::Parting::Unused).unwrap();
        same(&path, &original, way.name());
        // Asked for again it is there again, with what was changed.
        assert!(!world.mount(&mounts, &path, "im-1").unwrap().is_new);
        assert!(path.join("kept").exists());
        drop(mounts);

        // Another namespace: the record says so.
        mount::unmount(&path, mount::Parting::Unused).unwrap();
        rewrite(&world, "mnt:[", "mnt:[1");
        let (mounts, told) = world.open_told();
        assert_eq!(told, Vec::<String>::new());
        assert!(path.join("kept").exists(), "{}", way.name());
        drop(mounts);

        mount::unmount(&path, mount::Parting::Unused).unwrap();
        let (mounts, told) = world.open_told();
        assert!(told[0].contains("was unmounted by somebody"), "{told:?}");
        assert_eq!(mounts.list(), []);
        same(&path, &original, way.name());
        world.is_clean();
    }
}

#[test]
fn another_container_is_left_alone() {
    let states = [
        ("\"mounted\",\"step\":0", "not mounted here any more"),
        ("\"doing\",\"step\":3", "is undone"),
        ("\"undoing\",\"step\":3", "is undone"),
        ("\"undoing\",\"step\":2", "is undone"),
    ];
    for (state, words) in states {
        let world = World::without("mount,overlay");
        let path = world.original();
        let mounts = world.open();
        world.mount(&mounts, &path, "im-1").unwrap();
        let place = mounts.view(&world.top.join("place")).unwrap();
        let aside = place.hidden()[0].clone();
        drop(place);
        drop(mounts);
        rewrite(&world, "\"mounted\",\"step\":0", state);
        // Its root file system is another one: nothing lies aside, and what is there was always there.
        fs::remove_dir_all(&aside).unwrap();
        let here = picture(&path);
        let (mounts, told) = world.open_told();
        assert!(told[0].contains(words), "{state}: {told:?}");
        assert_eq!(mounts.list(), []);
        same(&path, &here, state);
        world.is_clean();
    }
}

/// Changes the record of the only mount.
fn rewrite(world: &World, from: &str, to: &str) {
    let home = fs::read_dir(world.top.join("state/mounts")).unwrap();
    let mut homes = home.map(|entry| entry.unwrap().path().join("record"));
    let record = homes.find(|path| path.is_file()).unwrap();
    let text = fs::read_to_string(&record).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(record, text.replace(from, to)).unwrap();
}

#[test]
fn something_foreign_within_is_not_taken_along() {
    let ways = ways();
    if ways.len() == 1 {
        return;
    }
    for (way, disabled) in ways {
        let world = World::without(disabled);
        let path = world.original();
        let original = picture(&path);
        let precious = world.top.join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "").unwrap();
        let mounts = world.open();
        world.mount(&mounts, &path, "im-1").unwrap();
        mount::bind(&precious, &path.join("a")).unwrap();
        let refused = unmount(&mounts, &path).unwrap_err();
        assert!(matches!(&refused, MountError::Foreign(at) if *at == path.join("a")), "{refused}");
        assert_eq!(mounts.list().len(), 1);
        mount::unmount(&path.join("a"), mount::Parting::Unused).unwrap();
        unmount(&mounts, &path).unwrap();
        same(&path, &original, way.name());
        assert!(precious.join("file").exists());
        world.is_clean();
    }
}

#[test]
fn who_works_there_is_named_and_keeps_working() {
    for (way, disabled) in ways() {
        let world = World::without(disabled);
        let path = world.original();
        let mounts = world.open();
        let mut cat = Command::new("cat");
        cat.current_dir(path.join("a")).stdin(std::process::Stdio::piped());
        let mut cat = cat.spawn().unwrap();
        let seen = world.mount(&mounts, &path, "im-1").unwrap().inside;
        assert_eq!(seen.named, [(cat.id().cast_signed(), "cat".to_string())], "{}", way.name());
        drop(cat.stdin.take());
        cat.wait().unwrap();

        let mut cat = Command::new("cat");
        cat.current_dir(path.join("a")).stdin(std::process::Stdio::piped());
        let mut cat = cat.spawn().unwrap();
        let seen = mounts.unmount(path.as_os_str().as_encoded_bytes()).unwrap();
        assert_eq!(seen.to_string(), format!("\"cat\" ({})", cat.id()), "{}", way.name());
        drop(cat.stdin.take());
        cat.wait().unwrap();
        world.is_clean();
    }
}

#[test]
fn requests_at_once_wait_for_each_other() {
    for (way, disabled) in ways() {
        let world = World::without(disabled);
        let path = world.original();
        let original = picture(&path);
        let mounts = world.open();
        let begin = std::sync::Barrier::new(6);
        // All of them run in this thread's mount namespace.
        let results: Vec<_> = std::thread::scope(|scope| {
            let request = |key: &'static str| {
                let (world, mounts, path, begin) = (&world, &mounts, &path, &begin);
                scope.spawn(move || {
                    begin.wait();
                    (key, world.mount(mounts, path, key))
                })
            };
            let keys = ["im-1", "im-2", "im-1", "im-2", "im-1", "im-2"];
            let running = keys.map(request);
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let new: Vec<_> = results
            .iter()
            .filter(|(_, made)| made.as_ref().is_ok_and(|made| made.is_new))
            .collect();
        assert_eq!(new.len(), 1, "{}", way.name());
        let won = new[0].0;
        for (key, made) in &results {
            match made {
                Ok(_) => assert_eq!(*key, won),
                Err(refused) => assert!(matches!(refused, MountError::Other(_, _)), "{refused}"),
            }
        }
        same(&path, &picture(&world.image(won)), way.name());
        unmount(&mounts, &path).unwrap();
        same(&path, &original, way.name());
        world.is_clean();
    }
}

#[test]
fn there_is_a_most_of_mounts() {
    let world = World::without("mount,overlay");
    let mounts = world.open();
    let path = |number: usize| world.place().join(number.to_string());
    for number in 0..MOUNTS_MAX {
        world.mount(&mounts, &path(number), "").unwrap();
    }
    let more = world.mount(&mounts, &path(MOUNTS_MAX), "").unwrap_err();
    assert_eq!(more.kind(), Kind::Full, "{more}");
    assert!(!world.mount(&mounts, &path(0), "").unwrap().is_new);
    unmount(&mounts, &path(0)).unwrap();
    world.mount(&mounts, &path(MOUNTS_MAX), "").unwrap();
    (1..=MOUNTS_MAX).for_each(|number| unmount(&mounts, &path(number)).unwrap());
    world.is_clean();
}
