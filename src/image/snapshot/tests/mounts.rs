//! Mounts beneath a directory, in a namespace of their own.

use std::process::Command;

use super::*;

/// Names the directory in which the inner test finds what was mounted.
const TOP: &str = "DOORWARD_TEST_MOUNTS";

#[test]
fn mounts_of_others_are_not_crossed() {
    if !is_root("mounts") {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let at = |path: &str| top.path().join(path);
    for directory in ["tree/theirs", "tree/ours", "tree/bound", "from"] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    fs::write(at("from/inside"), "inside").unwrap();
    fs::write(at("tree/file"), "hidden").unwrap();
    let script = "set -e; cd \"$DOORWARD_TEST_MOUNTS\"
        mount -t tmpfs none tree/theirs; mount -t tmpfs none tree/ours
        touch tree/theirs/x tree/ours/y
        mount --bind from tree/bound; mount --bind from/inside tree/file
        exec \"$0\" --exact image::snapshot::tests::mounts::inner --nocapture";
    let mut may = Command::new("unshare");
    may.args(["-m", "mount", "-t", "tmpfs", "none"]).arg(at("from"));
    if !may.status().is_ok_and(|status| status.success()) {
        println!("SKIPPED: image::snapshot::mounts: no right to mount");
        return;
    }
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(TOP, top.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        said.contains("seen: [\"./\", \"bound/\", \"ours/\", \"ours/y\", \"theirs/\"]"),
        "{said}"
    );
}

/// What the test above runs where it has mounted something; by itself it does nothing.
#[test]
fn inner() {
    let Some(top) = std::env::var_os(TOP) else { return };
    let own_mounts = [PathBuf::from("ours")];
    let tree = Path::new(&top).join("tree");
    let spec = SnapshotSpec { own_mounts: &own_mounts, ..plain() };
    let (bytes, packed_tree) = packed(&tree, &spec);
    let members = model::members(&bytes);
    let seen: Vec<_> = members.iter().map(|(path, _)| String::from_utf8_lossy(path)).collect();
    assert_eq!(packed_tree.counts.mounts, 3);
    println!("seen: {seen:?}");
}
