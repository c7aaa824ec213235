//! What is different from a base, as a layer.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use proptest::prelude::*;

use super::{model::Model, *};

/// Something that is done to a tree. Numbers choose among the paths that there are.
#[derive(Debug, Clone)]
pub(in crate::image) enum Step {
    MakeDirectory(usize, u8),
    Write(usize, u8, Vec<u8>),
    Symlink(usize, u8),
    Hardlink(usize, usize, u8),
    Fifo(usize, u8),
    Remove(usize),
    Rename(usize, usize, u8),
    Mode(usize, u32),
    /// Times set back to what they were: only the change time tells.
    Disguise(usize, Vec<u8>),
    /// A directory gives way to one of the same name, another or the same as the kernel likes.
    Renew(usize),
}

pub(in crate::image) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let (at, byte) = (any::<usize>, any::<u8>);
    let data = || proptest::collection::vec(any::<u8>(), 0..4);
    let step = prop_oneof![
        4 => (at(), byte()).prop_map(|(at, name)| Step::MakeDirectory(at, name)),
        6 => (at(), byte(), data()).prop_map(|(at, name, data)| Step::Write(at, name, data)),
        1 => (at(), byte()).prop_map(|(at, name)| Step::Symlink(at, name)),
        3 => (at(), at(), byte()).prop_map(|(from, at, name)| Step::Hardlink(from, at, name)),
        1 => (at(), byte()).prop_map(|(at, name)| Step::Fifo(at, name)),
        3 => at().prop_map(Step::Remove),
        3 => (at(), at(), byte()).prop_map(|(from, at, name)| Step::Rename(from, at, name)),
        1 => (at(), 0..=0o7777_u32).prop_map(|(at, mode)| Step::Mode(at, mode | 0o700)),
        2 => (at(), data()).prop_map(|(at, data)| Step::Disguise(at, data)),
        1 => at().prop_map(Step::Renew),
    ];
    proptest::collection::vec(step, 0..most)
}

/// Does a step, as far as it makes sense.
pub(in crate::image) fn take(step: &Step, top: &Path) {
    let tree = model::tree(top);
    let any = |at: usize| {
        let path = tree.keys().nth(at % tree.len()).unwrap();
        top.join(name(path))
    };
    let directories: Vec<&Vec<u8>> =
        tree.iter().filter(|(_, node)| node.what.starts_with("4")).map(|(path, _)| path).collect();
    // Few names, so that steps meet; some sort before and behind a slash.
    let names = ["a", "b", "a-", "a.b", "a0", ".w", "\u{e4}"];
    let place = |at: usize, of: u8| {
        let directory = top.join(name(directories[at % directories.len()]));
        directory.join(names[usize::from(of) % names.len()])
    };
    let _ = match step {
        Step::MakeDirectory(at, of) => fs::create_dir(place(*at, *of)),
        Step::Write(at, of, data) if !place(*at, *of).exists() => fs::write(place(*at, *of), data),
        Step::Write(at, of, _) if !place(*at, *of).is_file() => Ok(()),
        Step::Write(at, of, data) => {
            let file = File::options().append(true).open(place(*at, *of));
            file.and_then(|mut file| file.write_all(data))
        }
        Step::Symlink(at, of) => symlink("target", place(*at, *of)),
        Step::Hardlink(from, at, of) => fs::hard_link(any(*from), place(*at, *of)),
        Step::Fifo(at, of) => {
            if fs::symlink_metadata(place(*at, *of)).is_err() {
                fifo(&place(*at, *of));
            }
            Ok(())
        }
        Step::Remove(at) if any(*at) == top => Ok(()),
        Step::Remove(at) => match any(*at) {
            path if path.is_dir() && !path.is_symlink() => fs::remove_dir_all(path),
            path => fs::remove_file(path),
        },
        Step::Rename(from, at, of) => fs::rename(any(*from), place(*at, *of)),
        Step::Mode(at, mode) if !any(*at).is_symlink() => {
            fs::set_permissions(any(*at), fs::Permissions::from_mode(*mode))
        }
        Step::Disguise(at, data) if any(*at).is_file() && !any(*at).is_symlink() => {
            let path = any(*at);
            let before = fs::metadata(&path).unwrap();
            let size = usize::try_from(before.len()).unwrap();
            let data: Vec<u8> = data.iter().copied().cycle().take(size).collect();
            fs::write(&path, if data.len() == size { data } else { vec![9; size] }).unwrap();
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(before.modified().unwrap())
        }
        Step::Renew(at) if any(*at) != top && any(*at).is_dir() => {
            fs::remove_dir_all(any(*at)).and_then(|()| fs::create_dir(any(*at)))
        }
        Step::Mode(..) | Step::Disguise(..) | Step::Renew(_) => Ok(()),
    };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    /// A tree, and a layer of all that was done to it since: together they are the tree as it is.
    #[test]
    fn a_layer_of_changes_makes_one_tree_of_the_other(
        first in steps(40),
        second in steps(12),
        third in steps(6),
    ) {
        let top = tempfile::tempdir().unwrap();
        let top = top.path();
        for step in &first {
            take(step, top);
        }
        let mut built = Model::new();
        model::apply(&packed(top, &plain()).0, &mut built);
        prop_assert_eq!(&built, &model::tree(top));
        let mut base = recorded(top);
        for steps in [&second, &third] {
            for step in steps {
                take(step, top);
            }
            let spec = SnapshotSpec { base: Some(&base), ..plain() };
            let (bytes, tree) = packed(top, &spec);
            prop_assert_eq!(tree.layer.is_none(), bytes.is_empty());
            if !bytes.is_empty() {
                model::apply(&bytes, &mut built);
            }
            prop_assert_eq!(&built, &model::tree(top));
            let record = tree.record.unwrap();
            let again = TreeRecord::from_bytes(&record.to_bytes());
            prop_assert_eq!(again.as_ref(), Ok(&record));
            base = record;
        }
    }
}

#[test]
fn nothing_changed_is_no_layer() {
    let top = tempfile::tempdir().unwrap();
    fs::create_dir_all(top.path().join("a/b")).unwrap();
    fs::write(top.path().join("a/file"), "data").unwrap();
    fs::hard_link(top.path().join("a/file"), top.path().join("a/b/again")).unwrap();
    symlink("a", top.path().join("link")).unwrap();
    let base = recorded(top.path());
    let (bytes, tree) = packed(top.path(), &SnapshotSpec { base: Some(&base), ..plain() });
    assert_eq!((bytes.len(), tree.layer, tree.counts.unchanged), (0, None, 6));
}

#[test]
fn what_is_near_the_record_is_read_again_unless_its_content_is_known() {
    let top = tempfile::tempdir().unwrap();
    fs::write(top.path().join("file"), "data").unwrap();
    // This one was made while packing, which reads nothing twice.
    let (_, tree) = packed(top.path(), &plain());
    let base = tree.record.unwrap();
    let (_, tree) = packed(top.path(), &SnapshotSpec { base: Some(&base), ..plain() });
    assert_eq!((tree.counts.entries, tree.counts.unchanged), (1, 1));
    // Two seconds later times alone tell.
    std::thread::sleep(Duration::from_millis(2100));
    let (_, tree) = packed(top.path(), &plain());
    let base = tree.record.unwrap();
    let (_, tree) = packed(top.path(), &SnapshotSpec { base: Some(&base), ..plain() });
    assert_eq!((tree.counts.entries, tree.counts.unchanged), (0, 2));
}

#[test]
fn replaced_directories_are_opaque() {
    let top = tempfile::tempdir().unwrap();
    let at = |path: &str| top.path().join(path);
    fs::create_dir_all(at("d/old")).unwrap();
    fs::create_dir(at("other")).unwrap();
    let base = recorded(top.path());
    fs::rename(at("d"), at("aside")).unwrap();
    fs::rename(at("other"), at("d")).unwrap();
    let (bytes, tree) = packed(top.path(), &SnapshotSpec { base: Some(&base), ..plain() });
    let paths: Vec<String> = model::members(&bytes)
        .iter()
        .map(|(path, _)| String::from_utf8_lossy(path).into())
        .collect();
    assert_eq!(paths, ["./", "aside/", "aside/old/", "d/", "d/.wh..wh..opq", ".wh.other"]);
    assert_eq!(tree.counts.gone, 1);
}

/// Does something to a tree; whether a layer of it and the tree before make the tree as it is.
fn changed(make: impl Fn(&Path), change: impl Fn(&Path)) -> Vec<String> {
    let top = tempfile::tempdir().unwrap();
    make(top.path());
    let mut built = model::tree(top.path());
    let base = recorded(top.path());
    change(top.path());
    let (bytes, _) = packed(top.path(), &SnapshotSpec { base: Some(&base), ..plain() });
    model::apply(&bytes, &mut built);
    let mut now = model::tree(top.path());
    now.retain(|_, node| !node.what.starts_with("14"));
    assert_eq!(built, now);
    let members = model::members(&bytes);
    members.iter().map(|(path, _)| String::from_utf8_lossy(path).into()).collect()
}

#[test]
fn all_names_of_a_file_are_in_one_layer() {
    let make = |top: &Path| {
        fs::create_dir(top.join("d")).unwrap();
        fs::write(top.join("a"), "data").unwrap();
        fs::hard_link(top.join("a"), top.join("d/y")).unwrap();
        fs::hard_link(top.join("a"), top.join("z")).unwrap();
    };
    // Neither changes a time of the file, and `a` is passed before and `z` after a name that is new.
    let members = changed(make, |top| fs::rename(top.join("d"), top.join("e")).unwrap());
    assert_eq!(members, ["./", ".wh.d", "e/", "e/y", "a", "z"]);
}

#[test]
fn what_became_a_socket_is_gone() {
    let bind = |top: &Path| {
        fs::remove_file(top.join("a")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(top.join("a")).unwrap());
    };
    let members = changed(|top| fs::write(top.join("a"), "data").unwrap(), bind);
    assert_eq!(members, ["./", ".wh.a"]);
}

#[test]
fn what_was_not_looked_at_stays_known() {
    let top = tempfile::tempdir().unwrap();
    fs::create_dir_all(top.path().join("d/e")).unwrap();
    fs::write(top.path().join("d/e/x"), "data").unwrap();
    fs::write(top.path().join("f"), "data").unwrap();
    let base = recorded(top.path());
    let left_out = [PathBuf::from("d"), PathBuf::from("f")];
    let spec = SnapshotSpec { base: Some(&base), left_out: &left_out, ..plain() };
    let (bytes, tree) = packed(top.path(), &spec);
    assert_eq!(bytes.len(), 0);
    fs::remove_file(top.path().join("d/e/x")).unwrap();
    fs::remove_file(top.path().join("f")).unwrap();
    let base = tree.record.unwrap();
    let (bytes, _) = packed(top.path(), &SnapshotSpec { base: Some(&base), ..plain() });
    let members = model::members(&bytes);
    let paths: Vec<_> = members.iter().map(|(path, _)| String::from_utf8_lossy(path)).collect();
    assert_eq!(paths, ["./", "d/", "d/e/", "d/e/.wh.x", ".wh.f"]);
}

#[test]
fn a_record_of_another_tree_is_only_a_bad_base() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (number, top) in [one.path(), other.path()].into_iter().enumerate() {
        fs::create_dir(top.join("d")).unwrap();
        fs::write(top.join(format!("d/{number}")), "").unwrap();
        fs::write(top.join("same"), format!("{number}")).unwrap();
    }
    let base = recorded(one.path());
    let mut built = model::tree(one.path());
    let (bytes, _) = packed(other.path(), &SnapshotSpec { base: Some(&base), ..plain() });
    model::apply(&bytes, &mut built);
    assert_eq!(built, model::tree(other.path()));
}
