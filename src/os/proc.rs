//! What /proc says about processes.
//!
//! Everything read here is input, not truth: a process chooses its own name and environment, and
//! may be gone, or another one, by the time that the answer is looked at. So a process is named
//! by its pid *and* the time it started; what cannot be read is absent, never an error.

use std::{
    ffi::CStr,
    io::{self, Write},
    mem::MaybeUninit,
    os::fd::OwnedFd,
};

use rustix::{
    fs::{CWD, Mode, OFlags, RawDir},
    io::Errno,
    process::Pid,
};

use super::{
    label::{Cookie, Label},
    usage,
};
use crate::core::limits::{ENVIRON_BYTES_MAX, KIB};

/// An open /proc.
#[derive(Debug)]
pub struct Proc(OwnedFd);

/// One process, as /proc/PID/stat shows it (proc_pid_stat(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: Pid,
    /// Its parent; 0 if that is outside our pid namespace.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// What it does.
    pub state: State,
    /// How many threads it has.
    pub threads: u32,
    /// When it started, in clock ticks since boot: with the pid, it names the process.
    pub start: u64,
    /// What it and the children that it has waited for have used up.
    pub used: Used,
}

/// What a process and the children that it has waited for have used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Processor time in their own code, in clock ticks.
    pub user_ticks: u64,
    /// Processor time in the kernel, in clock ticks.
    pub system_ticks: u64,
    /// Page faults that waited for storage.
    pub major_faults: u64,
}

/// The memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What it holds, in bytes; pages that it shares with others too.
    pub bytes: u64,
    /// The most that it held, in bytes.
    pub peak_bytes: u64,
}

/// Bytes that a process, and the children that it has waited for, moved from and to storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// Read.
    pub read_bytes: u64,
    /// Written.
    pub written_bytes: u64,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs or could run (R).
    Running,
    /// It waits for something that may take long (S, I).
    Sleeping,
    /// It waits for a disk or the like (D).
    Blocked,
    /// A signal or a debugger stopped it (T, t).
    Stopped,
    /// It has ended and waits to be reaped (Z, X).
    Ended,
    /// Something that we do not know.
    Other,
}

impl Proc {
    /// Opens /proc. Fails where none is mounted.
    pub fn open() -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(CWD, c"/proc", flags, Mode::empty())?))
    }

    /// Calls `visit` for each pid, in ascending order on Linux: who forks while we walk has a
    /// child ahead of us. Few are listed at a time, because the list ends where the last one does,
    /// and the visits take long enough for others to come after it.
    pub fn each(&self, mut visit: impl FnMut(Pid)) -> io::Result<()> {
        rustix::fs::seek(&self.0, rustix::fs::SeekFrom::Start(0))?;
        let mut buffer = [MaybeUninit::uninit(); 512];
        let mut entries = RawDir::new(&self.0, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let number = entry.file_name().to_str().ok().and_then(|name| name.parse().ok());
            if let Some(pid) = number.and_then(Pid::from_raw) {
                visit(pid);
            }
        }
        Ok(())
    }

    /// What this pid is, if it is anything.
    pub fn process(&self, pid: Pid) -> Option<Process> {
        let mut buffer = [0; 4 << 10];
        parse_stat(self.read(pid, "stat", &mut buffer)?).map(|(process, _)| process)
    }

    /// The name of this pid's program, for people.
    pub fn name(&self, pid: Pid) -> Option<String> {
        let mut buffer = [0; 4 << 10];
        let (_, name) = parse_stat(self.read(pid, "stat", &mut buffer)?)?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    /// The label of this pid, or of another agent's exec.
    pub fn label(&self, pid: Pid) -> Option<Label> {
        let mut buffer = [0; 4 << 10];
        Label::find(self.read(pid, "limits", &mut buffer)?)
    }

    /// The cookie that this pid was given. Needs the rights of a debugger over it, so there may
    /// seem to be none in a process of another user; and there is none for a moment while a
    /// process becomes another program.
    pub fn cookie(&self, pid: Pid) -> Option<Cookie> {
        let file = self.open_file(pid, "environ")?;
        let mut environ = Vec::with_capacity(8 << 10);
        while environ.len() < ENVIRON_BYTES_MAX {
            environ.reserve(8 << 10);
            match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut environ)) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
        Cookie::find(&environ)
    }

    /// The memory of this pid; absent where the kernel does not show it.
    pub fn memory(&self, pid: Pid) -> Option<Memory> {
        let mut buffer = [0; 4 << 10];
        let status = str::from_utf8(self.read(pid, "status", &mut buffer)?).ok()?;
        let bytes = |key| usage::number(status, key)?.checked_mul(KIB);
        Some(Memory { bytes: bytes("VmRSS")?, peak_bytes: bytes("VmHWM")? })
    }

    /// What this pid moved from and to storage; needs the rights of a debugger over it.
    pub fn storage(&self, pid: Pid) -> Option<Storage> {
        let mut buffer = [0; 1 << 10];
        let io = str::from_utf8(self.read(pid, "io", &mut buffer)?).ok()?;
        let (read, written) = ("read_bytes", "write_bytes");
        let bytes = |key| usage::number(io, key);
        Some(Storage { read_bytes: bytes(read)?, written_bytes: bytes(written)? })
    }

    fn read<'a>(&self, pid: Pid, file: &str, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let file = self.open_file(pid, file)?;
        // These files are made whole at the first read, and are smaller than the buffers.
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *buffer)).ok()?;
        Some(&buffer[..read])
    }

    fn open_file(&self, pid: Pid, file: &str) -> Option<OwnedFd> {
        let mut path = [0; 32];
        write!(&mut path[..], "{}/{file}\0", pid.as_raw_pid()).ok()?;
        let path = CStr::from_bytes_until_nul(&path).ok()?;
        rustix::fs::openat(&self.0, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
    }
}

impl Process {
    /// Whether nothing of it runs any more. A process whose first thread has ended is shown as
    /// a zombie while its other threads go on.
    pub fn is_gone(&self) -> bool {
        self.state == State::Ended && self.threads <= 1
    }
}

impl State {
    fn parse(letter: &str) -> Self {
        match letter {
            "R" => Self::Running,
            "S" | "I" => Self::Sleeping,
            "D" => Self::Blocked,
            "T" | "t" => Self::Stopped,
            "Z" | "X" => Self::Ended,
            _ => Self::Other,
        }
    }
}

/// When this pid started, in clock ticks since boot: what tells it from a later one.
pub fn start_of(pid: Pid) -> Option<u64> {
    Proc::open().ok()?.process(pid).map(|process| process.start)
}

/// Whether this pid is on its way out, from before it closes its files on; `None` if it is gone or hidden.
pub fn is_ending(pid: Pid) -> Option<bool> {
    /// A task flag of the kernel (include/linux/sched.h), the same for as long as it has been shown.
    const PF_EXITING: u64 = 4;
    let mut buffer = [0; 4 << 10];
    let stat = Proc::open().ok()?.read(pid, "stat", &mut buffer)?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[close + 1..]).ok()?;
    // After the name: state, parent, group, session, terminal and its group.
    let flags = rest.split_ascii_whitespace().nth(6)?.parse::<u64>().ok()?;
    Some(flags & PF_EXITING != 0)
}

/// Processor time that all threads of this pid have used, in nanoseconds; `None` if it is gone.
/// Ticks, which /proc shows, are too coarse to tell a slow writer from a sleeper.
pub fn cpu_ns(pid: Pid) -> Option<u64> {
    let mut clock = 0;
    // SAFETY: `clock` is valid for writes; the pid is only a number to the call.
    if unsafe { libc::clock_getcpuclockid(pid.as_raw_pid(), &raw mut clock) } != 0 {
        return None;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes; a clock of a process that is gone is refused.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return None;
    }
    let seconds = u64::try_from(time.tv_sec).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(time.tv_nsec).ok()?)
}

/// Takes /proc/PID/stat apart, into the process and its name. The name may contain anything, a
/// `)` too, so what follows is counted from the last one.
fn parse_stat(stat: &[u8]) -> Option<(Process, &[u8])> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let name = stat.get(open + 1..close)?;
    let pid = std::str::from_utf8(&stat[..open]).ok()?.trim_end().parse().ok()?;
    let rest = std::str::from_utf8(&stat[close + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = State::parse(fields.next()?);
    let mut ids = fields.by_ref().take(3).map(str::parse);
    let mut id = || ids.next()?.ok();
    let (parent, group, session) = (id()?, id()?, id()?);
    // Skipped: the terminal, its group, flags and two counts of minor page faults.
    let mut counts = fields.skip(5).map(|field| field.parse::<u64>().ok());
    let mut count = || counts.next()?;
    let major_faults = count()?.saturating_add(count()?);
    let (user, system, waited_user, waited_system) = (count()?, count()?, count()?, count()?);
    let used = Used {
        user_ticks: user.saturating_add(waited_user),
        system_ticks: system.saturating_add(waited_system),
        major_faults,
    };
    // Skipped: priority and nice value (which may be negative).
    let mut counts = counts.skip(2);
    let mut count = || counts.next()?;
    let threads = u32::try_from(count()?).ok()?;
    let _interval = count()?;
    let start = count()?;
    let pid = Pid::from_raw(pid)?;
    Some((Process { pid, parent, group, session, state, threads, start, used }, name))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;
    use crate::os::label::COOKIE_VARIABLE;

    #[test]
    fn stat_lines() {
        let line = |name: &str, state: &str| {
            format!(
                "42 ({name}) {state} 1 40 41 34816 42 4194304 1 2 3 4 100 11 7 5 20 -5 3 0 777 \
                 999 5 18446744073709551615\n"
            )
        };
        for name in ["cat", "a b", "x) S 1 1 1 (y", "", ")", "(("] {
            let text = line(name, "t");
            let (process, found) = parse_stat(text.as_bytes()).unwrap();
            assert_eq!(found, name.as_bytes());
            let pid = Pid::from_raw(42).unwrap();
            let (parent, group, session, threads) = (1, 40, 41, 3);
            let (state, start) = (State::Stopped, 777);
            let used = Used { user_ticks: 107, system_ticks: 16, major_faults: 7 };
            let expected = Process { pid, parent, group, session, state, threads, start, used };
            assert_eq!(process, expected, "{name:?}");
        }
        let states = [("Z", State::Ended), ("R", State::Running), ("?", State::Other)];
        for (letter, state) in states {
            assert_eq!(parse_stat(line("a", letter).as_bytes()).unwrap().0.state, state);
        }
        for bad in ["", "42", "42 (cat", "42 (cat) S 1 1", "x (cat) S 1 1 1", ") ("] {
            assert_eq!(parse_stat(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn we_see_ourselves() {
        let proc = Proc::open().unwrap();
        let own = rustix::process::getpid();
        let mut seen = false;
        proc.each(|pid| seen |= pid == own).unwrap();
        assert!(seen);
        let process = proc.process(own).unwrap();
        assert_eq!(process.pid, own);
        assert_eq!(Some(process.start), start_of(own));
        assert!(process.threads >= 1 && !process.is_gone());
        let before = cpu_ns(own).unwrap();
        while cpu_ns(own).unwrap() == before {}
    }

    #[test]
    fn cookies_and_zombies() {
        let cookie = Cookie::random().unwrap();
        let mut child = Command::new("cat")
            .env(COOKIE_VARIABLE, cookie.as_str())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let proc = Proc::open().unwrap();
        // Its answer shows that it has become cat: std's spawn returns a moment earlier.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        let stdout = child.stdout.as_mut().unwrap();
        std::io::Read::read_exact(stdout, &mut [0]).unwrap();
        assert_eq!(proc.cookie(pid), Some(cookie));
        assert_eq!(proc.name(pid).as_deref(), Some("cat"));
        assert!(!proc.process(pid).unwrap().is_gone());
        drop(child.stdin.take());
        let options =
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), options).unwrap();
        assert!(proc.process(pid).unwrap().is_gone());
        assert_eq!(
            (is_ending(pid), is_ending(rustix::process::getpid())),
            (Some(true), Some(false))
        );
        assert_eq!(proc.cookie(pid), None);
        child.wait().unwrap();
        assert_eq!(proc.process(pid), None);
        assert_eq!(cpu_ns(pid), None);
    }

    proptest! {
        #[test]
        fn nothing_in_stat_makes_us_panic(bytes: Vec<u8>, text in "[0-9 ()a-zA-Z-]{0,200}") {
            parse_stat(&bytes);
            parse_stat(text.as_bytes());
        }
    }
}
