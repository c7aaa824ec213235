//! The built binary as a process of ours: its start and end, and what /proc says of it.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) const TASK: &str = "bench";
/// How long an agent may take to end before it is killed.
const END: Duration = Duration::from_secs(9);

/// A running agent; ended, and its directory removed, when it is dropped.
pub(crate) struct Agent {
    child: Child,
    dir: PathBuf,
    group: Option<MemoryGroup>,
    pub(crate) port: u16,
}

/// The agent's program: what cargo built beside the bench, or another one, such as the static one
/// that goes into images, named in DOORWARD_BENCH_BINARY.
pub(crate) fn binary() -> PathBuf {
    let named = std::env::var_os("DOORWARD_BENCH_BINARY");
    named.map_or_else(|| env!("CARGO_BIN_EXE_doorward").into(), PathBuf::from)
}

impl Agent {
    /// Starts one, with `options` more than the usual ones, and returns once it listens.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_in(None, options)
    }

    /// Starts one in a memory cgroup of its own, if one can be made.
    pub(crate) fn start_accounted(options: &[&str]) -> Self {
        Self::start_in(MemoryGroup::make(), options)
    }

    fn start_in(group: Option<MemoryGroup>, options: &[&str]) -> Self {
        let dir = fresh_dir("agent");
        let mut command = match &group {
            // From its birth on: what a process was charged does not follow it.
            Some(group) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
                shell.arg(group.0.join("cgroup.procs")).arg(binary());
                shell
            }
            None => Command::new(binary()),
        };
        command
            .args(["serve", "--listen", "tcp://127.0.0.1:0", "--allow-anonymous"])
            .args(["--task-id", TASK, "--log", "error", "--state-dir"])
            .arg(&dir)
            .args(options)
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        // Not in our group: a terminal's ^C is for us, and we end the agent.
        command.process_group(0);
        let mut child = command.spawn().expect("the built binary can be run");
        let stderr = child.stderr.take().expect("it was asked for");
        let mut lines = BufReader::new(stderr).lines();
        let port = lines
            .by_ref()
            .map(|line| line.expect("the agent's messages are text"))
            .find_map(|line| line.rsplit_once("tcp://127.0.0.1:")?.1.parse().ok())
            .expect("the agent says where it listens");
        std::thread::spawn(move || {
            lines.for_each(|line| eprintln!("{}", line.unwrap_or_default()))
        });
        Self { child, dir, group, port }
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }

    fn status(&self, field: &str) -> u64 {
        let status = fs::read_to_string(self.proc("status")).expect("the agent lives");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.expect("the kernel says so")
    }

    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status("VmRSS") << 10
    }

    pub(crate) fn threads(&self) -> u64 {
        self.status("Threads")
    }

    pub(crate) fn descriptors(&self) -> u64 {
        fs::read_dir(self.proc("fd")).expect("we may see them").count() as u64
    }

    /// Children of the agent that ended and were not reaped.
    pub(crate) fn zombies(&self) -> u64 {
        let ours = |entry: fs::DirEntry| {
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            let (state, parent) = (fields.next()?, fields.next()?);
            (state == "Z" && parent == self.child.id().to_string()).then_some(())
        };
        let all = fs::read_dir("/proc").expect("there is /proc").flatten();
        all.filter_map(ours).count() as u64
    }

    /// Processor time of all its threads so far, without its commands.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(self.proc("stat")).expect("the agent lives");
        let fields = stat.rsplit_once(')').expect("a name is in brackets").1;
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).map(|f| f.parse().unwrap_or(0)).sum();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Its cgroup, if it has one of its own.
    pub(crate) fn group(&self) -> Option<&MemoryGroup> {
        self.group.as_ref()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        // Refused only if it has ended.
        let _ = kill_process(pid, Signal::TERM);
        let asked = Instant::now();
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if asked.elapsed() > END {
                println!("the agent did not end within {END:?} and was killed");
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A cgroup v1 that accounts for memory.
pub(crate) struct MemoryGroup(PathBuf);

impl MemoryGroup {
    fn make() -> Option<Self> {
        let dir = PathBuf::from(format!("/sys/fs/cgroup/memory/doorward-bench-{}", unique()));
        fs::create_dir(&dir).ok()?;
        let group = Self(dir);
        // Sockets are charged from when there is a limit on them.
        let limit = (1u64 << 40).to_string();
        fs::write(group.0.join("memory.kmem.tcp.limit_in_bytes"), limit).ok()?;
        Some(group)
    }

    /// Bytes that the kernel cannot have back without killing: what stays after it was told to
    /// take what it can, sockets included.
    pub(crate) fn unreclaimable_bytes(&self) -> u64 {
        let number = |file: &str| -> u64 {
            let text = fs::read_to_string(self.0.join(file)).unwrap_or_default();
            text.trim().parse().unwrap_or(0)
        };
        let mut least = u64::MAX;
        // Pages under write-back cannot be taken at once.
        for _ in 0..10 {
            // It fails when something had to stay, as it always does with a process in it.
            let _ = fs::write(self.0.join("memory.force_empty"), "0");
            let now = number("memory.usage_in_bytes") + number("memory.kmem.tcp.usage_in_bytes");
            if now + (1 << 20) > least {
                return now.min(least);
            }
            least = now;
            std::thread::sleep(Duration::from_millis(300));
        }
        least
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// An empty directory under target/.
pub(crate) fn fresh_dir(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{name}-{}", unique()));
    fs::create_dir_all(&dir).expect("target/ can be written");
    dir
}

/// Bytes that may be written under target/.
pub(crate) fn free_bytes() -> u64 {
    let seen = rustix::fs::statvfs(env!("CARGO_TARGET_TMPDIR")).expect("target/ is there");
    // What the agent leaves free is not there for us.
    let left = (seen.f_blocks * seen.f_frsize / 20).max(1 << 30);
    (seen.f_bavail * seen.f_frsize).saturating_sub(left)
}

fn unique() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
