//! The agent as PID 1 of a container, where `DOORWARD_TESTS_IN=podman` asks for it: the same tests,
//! in a default podman container, where cgroups are read-only and capabilities few.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::atomic::{AtomicU32, Ordering},
};

use super::skip;

/// A container to be.
pub(crate) struct Container {
    name: String,
}

/// Whether agents run in containers.
pub(crate) fn wanted() -> bool {
    std::env::var("DOORWARD_TESTS_IN").is_ok_and(|place| place == "podman")
}

/// Where `tests/containers/prepare` put things, or why there is nothing.
pub(crate) fn prepared(group: &str) -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("containers");
    if dir.join("complete").exists() {
        return Some(dir);
    }
    skip(group, &format!("run `tests/containers/prepare {}` first", dir.display()));
    None
}

/// podman, with a configuration that keeps to itself.
pub(crate) fn podman(prepared: &Path) -> Command {
    let mut command = Command::new("podman");
    command.env("CONTAINERS_CONF", prepared.join("containers.conf"));
    command.env("CONTAINERS_STORAGE_CONF", prepared.join("storage.conf"));
    command
}

impl Container {
    /// A name of its own.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { name: format!("doorward-test-{}-{number}", std::process::id()) }
    }

    /// The command that runs `words` as PID 1, with the binary and `shared` at their own paths.
    pub(crate) fn command(
        &self,
        shared: &[&Path],
        words: &[String],
        env: &[(String, String)],
    ) -> Command {
        let prepared = prepared("containers").expect("containers were asked for");
        let binary = env!("CARGO_BIN_EXE_doorward");
        let mut command = podman(&prepared);
        command.args(["run", "--rm", "--name", &self.name, "--network", "host"]);
        for path in shared.iter().filter(|path| path.exists()) {
            command.arg("-v").arg(format!("{}:{0}:rbind", path.display()));
        }
        command.arg("-v").arg(format!("{binary}:{binary}:ro"));
        for (key, value) in env {
            command.arg("-e").arg(format!("{key}={value}"));
        }
        if let Ok(disabled) = std::env::var("DOORWARD_DISABLE") {
            command.arg("-e").arg(format!("DOORWARD_DISABLE={disabled}"));
        }
        command.arg("--rootfs").arg(format!("{}:O", prepared.join("rootfs").display()));
        command.args(words);
        command
    }

    /// PID 1 of the running container, as the host sees it.
    pub(crate) fn pid(&self) -> Option<u32> {
        let prepared = prepared("containers")?;
        let mut inspect = podman(&prepared);
        let output = inspect.args(["inspect", "--format", "{{.State.Pid}}", &self.name]).output();
        let pid = String::from_utf8(output.ok()?.stdout).ok()?.trim().parse().ok()?;
        Some(pid).filter(|pid| *pid != 0)
    }

    /// Ends it, whatever it does.
    pub(crate) fn kill(&self, child: &mut Child) {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Some(prepared) = prepared("containers") {
            let _ = podman(&prepared).args(["rm", "-f", "-t", "0", &self.name]).output();
        }
    }
}
