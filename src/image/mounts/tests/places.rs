//! Places that are not like others: where nothing can be renamed, or where we have few rights.

use std::{
    fs,
    io::Write,
    os::unix::fs::lchown,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    killed::Child,
    world::{World, fill, picture, same, unmount},
};
use crate::{core::mounts::Way, image::mounts::MountError, image::store::tests::skip, os::mount};

/// Runs a tool that must succeed.
pub(in crate::image) fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
}

/// Makes the place of a world an overlay whose lower layer has the original, as a container's image has it:
/// a rename of one of its directories is refused.
pub(super) fn of_a_lower_layer(world: &World) -> PathBuf {
    let at = |name: &str| world.top.join(name).display().to_string();
    for name in ["upper", "work"] {
        fs::create_dir(at(name)).unwrap();
    }
    fill(&world.top.join("lower/work"), "original");
    let options = format!(
        "lowerdir={},upperdir={},workdir={},redirect_dir=off",
        at("lower"),
        at("upper"),
        at("work")
    );
    run("mount", &["-t", "overlay", "-o", &options, "lower", &at("place")]);
    world.place()
}

/// Mounts a file system of its own at the path, with the original on it.
pub(super) fn of_a_volume(world: &World) -> PathBuf {
    let path = world.place();
    fs::create_dir(&path).unwrap();
    run("mount", &["-t", "tmpfs", "volume", &path.display().to_string()]);
    fill(&path, "original");
    path
}

/// Whether there can be such places.
pub(in crate::image) fn may_mount(what: &str) -> bool {
    let may = mount::own_namespace();
    if let Err(error) = &may {
        skip(what, &format!("no right to mount: {error}"));
    }
    may.is_ok()
}

#[test]
fn entries_are_moved_where_the_directory_cannot_be() {
    if !may_mount("directories of lower layers and volumes") {
        return;
    }
    for make in [of_a_lower_layer, of_a_volume] {
        let world = World::without("mount,overlay");
        let path = make(&world);
        let original = picture(&path);
        let mounts = world.open();
        let before = fs::metadata(&path).unwrap();
        assert_eq!(world.mount(&mounts, &path, "im-1").unwrap().way, Way::Entries);
        same(&path, &picture(&world.image("im-1")), "mounted");
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(&path).unwrap().ino(), before.ino());
        fs::write(path.join("new"), "new").unwrap();
        drop(mounts);
        let (mounts, told) = world.open_told();
        assert_eq!((mounts.list().len(), told), (1, vec![]));
        assert!(path.join("new").exists());
        unmount(&mounts, &path).unwrap();
        same(&path, &original, "unmounted");
        // Again, now that the directories are no lower ones any more.
        world.mount(&mounts, &path, "im-2").unwrap();
        same(&path, &picture(&world.image("im-2")), "mounted again");
        unmount(&mounts, &path).unwrap();
        same(&path, &original, "unmounted again");
        world.is_clean();
    }
}

#[test]
fn where_we_may_mount_a_volume_is_mounted_over() {
    if !may_mount("mounts over volumes") {
        return;
    }
    for (way, disabled) in [(Way::Overlay, ""), (Way::Bind, "overlay")] {
        for make in [of_a_lower_layer, of_a_volume] {
            let world = World::without(disabled);
            let path = make(&world);
            let original = picture(&path);
            let mounts = world.open();
            assert_eq!(world.mount(&mounts, &path, "im-1").unwrap().way, way);
            same(&path, &picture(&world.image("im-1")), "mounted");
            unmount(&mounts, &path).unwrap();
            same(&path, &original, "unmounted");
            world.is_clean();
        }
    }
}

#[test]
fn a_mount_among_the_entries_keeps_everything_in_its_place() {
    if !may_mount("mounts among entries") {
        return;
    }
    let world = World::without("mount,overlay");
    let path = of_a_volume(&world);
    run("mount", &["-t", "tmpfs", "inner", &path.join("a/deep/er").display().to_string()]);
    let original = picture(&path);
    let mounts = world.open();
    let refused = world.mount(&mounts, &path, "im-1").unwrap_err();
    assert!(refused.to_string().contains("busy"), "{refused}");
    same(&path, &original, "refused");
    world.is_clean();
}

#[test]
fn what_is_open_for_writing_is_written_to_what_was_there() {
    if !may_mount("open files in lower layers") {
        return;
    }
    for make in [of_a_lower_layer, |world: &World| world.original()] {
        let world = World::without("mount,overlay");
        let path = make(&world);
        let mounts = world.open();
        let mut open = fs::File::options().append(true).open(path.join("a/deep/file")).unwrap();
        world.mount(&mounts, &path, "im-1").unwrap();
        open.write_all(b"and more").unwrap();
        unmount(&mounts, &path).unwrap();
        let text = fs::read_to_string(path.join("a/again")).unwrap();
        // Names of one file in a lower layer are names of two once one of them was written to.
        let text = match text.ends_with("and more") {
            true => text,
            false => fs::read_to_string(path.join("a/deep/file")).unwrap(),
        };
        assert!(text.ends_with("originaland more"), "{}", text.len());
        world.is_clean();
    }
}

/// Mounts and unmounts in a process with fewer rights; what it sees is looked at from here.
fn with_fewer_rights(what: &str, rights: &[&str], prepare: impl Fn(&World) -> PathBuf) {
    if !rustix::process::geteuid().is_root() {
        skip(&format!("mounts {what}"), "no rights to drop");
        return;
    }
    let world = World::without("");
    let path = prepare(&world);
    let (original, image) = (picture(&path), picture(&world.image("im-1")));
    let child = Child { top: &world.top, path: &path, disabled: "", left: -1 };
    let dropped = || {
        let mut command = Command::new("setpriv");
        command.args(rights);
        command
    };
    child.run(dropped(), "mount").is_well();
    // Who owns what is not kept where files cannot be given away.
    let text = |name: &str| fs::read_to_string(path.join(name)).unwrap();
    assert_eq!(text("file"), "one", "{what}");
    assert_eq!(picture(&path).len(), image.len(), "{what}");
    child.run(dropped(), "unmount").is_well();
    same(&path, &original, what);
    world.is_clean();
}

#[test]
fn root_without_the_right_to_mount() {
    let rights = ["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"];
    with_fewer_rights("without CAP_SYS_ADMIN", &rights, World::original);
}

const NOBODY: u32 = 65534;
const AS_NOBODY: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];

fn give(path: &Path) {
    lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

fn open_to_all(world: &World) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&world.top, fs::Permissions::from_mode(0o755)).unwrap();
    give(&world.top.join("state"));
    give(&world.top.join("images"));
}

#[test]
fn an_ordinary_user_in_a_directory_of_their_own() {
    with_fewer_rights("of an ordinary user", &AS_NOBODY, |world| {
        open_to_all(world);
        let path = world.original();
        give(&world.top.join("place"));
        path
    });
}

#[test]
fn an_ordinary_user_beneath_a_directory_of_somebody_else() {
    with_fewer_rights("beneath somebody else's", &AS_NOBODY, |world| {
        open_to_all(world);
        let path = world.original();
        give(&path);
        path
    });
}

#[test]
fn what_cannot_be_changed_is_refused_and_left() {
    if !rustix::process::geteuid().is_root() {
        skip("mounts at what is somebody else's", "no rights to drop");
        return;
    }
    let world = World::without("");
    open_to_all(&world);
    let path = world.original();
    let original = picture(&path);
    let child = Child { top: &world.top, path: &path, disabled: "", left: -1 };
    let mut command = Command::new("setpriv");
    command.args(AS_NOBODY);
    let output = child.run(command, "mount");
    assert!(output.text().contains("PermissionDenied"), "{}", output.text());
    same(&path, &original, "refused");
    world.is_clean();
    assert!(MountError::NotMounted(path).to_string().contains("no image"));
}
