//! What processes use up, as the kernel tells it: of one that ended with its exit status
//! (wait4(2)), of this one by getrusage(2) and /proc.
//!
//! Some kernels and sandboxes keep only a part of these counts and say 0 for the rest, so what
//! counts is found out once, by looking at our own.

use std::{
    fs,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::core::{
    limits::{KIB, PEAK_MARGIN_BYTES},
    usage::Usage,
};

/// The kernel's unit of `ru_inblock` and `ru_oublock`, in bytes.
const BLOCK_BYTES: u64 = 512;

/// What this process itself uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    /// Memory that it holds, in bytes.
    pub memory_bytes: Option<u64>,
    /// Processor time it has used.
    pub cpu_time: Duration,
    /// Descriptors it has open.
    pub descriptors: Option<u32>,
    /// Its threads.
    pub threads: Option<u32>,
}

/// Which counts of getrusage(2) and wait4(2) are kept here.
#[derive(Debug, Clone, Copy)]
struct Counted {
    faults: bool,
    storage: bool,
}

impl Counted {
    fn here() -> Self {
        static HERE: OnceLock<Counted> = OnceLock::new();
        *HERE.get_or_init(|| {
            // No program begins without a page fault; gVisor shows none.
            let faults = own_rusage().ru_minflt > 0;
            // The file is there if the kernel was built with CONFIG_TASK_IO_ACCOUNTING.
            Self { faults, storage: faults && Path::new("/proc/self/io").exists() }
        })
    }
}

/// The use of a process that has ended and of the children that it waited for.
pub(super) fn of_ended(usage: &libc::rusage) -> Usage {
    let counted = Counted::here();
    let blocks = |count: libc::c_long| {
        counted.storage.then(|| u64::try_from(count).unwrap_or(0).saturating_mul(BLOCK_BYTES))
    };
    Usage {
        memory_peak_bytes: peak(u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(KIB)),
        memory_bytes: None,
        user_time: Some(time(usage.ru_utime)),
        system_time: Some(time(usage.ru_stime)),
        read_bytes: blocks(usage.ru_inblock),
        written_bytes: blocks(usage.ru_oublock),
        major_faults: faults(u64::try_from(usage.ru_majflt).unwrap_or(0)),
    }
}

/// A peak that is the process's own. At execve(2) the kernel books the memory that was in use
/// before as the process's peak, and that was ours: what is not above our own peak says nothing.
fn peak(bytes: u64) -> Option<u64> {
    /// Our own peak when it was looked at last; it only grows.
    static OWN: AtomicU64 = AtomicU64::new(0);
    let hidden = |own: u64| bytes <= own.saturating_add(PEAK_MARGIN_BYTES);
    if hidden(OWN.load(Ordering::Relaxed)) {
        return None;
    }
    let own = own_status("VmHWM")?.saturating_mul(KIB);
    OWN.fetch_max(own, Ordering::Relaxed);
    (!hidden(own)).then_some(bytes)
}

/// A count of page faults, where they are counted.
pub(super) fn faults(count: u64) -> Option<u64> {
    Counted::here().faults.then_some(count)
}

/// What this process uses.
pub fn own() -> Own {
    let usage = own_rusage();
    let count = |key| own_status(key).and_then(|count| u32::try_from(count).ok());
    let descriptors = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
    Own {
        memory_bytes: own_status("VmRSS").map(|kib| kib.saturating_mul(KIB)),
        cpu_time: time(usage.ru_utime).saturating_add(time(usage.ru_stime)),
        // Without the one that lists them.
        descriptors: descriptors.and_then(|count| u32::try_from(count.saturating_sub(1)).ok()),
        threads: count("Threads"),
    }
}

/// A number of our own /proc/PID/status, in KiB where it is memory.
fn own_status(key: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    number(&status, key)
}

/// The number behind `key:` in the text of a /proc/PID/status or /proc/PID/io.
pub(super) fn number(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn own_rusage() -> libc::rusage {
    let mut usage = empty();
    // SAFETY: `usage` is ours to be written.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    usage
}

/// What clock ticks of /proc are as time.
pub(super) fn ticks(count: u64) -> Duration {
    let rate = rustix::param::clock_ticks_per_second().max(1);
    let rest = Duration::from_nanos((count % rate).saturating_mul(1_000_000_000 / rate));
    Duration::from_secs(count / rate) + rest
}

/// A use of nothing, to be filled by the kernel.
pub(super) fn empty() -> libc::rusage {
    // SAFETY: the struct is plain numbers, of which all zeros is a value.
    unsafe { std::mem::zeroed() }
}

fn time(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_use_something() {
        let own = own();
        assert!(own.memory_bytes.unwrap() > 100 << 10);
        assert!(own.cpu_time > Duration::ZERO);
        assert!(own.descriptors.unwrap() >= 3);
        assert!(own.threads.unwrap() >= 1);
    }

    #[test]
    fn numbers_of_a_status() {
        let status = "Name:\tVmRSS: 7\nVmHWM:\t  6164 kB\nVmRSS:\t  4 kB\nThreads:\t1\n";
        assert_eq!(number(status, "VmHWM"), Some(6164));
        assert_eq!(number(status, "VmRSS"), Some(4));
        assert_eq!(number(status, "Vm"), None);
        assert_eq!(number("VmRSS:\n", "VmRSS"), None);
    }

    /// Without this a `true` seemed to have used as much memory as the agent.
    #[test]
    fn a_peak_that_may_be_ours_is_no_peak_of_the_process() {
        let own = own_status("VmHWM").unwrap() * KIB;
        assert_eq!(peak(own), None);
        assert_eq!(peak(0), None);
        assert_eq!(peak(own + (1 << 30)), Some(own + (1 << 30)));
    }
}
