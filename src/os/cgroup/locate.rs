//! Finds the cgroup (v2) that we are in, and whether others can be made beneath it; and where
//! cgroups are mounted at all.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::os::features::Feature;

/// Whether we can make cgroups with cgroup.kill beneath our own.
pub(in crate::os) fn probe() -> Feature {
    match try_one() {
        Ok(()) => Feature::Have,
        Err(reason) => Feature::Missing(reason),
    }
}

static TRIALS: AtomicU64 = AtomicU64::new(0);

/// Makes one, looks for cgroup.kill in it, and removes it.
fn try_one() -> Result<(), String> {
    let own = locate()?;
    // Threads of one process may try at the same time.
    let number = TRIALS.fetch_add(1, Ordering::Relaxed);
    let trial = own.join(format!("doorward-probe-{}-{number}", process::id()));
    fs::create_dir(&trial).map_err(|error| format!("make {}: {error}", trial.display()))?;
    let kill = trial.join("cgroup.kill");
    let found = fs::metadata(&kill).map_err(|error| format!("find {}: {error}", kill.display()));
    fs::remove_dir(&trial).map_err(|error| format!("remove {}: {error}", trial.display()))?;
    found.map(|_| ())
}

/// The directory of the cgroup v2 that we are in, also where v1 hierarchies stand beside it.
pub(super) fn locate() -> Result<PathBuf, String> {
    let own = read("/proc/self/cgroup")?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::"));
    let own = own.ok_or("no cgroup v2 hierarchy")?;
    let mounts = mounts(Hierarchy::Unified)?;
    let mut reason = String::from("no cgroup v2 hierarchy is mounted");
    for directory in mounts.iter().filter_map(|mount| mount.find(own)) {
        match holds_us(&directory) {
            Ok(true) => return Ok(directory),
            Ok(false) => reason = format!("{} is not our cgroup", directory.display()),
            Err(error) => reason = format!("read {}: {error}", directory.display()),
        }
    }
    Err(reason)
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("read {path}: {error}"))
}

/// A hierarchy of cgroups that we look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hierarchy {
    /// Cgroup v2.
    Unified,
    /// That of the freezer of cgroup v1.
    Freezer,
    /// That of cgroup v1 which counts memory.
    Memory,
}

/// Where parts of a hierarchy are mounted.
pub(super) fn mounts(hierarchy: Hierarchy) -> Result<Vec<CgroupMount>, String> {
    let mounts = read("/proc/self/mountinfo")?;
    Ok(mounts.lines().filter_map(|line| parse_mount(line, hierarchy)).collect())
}

fn holds_us(directory: &Path) -> io::Result<bool> {
    let own = process::id().to_string();
    Ok(fs::read_to_string(directory.join("cgroup.procs"))?.lines().any(|pid| pid == own))
}

/// Where a part of a hierarchy is mounted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CgroupMount {
    /// The cgroup that is mounted.
    root: String,
    /// The directory where it is.
    pub(super) point: PathBuf,
}

impl CgroupMount {
    /// The directory of this cgroup, if it lies in this mount.
    pub(super) fn find(&self, cgroup: &str) -> Option<PathBuf> {
        let inner = match self.root.as_str() {
            "/" => cgroup,
            root => cgroup.strip_prefix(root)?,
        };
        match inner.trim_start_matches('/') {
            "" => Some(self.point.clone()),
            inner => Some(self.point.join(inner)),
        }
    }
}

/// Takes a line of /proc/self/mountinfo (proc_pid_mountinfo(5)) that mounts this hierarchy.
pub(super) fn parse_mount(line: &str, hierarchy: Hierarchy) -> Option<CgroupMount> {
    let (mount, source) = line.split_once(" - ")?;
    let mut source = source.split(' ');
    let (kind, options) = (source.next()?, source.nth(1).unwrap_or_default());
    let mounts_it = match hierarchy {
        Hierarchy::Unified => kind == "cgroup2",
        Hierarchy::Freezer => kind == "cgroup" && options.split(',').any(|o| o == "freezer"),
        Hierarchy::Memory => kind == "cgroup" && options.split(',').any(|o| o == "memory"),
    };
    if !mounts_it {
        return None;
    }
    let mut fields = mount.split(' ').skip(3);
    let root = unescape(fields.next()?);
    let point = unescape(fields.next()?).into();
    Some(CgroupMount { root, point })
}

/// Undoes the kernel's octal escapes of space, tab, newline and backslash.
fn unescape(field: &str) -> String {
    [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")]
        .iter()
        .fold(field.to_string(), |field, (from, to)| field.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_and_where_a_cgroup_lies_in_them() {
        let line = "29 23 0:26 /docker/ab /sys/fs/a\\040b rw,nosuid shared:4 - cgroup2 cgroup2 rw";
        let mount = parse_mount(line, Hierarchy::Unified).unwrap();
        assert_eq!(mount, CgroupMount { root: "/docker/ab".into(), point: "/sys/fs/a b".into() });
        assert_eq!(mount.find("/docker/ab"), Some("/sys/fs/a b".into()));
        assert_eq!(mount.find("/docker/ab/c/d"), Some("/sys/fs/a b/c/d".into()));
        assert_eq!(mount.find("/other"), None);
        let whole = CgroupMount { root: "/".into(), point: "/sys/fs/cgroup".into() };
        assert_eq!(whole.find("/"), Some("/sys/fs/cgroup".into()));
        assert_eq!(whole.find("/x"), Some("/sys/fs/cgroup/x".into()));
        for other in
            ["", "29 23 0:26 / /sys rw - tmpfs tmpfs rw", "a - cgroup2", "29 - cgroup2 x y"]
        {
            assert_eq!(parse_mount(other, Hierarchy::Unified), None, "{other}");
        }
        let line = "37 31 0:34 / /sys/fs/cgroup/f rw - cgroup cgroup rw,freezer";
        let mount = parse_mount(line, Hierarchy::Freezer).unwrap();
        assert_eq!(mount.find("/x"), Some("/sys/fs/cgroup/f/x".into()));
        assert_eq!(parse_mount(line, Hierarchy::Unified), None);
        let other = "37 31 0:34 / /sys/fs/cgroup/f rw - cgroup cgroup rw,cpu";
        assert_eq!(parse_mount(other, Hierarchy::Freezer), None);
        let line = "37 31 0:34 / /sys/fs/cgroup/m rw - cgroup cgroup rw,memory";
        let mount = parse_mount(line, Hierarchy::Memory).unwrap();
        assert_eq!(mount.find("/x"), Some("/sys/fs/cgroup/m/x".into()));
        assert_eq!(parse_mount(other, Hierarchy::Memory), None);
    }
}
