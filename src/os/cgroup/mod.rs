//! Cgroups (v2) of our own, one an exec, where the container lets us have them.
//!
//! A cgroup is what a process cannot leave (without rights over cgroups of its own), and
//! cgroup.kill ends all that is in one with no fork in between. To be born into one adds 8 µs to
//! a start, to make and remove it another 65; so empty ones are kept and used again, but only
//! once the kernel says that nothing is in them.
//!
//! All of one agent's cgroups lie in one directory that it holds a lock on (flock(2)); a directory
//! without a lock is a dead agent's, and is removed if it is empty. No descriptor is kept for each.

mod frozen;
mod locate;
mod oom;

use std::{
    collections::{BTreeSet, VecDeque},
    ffi::CStr,
    fmt::Display,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use rustix::{
    fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags},
    io::Errno,
};

pub use self::frozen::is_frozen;
pub(super) use self::locate::probe;
pub use self::oom::OomKills;
use super::features::{Feature, Features};
use crate::core::limits::{CGROUPS_EMPTY_MAX, CGROUPS_MAX, CGROUPS_STALE_MAX};

/// Cgroups for execs; clones share them.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Home>);

/// A cgroup that holds the processes of one exec. Dropping the last handle gives it back to the
/// pool; until its last process has ended it stays out of use.
#[derive(Debug)]
pub struct Group {
    home: Arc<Home>,
    number: u32,
    /// Whether it was seen to be as good as new.
    empty: bool,
}

/// The directory that holds them all.
#[derive(Debug)]
struct Home {
    parent: OwnedFd,
    name: String,
    /// Locked as long as we live.
    directory: OwnedFd,
    /// Guards the numbers; never held during a system call.
    numbers: Mutex<Numbers>,
    /// Whether memory is counted for each of them; known once one was looked at.
    memory: OnceLock<bool>,
}

#[derive(Debug, Default)]
struct Numbers {
    /// Given back, longest ago first; something may still live in them.
    idle: VecDeque<u32>,
    /// Given back when nothing was in them.
    empty: Vec<u32>,
    /// Those that were killed: Linux 6.18 kills whatever is born into one later too, because
    /// clone3 compares the kill count of the parent's cgroup with that of the new one.
    spent: BTreeSet<u32>,
    /// How many directories there are.
    made: usize,
    next: u32,
}

impl Pool {
    /// Makes the directory, and removes those of dead agents. Says why there can be none.
    pub fn open(features: &Features) -> Result<Self, String> {
        match &features.cgroup {
            Feature::Have => {}
            Feature::Missing(reason) => return Err(reason.clone()),
        }
        let path = locate::locate()?;
        let in_path = |error: &dyn Display| format!("{}: {error}", path.display());
        let parent = rustix::fs::open(&path, DIRECTORY, Mode::empty()).map_err(|e| in_path(&e))?;
        remove_stale(parent.as_fd()).map_err(|error| in_path(&error))?;
        let (name, directory) = make_locked(parent.as_fd())
            .or_else(|_| make_locked(parent.as_fd()))
            .map_err(|error| in_path(&error))?;
        Ok(Self(Arc::new(Home {
            parent,
            name,
            directory,
            numbers: Mutex::default(),
            memory: OnceLock::new(),
        })))
    }

    /// Takes a cgroup with nothing in it; `None` where no more can be had. Microseconds if one
    /// is kept, and a tenth of a millisecond if it must be made.
    pub fn take(&self) -> Option<Group> {
        self.trim();
        let number = self.reuse().or_else(|| self.make())?;
        Some(Group { home: self.0.clone(), number, empty: false })
    }

    /// Removes every cgroup that nothing lives in, and the directory if that was all.
    pub fn close(&self) {
        let idle: Vec<_> = {
            let mut numbers = self.0.numbers.lock();
            let empty = std::mem::take(&mut numbers.empty);
            numbers.idle.drain(..).chain(empty).collect()
        };
        for number in idle {
            self.remove(number);
        }
        if let Err(errno) = rustix::fs::unlinkat(&self.0.parent, &*self.0.name, AtFlags::REMOVEDIR)
        {
            tracing::info!(%errno, "ignoring that cgroup {} is not empty", self.0.name);
        }
    }

    /// Takes one that was empty, or looks at the two that were given back longest ago: what lives in
    /// one may live for ever.
    fn reuse(&self) -> Option<u32> {
        if let Some(number) = self.0.numbers.lock().empty.pop() {
            return Some(number);
        }
        for _ in 0..2 {
            let number = self.0.numbers.lock().idle.pop_front()?;
            // Its count of kills would be laid to the next exec.
            let spent = self.0.numbers.lock().spent.contains(&number);
            if spent || self.0.oom_kills(number).is_some_and(|kills| kills > 0) {
                self.remove(number);
                continue;
            }
            match self.0.make_clean(number) {
                Ok(()) => return Some(number),
                Err(Errno::BUSY) => self.0.numbers.lock().idle.push_back(number),
                Err(errno) => {
                    tracing::warn!(%errno, "ignoring cgroup {number}, which cannot be used again");
                    self.remove(number);
                }
            }
        }
        None
    }

    fn make(&self) -> Option<u32> {
        let number = {
            let mut numbers = self.0.numbers.lock();
            if numbers.made >= CGROUPS_MAX {
                return None;
            }
            numbers.made += 1;
            numbers.next += 1;
            numbers.next
        };
        match rustix::fs::mkdirat(&self.0.directory, &*number.to_string(), Mode::from(0o755)) {
            Ok(()) => Some(number),
            Err(errno) => {
                self.0.numbers.lock().made -= 1;
                tracing::warn!(%errno, "ignoring a failure to make a cgroup");
                None
            }
        }
    }

    /// Removes one of too many that are kept.
    fn trim(&self) {
        let number = {
            let mut numbers = self.0.numbers.lock();
            if numbers.idle.len() + numbers.empty.len() <= CGROUPS_EMPTY_MAX {
                return;
            }
            numbers.empty.pop().or_else(|| numbers.idle.pop_front())
        };
        if let Some(number) = number {
            self.remove(number);
        }
    }

    /// Removes a cgroup; if something lives in it, it stays among those given back.
    fn remove(&self, number: u32) {
        let name = number.to_string();
        let removed = match rustix::fs::unlinkat(&self.0.directory, &*name, AtFlags::REMOVEDIR) {
            Err(Errno::BUSY) => remove_within(self.0.directory.as_fd(), &name)
                .and_then(|()| rustix::fs::unlinkat(&self.0.directory, &*name, AtFlags::REMOVEDIR)),
            removed => removed,
        };
        let mut numbers = self.0.numbers.lock();
        match removed {
            Ok(()) | Err(Errno::NOENT) => {
                numbers.made = numbers.made.saturating_sub(1);
                numbers.spent.remove(&number);
            }
            Err(_) => numbers.idle.push_back(number),
        }
    }
}

impl Group {
    /// Opens the directory, for clone3(2) with CLONE_INTO_CGROUP.
    pub fn open(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(self.home.open(self.number, "", flags)?)
    }

    /// Kills every process in it and beneath it, with no fork in between. It holds no other exec
    /// afterwards.
    pub fn kill(&self) -> io::Result<()> {
        self.home.numbers.lock().spent.insert(self.number);
        let file = self.home.open(self.number, "cgroup.kill", OFlags::WRONLY | OFlags::CLOEXEC)?;
        rustix::io::write(file, b"1")?;
        Ok(())
    }

    /// Whether nothing lives in it, so that it can be given back: the next exec gets it without another
    /// look. A handful of system calls.
    pub fn is_done(&mut self) -> bool {
        if self.home.make_clean(self.number).is_err() {
            return false;
        }
        // Its count of kills would be laid to the next exec.
        let killed = self.home.oom_kills(self.number).is_some_and(|kills| kills > 0);
        self.empty = !killed;
        true
    }

    /// Whether a process is in it or beneath it.
    pub fn is_populated(&self) -> io::Result<bool> {
        Ok(self.home.is_populated(self.number)?)
    }

    /// Memory that its processes hold, in bytes; absent where memory is not counted by cgroup.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.home.memory_file(self.number, "memory.current", |text| text.trim().parse().ok())
    }

    /// How many processes in it the kernel killed for want of memory; absent where memory is not
    /// counted by cgroup.
    pub fn oom_kills(&self) -> Option<u64> {
        self.home.oom_kills(self.number)
    }

    /// Processor time that all its processes have used, ended ones and those of earlier execs
    /// too, in microseconds: only differences mean something.
    pub fn cpu_usec(&self) -> io::Result<u64> {
        let mut buffer = [0; 1024];
        let stat = self.home.read(self.number, "cpu.stat", &mut buffer)?;
        let used = lines(stat).find_map(|line| line.strip_prefix("usage_usec "));
        used.and_then(|used| used.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let mut numbers = self.home.numbers.lock();
        if self.empty && !numbers.spent.contains(&self.number) {
            numbers.empty.push(self.number);
        } else {
            numbers.idle.push_back(self.number);
        }
    }
}

impl Home {
    fn open(&self, number: u32, file: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut path = [0; 64];
        write!(&mut path[..], "{number}/{file}\0").map_err(|_| Errno::NAMETOOLONG)?;
        let path = CStr::from_bytes_until_nul(&path).map_err(|_| Errno::INVAL)?;
        rustix::fs::openat(&self.directory, path, flags, Mode::empty())
    }

    fn read<'a>(&self, number: u32, file: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
        let file = self.open(number, file, OFlags::RDONLY | OFlags::CLOEXEC)?;
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *buffer))?;
        Ok(&buffer[..read])
    }

    fn oom_kills(&self, number: u32) -> Option<u64> {
        self.memory_file(number, "memory.events", oom_kills)
    }

    /// Reads a file of the memory controller, where the cgroups have it; most have not, and are
    /// asked once.
    fn memory_file<T>(
        &self,
        number: u32,
        file: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let mut buffer = [0; 1024];
        if !*self.memory.get_or_init(|| self.read(number, "memory.events", &mut [0; 64]).is_ok()) {
            return None;
        }
        parse(str::from_utf8(self.read(number, file, &mut buffer).ok()?).ok()?)
    }

    fn is_populated(&self, number: u32) -> Result<bool, Errno> {
        let mut buffer = [0; 256];
        let events = self.read(number, "cgroup.events", &mut buffer)?;
        Ok(!lines(events).any(|line| line == "populated 0"))
    }

    /// Sees to it that nothing is in this cgroup, no cgroup either; EBUSY while something lives.
    fn make_clean(&self, number: u32) -> Result<(), Errno> {
        if self.is_populated(number)? {
            return Err(Errno::BUSY);
        }
        let name = number.to_string();
        // A directory's links: its name, its `.`, and the `..` of each directory within.
        match rustix::fs::statat(&self.directory, &*name, AtFlags::SYMLINK_NOFOLLOW)?.st_nlink {
            0..=2 => Ok(()),
            _ => remove_within(self.directory.as_fd(), &name),
        }
    }
}

const PREFIX: &str = "doorward-";
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn lines(text: &[u8]) -> impl Iterator<Item = &str> {
    str::from_utf8(text).unwrap_or_default().lines()
}

/// The count of kills for want of memory in a memory.events (v2) or memory.oom_control (v1).
fn oom_kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Makes a directory and locks it. Another agent that starts at the same moment may take it for a
/// leftover before it is locked, and remove it: then this fails, and is tried again.
fn make_locked(parent: BorrowedFd<'_>) -> Result<(String, OwnedFd), Errno> {
    let random = getrandom::u32().map_err(|_| Errno::IO)?;
    let name = format!("{PREFIX}{}-{random:08x}", std::process::id());
    rustix::fs::mkdirat(parent, &*name, Mode::from(0o755))?;
    let directory = rustix::fs::openat(parent, &*name, DIRECTORY, Mode::empty())?;
    rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
    rustix::fs::statat(parent, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((name, directory))
}

/// Removes what dead agents left; in what cannot be removed something still lives.
fn remove_stale(parent: BorrowedFd<'_>) -> Result<(), Errno> {
    for name in directories(parent)?.iter().filter(|name| name.starts_with(PREFIX)) {
        let Ok(old) = rustix::fs::openat(parent, &**name, DIRECTORY, Mode::empty()) else {
            continue;
        };
        if rustix::fs::flock(&old, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let removed = remove_within(parent, name)
                .and_then(|()| rustix::fs::unlinkat(parent, &**name, AtFlags::REMOVEDIR));
            if let Err(errno) = removed {
                tracing::info!(%errno, "ignoring cgroup {name} of a dead agent");
            }
        }
    }
    Ok(())
}

/// Removes every cgroup within this one that nothing lives in, the innermost first.
fn remove_within(parent: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    let mut found = vec![name.to_string()];
    let mut looked_at = 0;
    while let Some(path) = found.get(looked_at) {
        let directory = rustix::fs::openat(parent, &**path, DIRECTORY, Mode::empty())?;
        let inner: Vec<_> = directories(directory.as_fd())?;
        let inner: Vec<_> = inner.iter().map(|inner| format!("{path}/{inner}")).collect();
        found.extend(inner);
        looked_at += 1;
        if found.len() > CGROUPS_MAX + CGROUPS_STALE_MAX {
            return Err(Errno::BUSY);
        }
    }
    let remove = |path: &String| rustix::fs::unlinkat(parent, &**path, AtFlags::REMOVEDIR);
    // One that is busy keeps none of the others.
    found[1..].iter().rev().map(remove).fold(Ok(()), Result::and)
}

/// The names of the directories in this one.
fn directories(directory: BorrowedFd<'_>) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if entry.file_type() == FileType::Directory && name != "." && name != ".." {
            names.push(name.into_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
pub(super) mod tests;
