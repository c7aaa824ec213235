//! A disk that is full.

use std::process::Command;

use super::*;

/// Tells the test that it runs where a small file system is.
const SMALL: &str = "DOORWARD_TEST_SMALL";

#[test]
fn a_full_disk_is_told_and_left_empty() {
    let Some(small) = std::env::var_os(SMALL) else {
        // This very test, with a small file system that nobody else sees.
        let top = tempfile::tempdir().unwrap();
        let name = "image::unpack::tests::room::a_full_disk_is_told_and_left_empty";
        let script = "mount -t tmpfs -o size=1m none \"$1\" || exit 77; exec \"$0\" --exact \"$2\"";
        let ran = Command::new("unshare")
            .args(["-m", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .arg(top.path())
            .arg(name)
            .env(SMALL, top.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        if ran.status.code() == Some(77) || !rustix::process::geteuid().is_root() {
            println!("SKIPPED: full disk: mounting is not allowed here");
            return;
        }
        assert!(ran.status.success() && said.contains("1 passed"), "{ran:?}");
        return;
    };
    let root = Path::new(&small).join("root");
    let large = member(EntryType::Regular, "large", ("", &vec![7; 2 << 20]), |_| ());
    let small: Vec<Vec<u8>> =
        (0..200).map(|number| file(&format!("d/{number}"), &"x".repeat(10_000))).collect();
    for members in [vec![directory("d/"), large], small] {
        fs::create_dir(&root).unwrap();
        let archive = archive(&members);
        let spec = UnpackSpec::of(Origin::Ours);
        let made = unpack_layers([Ok(plain(&archive))], &root, &spec, &AtomicBool::new(false));
        let error = made.unwrap_err();
        assert_eq!(error.kind(), Kind::Room, "{error}");
        assert!(error.to_string().contains(" of layer 1: No space left"), "{error}");
        fs::remove_dir(&root).unwrap();
    }
}
