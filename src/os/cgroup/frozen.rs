//! Whether a process stands still because its cgroup is frozen. Under cgroup v1 not even KILL ends
//! it before the thaw, and to /proc it looks as if it waited for a disk.

use std::{fs, path::PathBuf};

use rustix::process::Pid;

use super::locate::{Hierarchy, mounts};

/// Whether this process is frozen, as far as we can see its cgroups.
pub fn is_frozen(pid: Pid) -> bool {
    let Ok(groups) = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_pid())) else {
        return false;
    };
    groups.lines().filter_map(parse_group).any(|(hierarchy, group)| {
        let (file, frozen): (_, fn(&str) -> bool) = match hierarchy {
            Hierarchy::Unified => {
                ("cgroup.events", |events| events.lines().any(|line| line == "frozen 1"))
            }
            // FREEZING too: a part of it stands still.
            Hierarchy::Freezer => ("freezer.state", |state| state.trim_end() != "THAWED"),
            Hierarchy::Memory => return false,
        };
        let read = |directory: PathBuf| fs::read_to_string(directory.join(file)).ok();
        let mounted = mounts(hierarchy).unwrap_or_default();
        mounted
            .iter()
            .filter_map(|mount| mount.find(group))
            .find_map(read)
            .is_some_and(|f| frozen(&f))
    })
}

/// Takes a line of /proc/PID/cgroup (cgroups(7)) of a hierarchy that can freeze.
fn parse_group(line: &str) -> Option<(Hierarchy, &str)> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, group) = (fields.next()?, fields.next()?);
    if controllers.is_empty() {
        return Some((Hierarchy::Unified, group));
    }
    let freezes = controllers.split(',').any(|controller| controller == "freezer");
    freezes.then_some((Hierarchy::Freezer, group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_that_freeze() {
        assert_eq!(parse_group("0::/a:b"), Some((Hierarchy::Unified, "/a:b")));
        assert_eq!(parse_group("6:freezer:/x"), Some((Hierarchy::Freezer, "/x")));
        assert_eq!(parse_group("6:cpu,freezer:/"), Some((Hierarchy::Freezer, "/")));
        for other in ["5:devices:/x", "1:name=freezer:/x", "", "6:freezer"] {
            assert_eq!(parse_group(other), None, "{other}");
        }
    }

    #[test]
    fn we_are_not_frozen() {
        assert!(!is_frozen(rustix::process::getpid()));
    }
}
