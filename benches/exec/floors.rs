//! What the machine can do without an agent.

use std::{
    fs::File,
    io::Read,
    os::{fd::OwnedFd, unix::fs::FileExt},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use doorward::{core::limits::CHUNK_BYTES, core::spec::WindowSize, os::pty};

use crate::agent::fresh_dir;

/// What moving some bytes took.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) gigabytes: f64,
    pub(crate) wall: Duration,
    /// Of the side that moves them, without the command that prints.
    pub(crate) cpu: Duration,
}

impl Cost {
    pub(crate) fn rate(self) -> f64 {
        self.gigabytes / self.wall.as_secs_f64()
    }

    pub(crate) fn cpu_each(self) -> f64 {
        self.cpu.as_secs_f64() / self.gigabytes
    }
}

/// Starts /bin/true and waits for it. Without anything to do in between, std uses posix_spawn,
/// which is vfork-like.
pub(crate) fn spawn() -> Duration {
    let started = Instant::now();
    let status = Command::new("/bin/true").status();
    assert!(status.expect("there is /bin/true").success());
    started.elapsed()
}

/// How many of them a second two threads can do.
pub(crate) fn spawn_rate(each: usize) -> f64 {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..each {
                    spawn();
                }
            });
        }
    });
    2.0 * each as f64 / started.elapsed().as_secs_f64()
}

/// Prints that many bytes.
pub(crate) fn printer(bytes: u64) -> [String; 4] {
    ["head", "-c", &bytes.to_string(), "/dev/zero"].map(String::from)
}

/// The same on a terminal, after it was told to leave bytes alone.
pub(crate) fn raw_printer(bytes: u64) -> [String; 3] {
    ["sh", "-c", &format!("stty raw -echo; exec head -c {bytes} /dev/zero")].map(String::from)
}

/// Reads what a command prints into a pipe.
pub(crate) fn pipe(bytes: u64) -> Cost {
    from_pipe(bytes, |_, _| {})
}

/// Reads it and writes it to a fresh unlinked file.
pub(crate) fn store(bytes: u64) -> Cost {
    let dir = fresh_dir("store");
    let path = dir.join("file");
    let file = File::create_new(&path).expect("target/ can be written");
    std::fs::remove_file(&path).expect("it is ours");
    std::fs::remove_dir(&dir).expect("it is empty");
    from_pipe(bytes, |piece, at| file.write_all_at(piece, at).expect("there is room"))
}

fn from_pipe(bytes: u64, mut keep: impl FnMut(&[u8], u64)) -> Cost {
    let (mut pipe, stdout) = std::io::pipe().expect("a pipe can be made");
    let [program, arguments @ ..] = printer(bytes);
    moved(bytes, || {
        let mut child =
            Command::new(program).args(arguments).stdout(stdout).spawn().expect("there is head");
        let (mut buffer, mut at) = (vec![0; CHUNK_BYTES], 0);
        loop {
            match pipe.read(&mut buffer).expect("a pipe can be read") {
                0 => break,
                n => {
                    keep(&buffer[..n], at);
                    at += n as u64;
                }
            }
        }
        assert!(child.wait().expect("it is our child").success());
        at
    })
}

/// Reads it from a bare terminal in raw mode.
pub(crate) fn pty(bytes: u64) -> Cost {
    let pair = pty::pair(WindowSize::new(0, 0), None).expect("a terminal can be made");
    rustix::io::ioctl_fionbio(&pair.master, false).expect("it can block");
    let [program, arguments @ ..] = raw_printer(bytes);
    let another = |slave: &OwnedFd| Stdio::from(slave.try_clone().expect("there is a free number"));
    moved(bytes, || {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(another(&pair.slave))
            .stdout(another(&pair.slave))
            .spawn()
            .expect("there is a shell");
        drop(pair.slave);
        let (mut buffer, mut at) = (vec![0; CHUNK_BYTES], 0);
        // A terminal ends with an error.
        while let Ok(n) = rustix::io::read(&pair.master, &mut buffer) {
            at += n as u64;
        }
        assert!(child.wait().expect("it is our child").success());
        at
    })
}

fn moved(bytes: u64, work: impl FnOnce() -> u64) -> Cost {
    let (started, cpu) = (Instant::now(), thread_cpu());
    assert_eq!(work(), bytes);
    Cost { gigabytes: bytes as f64 / 1e9, wall: started.elapsed(), cpu: thread_cpu() - cpu }
}

/// Processor time of this thread.
fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
