//! The pool of cgroups, with real ones.

use std::{fs, process::Command};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::*;

/// A pool, or the reason why this machine has none: then the test says so and ends.
pub(in crate::os) fn pool(test: &str) -> Option<Pool> {
    match Pool::open(&Features::probe("").unwrap()) {
        Ok(pool) => Some(pool),
        Err(reason) => {
            println!("SKIPPED: {test}: no cgroup: {reason}");
            assert!(std::env::var_os("DOORWARD_TESTS_MUST_RUN").is_none());
            None
        }
    }
}

/// Where a cgroup is, for a shell to write itself into.
pub(in crate::os) fn path(group: &Group) -> String {
    let open = group.open().unwrap();
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
    fs::read_link(link).unwrap().to_str().unwrap().to_string()
}

#[test]
fn one_is_used_again_only_when_nothing_is_in_it() {
    let Some(pool) = pool("cgroup reuse") else { return };
    let group = pool.take().unwrap();
    let (first, place) = (group.number, path(&group));
    assert!(!group.is_populated().unwrap());
    // A cgroup that the command makes within its own is removed with it.
    let script = format!("echo $$ >{place}/cgroup.procs; mkdir {place}/inner; exec sleep 1000");
    let mut child = Command::new("sh").args(["-c", &script]).spawn().unwrap();
    while !fs::exists(format!("{place}/inner")).unwrap() {
        std::thread::yield_now();
    }
    assert!(group.is_populated().unwrap());
    drop(group);
    let other = pool.take().unwrap();
    assert_ne!(other.number, first, "something lives in it");
    child.kill().unwrap();
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    rustix::process::waitid(WaitId::Pid(Pid::from_child(&child)), options).unwrap();
    // Its end can be awaited a moment before it has left the cgroup.
    while fs::read_to_string(format!("{place}/cgroup.events")).unwrap().contains("populated 1") {
        std::thread::yield_now();
    }
    let again = pool.take().unwrap();
    assert_eq!(again.number, first);
    assert!(!fs::exists(format!("{place}/inner")).unwrap());
    again.cpu_usec().unwrap();
    child.wait().unwrap();
    drop((other, again));
    pool.close();
    assert!(!fs::exists(place).unwrap());
}

/// Without this an exec after a deadline was born dead: killed by its predecessor's kill.
#[test]
fn one_that_was_killed_holds_no_other_exec() {
    let Some(pool) = pool("cgroup kill") else { return };
    let killed = pool.take().unwrap();
    let (number, place) = (killed.number, path(&killed));
    killed.kill().unwrap();
    drop(killed);
    let other = pool.take().unwrap();
    assert_ne!(other.number, number);
    assert!(!fs::exists(place).unwrap());
    drop(other);
    pool.close();
}

/// Files stand in for a kernel that counts memory for each cgroup, which few containers let us
/// have.
#[test]
fn a_cgroup_that_counts_memory_tells_its_own_kills() {
    let dir = tempfile::tempdir().unwrap();
    let home = |name: &str| {
        let open =
            |path: &std::path::Path| rustix::fs::open(path, DIRECTORY, Mode::empty()).unwrap();
        fs::create_dir_all(dir.path().join(name).join("7")).unwrap();
        let directory = open(&dir.path().join(name));
        let (numbers, memory) = (Mutex::default(), OnceLock::new());
        let parent = open(dir.path());
        Arc::new(Home { parent, name: name.into(), directory, numbers, memory })
    };
    let counting = Group { home: home("counting"), number: 7, empty: false };
    let place = dir.path().join("counting/7");
    fs::write(place.join("memory.events"), "oom 1\noom_kill 3\n").unwrap();
    fs::write(place.join("memory.current"), "4096\n").unwrap();
    assert_eq!((counting.oom_kills(), counting.memory_bytes()), (Some(3), Some(4096)));
    let not = Group { home: home("not"), number: 7, empty: false };
    assert_eq!((not.oom_kills(), not.memory_bytes()), (None, None));
}

#[test]
fn one_that_was_seen_empty_is_the_next_one_and_a_killed_one_never() {
    let Some(pool) = pool("cgroup given back") else { return };
    let (mut group, other) = (pool.take().unwrap(), pool.take().unwrap());
    let (number, place) = (group.number, path(&group));
    let script = format!("echo $$ >{place}/cgroup.procs; echo; exec sleep 1000");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).stdout(std::process::Stdio::piped());
    let mut child = shell.spawn().unwrap();
    let said = std::io::Read::read(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    assert_eq!(said, 1);
    assert!(!group.is_done(), "something lives in it");
    child.kill().unwrap();
    child.wait().unwrap();
    while !group.is_done() {
        std::thread::yield_now();
    }
    drop(group);
    let mut again = pool.take().unwrap();
    assert_eq!(again.number, number);
    again.kill().unwrap();
    assert!(again.is_done());
    drop(again);
    assert_ne!(pool.take().unwrap().number, number);
    drop(other);
    pool.close();
}

#[test]
fn what_is_kept_is_bounded_and_what_dead_agents_left_is_removed() {
    let Some(pool) = pool("cgroup leftovers") else { return };
    let groups: Vec<_> = (0..CGROUPS_EMPTY_MAX + 8).map(|_| pool.take().unwrap()).collect();
    let home = path(&groups[0]).trim_end_matches("/1").to_string();
    drop(groups);
    for _ in 0..16 {
        drop(pool.take().unwrap());
    }
    assert!(pool.0.numbers.lock().made <= CGROUPS_EMPTY_MAX + 1);
    // Another agent that starts leaves a living one's alone.
    let second = super::tests::pool("cgroup leftovers").unwrap();
    assert!(fs::exists(&home).unwrap());
    // Dropped without being closed, as by a crash.
    drop(pool);
    let third = super::tests::pool("cgroup leftovers").unwrap();
    assert!(!fs::exists(&home).unwrap());
    second.close();
    third.close();
}
