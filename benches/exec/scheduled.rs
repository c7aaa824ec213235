//! A cgroup of the cpu controller, as each container's processes are in.
//!
//! Outside of one the kernel schedules every session as a group of its own (autogroup, sched(7)): whoever starts a session
//! for each command pays for that in changes between groups, and the floor, which starts none, does not. In a
//! container nobody does. So the crowd and its floor are measured in one such cgroup.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

/// A cgroup that this process is in, and what it starts. Dropping it leaves and removes it.
pub(crate) struct CpuGroup {
    directory: PathBuf,
    parent: PathBuf,
}

impl CpuGroup {
    /// Enters a new one; nothing where this process is in one already, or where none can be made.
    pub(crate) fn enter() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let parent = own.lines().find_map(root_of_cpu)?;
        let directory = parent.join(format!("doorward-bench-{}", process::id()));
        fs::create_dir(&directory).ok()?;
        let group = Self { directory, parent };
        move_to(&group.directory).then_some(group)
    }
}

impl Drop for CpuGroup {
    fn drop(&mut self) {
        move_to(&self.parent);
        // What is still in it keeps it, and is told by nothing else than that it is there.
        let _ = fs::remove_dir(&self.directory);
    }
}

/// Where the cpu controller's hierarchy begins (cgroup v1), if that is where the line of /proc/self/cgroup says that
/// this process is.
fn root_of_cpu(line: &str) -> Option<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let has_cpu = controllers.split(',').any(|controller| controller == "cpu");
    (has_cpu && path == "/").then(|| Path::new("/sys/fs/cgroup").join(controllers))
}

fn move_to(directory: &Path) -> bool {
    fs::write(directory.join("cgroup.procs"), process::id().to_string()).is_ok()
}
