//! What keeping output costs: a pump and its spool against reading the same pipe and writing it
//! to a fresh unlinked file, in turns within one run.
//!
//! `cargo bench --bench spool [-- --quick]` prints one line a figure: name, value, floor, ratio.
//! `-- --unread` moves 4 GiB once instead, and prints what memory that took.

use std::{
    fs::File,
    io::Read as _,
    os::{fd::OwnedFd, unix::fs::FileExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use doorward::{
    core::{limits::CHUNK_BYTES, spec::WindowSize},
    exec::{
        pump::{self, Source},
        spool::Next,
        store::{Store, StoreConfig},
    },
    os::{pty, work::Work},
};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// One pass over the data: time on the wall and time on the processor, ours without children's.
#[derive(Clone, Copy)]
struct Cost {
    gigabytes: f64,
    wall: Duration,
    cpu: Duration,
    resident_kib: u64,
}

enum Reading {
    Nobody,
    Live,
    Afterwards,
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let bytes: u64 = if quick { 256 << 20 } else { 2 << 30 };
    let rounds = if quick { 1 } else { 3 };
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-spool");
    std::fs::create_dir_all(&dir).expect("the target directory can be written");
    if std::env::args().any(|arg| arg == "--unread") {
        let cost = pumped(zeros(4 << 30), &dir, 4 << 30, Reading::Nobody);
        println!("4 GiB unread: {} KiB more resident", cost.resident_kib);
        return;
    }
    let mut best: [Option<Cost>; 6] = [None; 6];
    let raw = bytes / 8;
    for _ in 0..rounds {
        let costs = [
            floor(&dir, bytes),
            pumped(zeros(bytes), &dir, bytes, Reading::Nobody),
            pumped(zeros(bytes), &dir, bytes, Reading::Live),
            pumped(zeros(bytes), &dir, bytes, Reading::Afterwards),
            bare_terminal(raw),
            pumped(terminal(raw), &dir, raw, Reading::Live),
        ];
        for (best, cost) in best.iter_mut().zip(costs) {
            match best {
                Some(before) if before.wall < cost.wall => {}
                Some(_) | None => *best = Some(cost),
            }
        }
    }
    let [floor, unread, live, after, bare, typed] =
        best.map(|cost| cost.expect("there was a round"));
    let line = |name: &str, unit: &str, value: f64, floor: f64| {
        println!("{name:28} {value:8.3} {unit:6} floor {floor:8.3} ratio {:5.2}", value / floor);
    };
    let cpu = |cost: Cost| cost.cpu.as_secs_f64() / cost.gigabytes;
    let rate = |cost: Cost| cost.gigabytes / cost.wall.as_secs_f64();
    line("spool unread cpu", "s/GB", cpu(unread), cpu(floor));
    line("spool unread rate", "GB/s", rate(unread), rate(floor));
    line("spool read live cpu", "s/GB", cpu(live), cpu(floor));
    line("spool read live rate", "GB/s", rate(live), rate(floor));
    line("spool read afterwards", "GB/s", rate(after), rate(floor));
    line("terminal read live cpu", "s/GB", cpu(typed), cpu(bare));
    line("terminal read live rate", "GB/s", rate(typed), rate(bare));
    println!("spool unread resident        {:8} KiB more", unread.resident_kib);
    finished(&dir);
}

/// A process that prints, and where.
struct Printer {
    child: Child,
    fd: OwnedFd,
    source: Source,
}

fn print(bytes: u64, stdout: Stdio) -> Child {
    let count = bytes.to_string();
    let mut head = Command::new("head");
    head.args(["-c", &count, "/dev/zero"]).stdout(stdout).spawn().expect("head can be run")
}

fn zeros(bytes: u64) -> Printer {
    let (fd, stdout) = std::io::pipe().expect("a pipe can be made");
    let child = print(bytes, stdout.into());
    Printer { child, fd: fd.into(), source: Source::Pipe }
}

/// The same into a terminal in raw mode.
fn terminal(bytes: u64) -> Printer {
    let pair = pty::pair(WindowSize::new(0, 0), None).expect("a terminal can be made");
    let mut modes = tcgetattr(&pair.slave).expect("it has modes");
    modes.make_raw();
    tcsetattr(&pair.slave, OptionalActions::Now, &modes).expect("they can be set");
    let child = print(bytes, pair.slave.into());
    Printer { child, fd: pair.master, source: Source::Pty }
}

/// Reads a terminal and keeps nothing.
fn bare_terminal(bytes: u64) -> Cost {
    let mut printer = terminal(bytes);
    let (mut buffer, mut at) = (vec![0; CHUNK_BYTES], 0);
    rustix::io::ioctl_fionbio(&printer.fd, false).expect("it can block");
    let started = Started::new();
    while let Ok(n) = rustix::io::read(&printer.fd, &mut buffer) {
        at += n as u64;
    }
    let cost = started.cost(bytes);
    assert_eq!(at, bytes);
    printer.child.wait().expect("it is our child");
    cost
}

fn floor(dir: &Path, bytes: u64) -> Cost {
    let path = dir.join("floor");
    let file = File::create_new(&path).expect("a file can be made");
    std::fs::remove_file(&path).expect("it can be removed");
    let Printer { mut child, fd, source: _ } = zeros(bytes);
    let (mut pipe, mut buffer, mut at) = (File::from(fd), vec![0; CHUNK_BYTES], 0);
    let started = Started::new();
    loop {
        let n = pipe.read(&mut buffer).expect("a pipe can be read");
        if n == 0 {
            break;
        }
        file.write_all_at(&buffer[..n], at).expect("there is room");
        at += n as u64;
    }
    let cost = started.cost(bytes);
    assert_eq!(at, bytes);
    child.wait().expect("it is our child");
    cost
}

fn pumped(printer: Printer, dir: &Path, bytes: u64, reading: Reading) -> Cost {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let config = StoreConfig { dir: Some(dir.to_path_buf()), ..StoreConfig::default() };
        let (store, notices) = Store::open(&config, Work::new());
        notices.iter().for_each(|notice| println!("{notice}"));
        let spool = store.spool();
        let Printer { mut child, fd, source } = printer;
        let mut started = Started::new();
        pump::start(Arc::new(fd), source, spool.clone(), Work::new()).expect("a pump starts");
        let read = match reading {
            Reading::Nobody => None,
            Reading::Live => Some(spool.reader(0)),
            Reading::Afterwards => {
                spool.eof().await;
                started = Started::new();
                Some(spool.reader(0))
            }
        };
        if let Some(mut reader) = read {
            while let Next::Data { .. } = reader.next(CHUNK_BYTES).await.expect("all is kept") {}
            assert_eq!(reader.offset(), bytes);
        }
        spool.eof().await;
        let cost = started.cost(bytes);
        assert_eq!(spool.range().end, bytes);
        child.wait().expect("it is our child");
        cost
    })
}

/// Memory of many spools that ended with a line in them.
fn finished(dir: &Path) {
    const COUNT: usize = 10_000;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let config = StoreConfig { dir: Some(dir.to_path_buf()), ..StoreConfig::default() };
        let (store, _) = Store::open(&config, Work::new());
        let mut all = Vec::with_capacity(COUNT);
        let before = resident_kib();
        for _ in 0..COUNT {
            let spool = store.spool();
            let (from, to) = std::io::pipe().expect("a pipe can be made");
            pump::start(Arc::new(from.into()), Source::Pipe, spool.clone(), Work::new())
                .expect("a pump starts");
            std::io::Write::write_all(&mut &to, &[b'x'; 100]).expect("it has room");
            drop(to);
            spool.eof().await;
            all.push(spool);
        }
        let each = (resident_kib() - before) as f64 * 1024.0 / COUNT as f64;
        println!("finished spool of 100 bytes  {each:8.0} bytes of memory");
    });
}

struct Started {
    wall: Instant,
    cpu: Duration,
    resident_kib: u64,
}

impl Started {
    fn new() -> Self {
        Self { wall: Instant::now(), cpu: cpu(), resident_kib: resident_kib() }
    }

    fn cost(self, bytes: u64) -> Cost {
        Cost {
            gigabytes: bytes as f64 / 1e9,
            wall: self.wall.elapsed(),
            cpu: cpu() - self.cpu,
            resident_kib: resident_kib().saturating_sub(self.resident_kib),
        }
    }
}

/// Processor time of this process, all threads.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("there is /proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has a size");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("it is a number")
}
