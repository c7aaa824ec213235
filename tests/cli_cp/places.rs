//! Where the agent is not as usual: its binary gone, another user, an image with nothing in it.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::Command,
};

use crate::support::{Agent, DOORWARD, clean, everything, is_root, noise, said, skip};

#[test]
fn a_binary_that_was_removed_still_copies() {
    let place = tempfile::tempdir().unwrap();
    let binary = place.path().join("agent");
    fs::copy(DOORWARD, &binary).unwrap();
    let agent = Agent::started(clean(&binary), &[]);
    for replaced in ["removed", "replaced"] {
        fs::remove_file(&binary).unwrap();
        if replaced == "replaced" {
            fs::write(&binary, "another thing").unwrap();
        }
        fs::write(agent.at("file"), replaced).unwrap();
        agent.copy(&["file", ":in"]);
        agent.copy(&[":in", "out"]);
        assert_eq!(fs::read_to_string(agent.at("out")).unwrap(), replaced);
        fs::write(&binary, "to be removed").unwrap();
    }
}

#[test]
fn files_are_made_and_read_as_the_agents_user() {
    if !is_root() {
        return skip("user", "needs root");
    }
    let agent = Agent::started(clean(DOORWARD), &["--user", "nobody"]);
    let (uid, gid) = {
        let id = agent.exec(&["sh", "-c", "id -u; id -g"]);
        let mut lines = id.lines().map(|line| line.parse::<u32>().unwrap());
        (lines.next().unwrap(), lines.next().unwrap())
    };
    fs::create_dir(agent.at("theirs")).unwrap();
    chown(agent.at("theirs"), Some(uid), Some(gid)).unwrap();
    fs::create_dir(agent.at("tree")).unwrap();
    fs::write(agent.at("tree/file"), "data").unwrap();
    fs::write(agent.at("tree/secret"), "data").unwrap();
    fs::set_permissions(agent.at("tree/secret"), PermissionsExt::from_mode(0o600)).unwrap();

    agent.copy(&["tree/file", ":theirs"]);
    let made = fs::metadata(agent.at("theirs/file")).unwrap();
    assert_eq!((made.uid(), made.gid()), (uid, gid));

    let output = agent.cp(&["tree", ":not-theirs"]).output().unwrap();
    let (code, text) = said(&output);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("not-theirs: Permission denied"), "{text}");

    // One file that cannot be read is told; the other one is copied.
    let output = agent.cp(&[":tree", "out"]).output().unwrap();
    let (code, text) = said(&output);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("in the container to open tree/secret: Permission denied"), "{text}");
    assert_eq!(fs::read_to_string(agent.at("out/file")).unwrap(), "data");
    assert!(!agent.at("out/secret").exists());

    // Who may not give files away says so.
    let output = agent.cp(&["-a", "tree/file", ":theirs/owned"]).output().unwrap();
    let (code, text) = said(&output);
    assert!(code == Some(1) && text.contains("only root may"), "{text}");
    assert_eq!(fs::read_to_string(agent.at("theirs/owned")).unwrap(), "data");
}

/// Makes a root directory with nothing in it but the binary, what it is linked with, and mount points.
fn bare_root(root: &Path) -> Option<()> {
    for directory in ["proc", "dev", "small", "run"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    fs::copy(DOORWARD, root.join("doorward")).unwrap();
    let listed = Command::new("ldd").arg(DOORWARD).output().ok()?;
    let listed = String::from_utf8(listed.stdout).ok()?;
    for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = root.join(&library[1..]);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(library, to).unwrap();
    }
    Some(())
}

#[test]
fn an_image_needs_neither_tar_nor_shell() {
    let root = tempfile::tempdir().unwrap();
    let script = "mount --rbind /proc \"$0/proc\" && mount --rbind /dev \"$0/dev\" && \
                  mount -t tmpfs -o size=2m tmpfs \"$0/small\" && exec chroot \"$0\" /doorward \"$@\"";
    if !is_root() || bare_root(root.path()).is_none() {
        return skip("image", "needs root and ldd");
    }
    let probe =
        Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        return skip("image", "cannot mount");
    }
    let mut command = clean("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(root.path());
    let agent = Agent::started(command, &["--state-dir", "/run/state"]);
    fs::create_dir(agent.at("tree")).unwrap();
    fs::write(agent.at("tree/file"), noise(300_000)).unwrap();
    let tree = everything(&agent.at("tree"));
    agent.copy(&["tree", ":in"]);
    assert_eq!(everything(&root.path().join("in")), tree);
    agent.copy(&[":/in", "out"]);
    assert_eq!(everything(&agent.at("out")), tree);

    // Two files fit, the third does not, and no fourth is tried.
    fs::create_dir(agent.at("much")).unwrap();
    for name in ["a", "b", "c", "d"] {
        fs::write(agent.at("much").join(name), noise(900_000)).unwrap();
    }
    let (code, text) = said(&agent.cp(&["much", ":/small"]).output().unwrap());
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("write /small/much/") && text.contains("No space left"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    let (code, text) = said(&agent.cp(&[":/small/much", "back"]).output().unwrap());
    assert_eq!((code, &text[..]), (Some(0), ""));
    let whole = everything(&agent.at("much"));
    let back = everything(&agent.at("back"));
    assert_eq!(back.len(), 3);
    for (path, what) in back.iter().filter(|(path, _)| *path != Path::new("")) {
        assert_eq!(whole.get(path), Some(what), "{path:?}");
    }
}

#[test]
fn an_agent_that_is_another_program_is_told_apart() {
    // Started so, the agent's own binary is the loader, which knows nothing of archives.
    let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
    if !loader.exists() {
        return skip("stranger", "there is no loader at its usual place");
    }
    let mut command = clean(loader);
    command.arg(DOORWARD);
    let agent = Agent::started(command, &[]);
    fs::write(agent.at("file"), "data").unwrap();
    for words in [["file", ":in"], [":file", "out"]] {
        let (code, text) = said(&agent.cp(&words).output().unwrap());
        assert_eq!(code, Some(125), "{text}");
        assert!(text.contains("it is no Doorward, or of another version (it says "), "{text}");
        assert!(!agent.at(words[1].trim_start_matches(':')).exists());
    }
}
