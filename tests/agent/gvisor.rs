//! gVisor has no pidfd, openat2 or close_range: what commands do there goes the fallbacks' way.

use std::process::{Command, Output};

use crate::support::{container::prepared, is_root, skip};

/// Runs a script in a fresh gVisor sandbox, where the binary is at its own path.
fn inside(script: &str) -> Option<Output> {
    if !is_root() {
        skip("gvisor", "not root");
        return None;
    }
    let runsc = prepared("gvisor")?.join("runsc");
    let mut command = Command::new(runsc);
    command.args(["--platform=systrap", "--network=none", "--ignore-cgroups", "do"]);
    let binary = env!("CARGO_BIN_EXE_doorward");
    Some(command.args(["sh", "-c", script, binary]).output().unwrap())
}

#[test]
fn a_command_runs_and_its_streams_and_code_come_back() {
    let script = "echo words | \"$0\" exec -i -- sh -c 'cat; echo err >&2; exit 7'";
    let Some(output) = inside(script) else { return };
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(output.stdout, b"words\n", "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("err\n"), "{output:?}");
}

#[test]
fn a_deadline_finds_what_tried_to_escape() {
    let script = "\"$0\" exec --timeout 1 -- sh -c \
                  'env -i setsid sleep 7101 & setsid sleep 7102 & sleep 7103'; echo code $?; \
                  cat /proc/[0-9]*/comm | grep '^sleep$' || echo none left";
    let Some(output) = inside(script) else { return };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "code 137\nnone left\n", "{output:?}");
}
