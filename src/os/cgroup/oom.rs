//! How often the kernel killed a process of our container for want of memory.
//!
//! The count is the `oom_kill` of memory.events (v2) or memory.oom_control (v1) in the cgroup that
//! we are in; in v2 it has the kills of all cgroups beneath. The kernel counts before it kills,
//! so the count has risen by the time that the victim is reaped. Whom it killed it does not say.

use std::{fs, os::fd::OwnedFd, path::PathBuf};

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};

use super::{
    locate::{self, CgroupMount, Hierarchy},
    oom_kills,
};

/// The count of the container, and how many of it were explained.
#[derive(Debug)]
pub struct OomKills {
    /// Open as long as we live: a look costs one system call.
    file: Result<OwnedFd, String>,
    /// Kills up to this count were laid to some process, or to none of ours.
    explained: Mutex<u64>,
}

impl OomKills {
    /// Finds the count, or the reason why there is none.
    pub fn open() -> Self {
        let mut reason = String::from("no cgroup of ours counts memory");
        let file = files().into_iter().find_map(|path| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            match rustix::fs::open(&path, flags, Mode::empty()) {
                Ok(file) if count(&file).is_some() => Some(file),
                Ok(_) => {
                    reason = format!("{} has no oom_kill", path.display());
                    None
                }
                Err(error) => {
                    reason = format!("open {}: {error}", path.display());
                    None
                }
            }
        });
        Self { file: file.ok_or(reason), explained: Mutex::new(0) }
    }

    /// Why there is no count, if there is none.
    pub fn missing(&self) -> Option<&str> {
        self.file.as_ref().err().map(String::as_str)
    }

    /// The count as it is now.
    pub fn count(&self) -> Option<u64> {
        count(self.file.as_ref().ok()?)
    }

    /// Whether the kernel has killed somebody since the count was `before`, whom no earlier call
    /// has laid it to. It explains one kill: of two victims each is told yes.
    pub fn explain(&self, before: Option<u64>) -> bool {
        let (Some(before), Some(now)) = (before, self.count()) else { return false };
        let mut explained = self.explained.lock();
        let known = before.max(*explained);
        let rose = now > known;
        if rose {
            *explained = known + 1;
        }
        rose
    }
}

/// Where the count may stand, the likeliest first.
fn files() -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = |hierarchy| locate::mounts(hierarchy).unwrap_or_default();
    candidates(&own, &mounts(Hierarchy::Unified), &mounts(Hierarchy::Memory))
}

/// In each hierarchy our own cgroup, or what is mounted where that is shown without its name.
fn candidates(own: &str, unified: &[CgroupMount], memory: &[CgroupMount]) -> Vec<PathBuf> {
    let of = |is_it: fn(&str) -> bool| {
        own.lines().find_map(|line| {
            let (controllers, cgroup) = line.split_once(':')?.1.split_once(':')?;
            is_it(controllers).then_some(cgroup)
        })
    };
    let in_unified = of(str::is_empty);
    let in_memory = of(|controllers| controllers.split(',').any(|one| one == "memory"));
    let mut files = Vec::new();
    for (mounts, cgroup, file) in
        [(unified, in_unified, "memory.events"), (memory, in_memory, "memory.oom_control")]
    {
        let found = mounts.iter().filter_map(|mount| mount.find(cgroup?));
        files.extend(found.map(|directory| directory.join(file)));
        files.extend(mounts.iter().map(|mount| mount.point.join(file)));
    }
    files
}

fn count(file: &OwnedFd) -> Option<u64> {
    let mut buffer = [0; 1024];
    let read = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut buffer, 0)).ok()?;
    oom_kills(str::from_utf8(&buffer[..read]).ok()?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn counts_of_both_versions() {
        let v2 = "low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(oom_kills(v2), Some(2));
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"), Some(5));
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\n"), None);
        assert_eq!(oom_kills("oom_kill x\n"), None);
    }

    #[test]
    fn where_kills_for_want_of_memory_are_counted() {
        let files = |own: &str, mounts: &str| {
            let of = |hierarchy| {
                let mounts = mounts.lines();
                mounts.filter_map(|line| locate::parse_mount(line, hierarchy)).collect::<Vec<_>>()
            };
            let files = candidates(own, &of(Hierarchy::Unified), &of(Hierarchy::Memory));
            files.iter().map(|file| file.to_str().unwrap().to_string()).collect::<Vec<_>>()
        };
        let two = "29 23 0:26 / /cg rw - cgroup2 cgroup2 rw";
        assert_eq!(files("0::/a/b\n", two), ["/cg/a/b/memory.events", "/cg/memory.events"]);
        // A mount that shows our container, while its name is that of the host.
        let inner = "29 23 0:26 /docker/ab /cg rw - cgroup2 cgroup rw";
        let root = "/cg/memory.events";
        assert_eq!(files("0::/docker/ab\n", inner), [root, root]);
        assert_eq!(files("0::/../../ab\n", inner), [root]);
        let one = "30 23 0:27 / /m rw - cgroup cgroup rw,seclabel,memory\n\
                   31 23 0:28 / /c rw - cgroup cgroup rw,cpu";
        assert_eq!(
            files("4:cpu:/x\n3:memory:/y\n0::/\n", one),
            ["/m/y/memory.oom_control", "/m/memory.oom_control"]
        );
        assert_eq!(files("", ""), Vec::<String>::new());
    }

    #[test]
    fn each_kill_explains_one_end() {
        let mut file = tempfile::tempfile().unwrap();
        let mut set = |count: u64| {
            file.set_len(0).unwrap();
            std::io::Seek::rewind(&mut file).unwrap();
            writeln!(file, "oom_kill {count}").unwrap();
            file.try_clone().unwrap()
        };
        let kills = OomKills { file: Ok(OwnedFd::from(set(3))), explained: Mutex::new(0) };
        let before = kills.count();
        assert_eq!(before, Some(3));
        assert!(!kills.explain(before));
        set(5);
        assert!(kills.explain(before));
        assert!(kills.explain(before));
        assert!(!kills.explain(before), "both are explained");
        assert!(!kills.explain(Some(5)), "from before it began");
        assert!(!kills.explain(None));
        set(6);
        assert!(kills.explain(Some(5)));
        let none = OomKills { file: Err("none".into()), explained: Mutex::new(0) };
        assert!(!none.explain(Some(0)));
    }
}
