//! An agent whose root directory is a small file system of its own, as in a container.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{support::Setup, world::World};

/// Programs of the small file system: one file with many names.
const PROGRAMS: [&str; 12] =
    ["sh", "cat", "ls", "mkdir", "ln", "test", "touch", "echo", "rm", "mount", "id", "true"];

/// A shell that needs nothing else, or none if there is no such shell here.
fn busybox() -> Option<&'static str> {
    let is_static = |path: &&str| {
        let libraries = Command::new("ldd").arg(path).output();
        Path::new(path).exists() && libraries.is_ok_and(|output| !output.status.success())
    };
    ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(is_static)
}

/// Makes a small file system in the world; none if there is no shell for it.
pub(crate) fn root(world: &World) -> Option<PathBuf> {
    let program = busybox()?;
    let top = PathBuf::from(world.tree("root"));
    for folder in ["bin", "etc", "proc", "dev", "tmp", "run", "var/lib/doorward", "place"] {
        fs::create_dir_all(top.join(folder)).unwrap();
    }
    fs::copy(program, top.join("bin/busybox")).unwrap();
    for name in PROGRAMS {
        symlink("busybox", top.join("bin").join(name)).unwrap();
    }
    fs::write(top.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
    fs::write(top.join("etc/marked"), "marked\n").unwrap();
    fs::write(top.join("tmp/kept"), "kept\n").unwrap();
    Some(top)
}

/// Makes an agent to be run with this root directory. Its own binary, the libraries and `setup`'s directory
/// are mounted there, as a container tool would do it, and so are no part of the file system.
pub(crate) fn within(world: &World, root: &Path, setup: Setup) -> Setup {
    let script = r#"
        set -e
        root=$1 own=$2 binary=$3
        shift 3
        mount --bind "$root" "$root"
        mount -t proc proc "$root/proc"
        mount -t tmpfs tmpfs "$root/dev"
        for name in null zero urandom; do
            touch "$root/dev/$name"
            mount --bind "/dev/$name" "$root/dev/$name"
        done
        mkdir -p "$root$own"
        mount --bind "$own" "$root$own"
        for file in $binary $(ldd "$binary" | grep -o '/[^ ]*'); do
            mkdir -p "$root$(dirname "$file")"
            touch "$root$file"
            mount --bind "$(realpath "$file")" "$root$file"
        done
        exec chroot "$root" "$@"
    "#;
    let own = setup.path("");
    let namespace = world.namespace().unwrap();
    let binary = env!("CARGO_BIN_EXE_doorward");
    let root = root.to_str().unwrap();
    let words =
        ["nsenter", &namespace, "--", "sh", "-c", script, "sh", root, own.trim_end_matches('/')];
    let [one, two, three, four, five, six, seven, eight, nine] = words;
    setup
        .state("/var/lib/doorward")
        .env("PATH", "/bin:/usr/bin:/sbin:/usr/sbin")
        .wrapped([one, two, three, four, five, six, seven, eight, nine, binary])
}
