//! The static binary alone in a container: no libc, no shell of its own, limits on everything.

use std::{path::PathBuf, process::Output};

use crate::support::{
    container::{podman, prepared},
    have, is_root, skip,
};

/// The static release binary, as `.ci/run` or a user builds it.
fn static_binary() -> Option<PathBuf> {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("..");
    let path = target.join("x86_64-unknown-linux-gnu/dist/doorward");
    if path.exists() {
        return path.canonicalize().ok();
    }
    skip("containers", "no static binary: see README, \"Building the static binary\"");
    None
}

/// Runs a container from scratch with nothing in it but the static binary and busybox.
fn run(flags: &[&str], words: &[&str]) -> Option<Output> {
    if !is_root() || !have("podman") {
        skip("containers", "needs root and podman");
        return None;
    }
    let (prepared, binary) = (prepared("containers")?, static_binary()?);
    let root = tempfile::tempdir().unwrap();
    let make = "cd \"$0\" && mkdir -p bin dev proc sys tmp etc run && chmod 1777 tmp && cp \"$1\" doorward && \
                cp /bin/busybox bin/; \
                for name in sh cat echo seq sleep setsid env id ls; do ln -s busybox bin/$name; done";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", make]).arg(root.path()).arg(&binary);
    assert!(command.status().unwrap().success());
    let mut command = podman(&prepared);
    command.args(["run", "--rm", "--network", "host"]).args(flags);
    command.arg("--rootfs").arg(root.path()).args(words);
    Some(command.output().unwrap())
}

fn check(flags: &[&str], words: &[&str], code: i32, stdout: &str) {
    let Some(output) = run(flags, words) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!((output.status.code(), said.as_ref()), (Some(code), stdout), "{output:?}");
}

#[test]
fn it_runs_with_nothing_around_it() {
    check(&[], &["/doorward", "exec", "--", "/bin/echo", "hi"], 0, "hi\n");
    check(&[], &["/doorward", "exec", "--", "sh", "-c", "seq 3; exit 9"], 9, "1\n2\n3\n");
}

#[test]
fn the_file_api_needs_nothing_of_the_image() {
    let tool = "/__modal/.bin/modal-sandbox-fs-tools";
    for user in ["0", "1000"] {
        let call = format!(r#"{{"MakeDirectory":{{"path":"/tmp/{user}"}}}}"#);
        let words = ["/doorward", "exec", "--", tool, &call];
        check(&["--user", user], &words, 0, "");
    }
}

#[test]
fn it_runs_with_little_memory_and_few_processes() {
    let flags = ["--memory", "32m", "--pids-limit", "64"];
    check(&flags, &["/doorward", "exec", "--", "seq", "3"], 0, "1\n2\n3\n");
}

#[test]
fn it_runs_read_only_without_capabilities_as_an_ordinary_user() {
    let flags = ["--read-only", "--cap-drop", "all", "--user", "1000:1000"];
    check(&flags, &["/doorward", "exec", "--", "id", "-u"], 0, "1000\n");
}

#[test]
fn it_runs_beside_an_init() {
    check(&["--pid", "host"], &["/doorward", "exec", "--", "echo", "hi"], 0, "hi\n");
}

#[test]
fn an_entrypoint_is_pid_ones_child_and_its_code_the_containers() {
    let words = [
        "/doorward",
        "serve",
        "--task-id",
        "ta-1",
        "--listen",
        "unix:///run/doorward.sock",
        "--",
        "sh",
        "-c",
        "echo logged; (setsid sleep 0.2 &); exit 5",
    ];
    check(&[], &words, 5, "logged\n");
}
