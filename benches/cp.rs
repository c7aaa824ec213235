//! What `doorward cp` costs against `tar c | tar x` through a local pipe, in turns within one run.
//!
//! `cargo bench --bench cp [-- --quick]` makes a tree of small files and one large file under target/,
//! copies each in and out through an agent on loopback, and prints one line a figure:
//!
//! ```text
//! name  value MiB/s or files/s  tar floor  ratio (target)
//! ```
//!
//! A ratio never fails a run. The full run needs 11 GiB on disk, `--quick` a tenth of that.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The least ratio to tar's rate that is promised.
const RATIO_MIN: f64 = 0.5;
/// Bytes of a small file: what source code has.
const SMALL_BYTES: usize = 3000;

/// What is copied, and how much that is in the unit of its figure.
struct Load {
    name: &'static str,
    unit: &'static str,
    amount: f64,
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (files, mebibytes, rounds) = if quick { (4000, 256, 2) } else { (20_000, 2048, 3) };
    let top =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-cp-{}", std::process::id()));
    let _ = fs::remove_dir_all(&top);
    make_small(&top.join("small"), files);
    make_large(&top.join("large"), mebibytes);
    let agent = Agent::start(&top);
    let loads = [
        Load { name: "small", unit: "files/s", amount: files as f64 },
        Load { name: "large", unit: "MiB/s", amount: mebibytes as f64 },
    ];
    for load in loads {
        let (mut into, mut out) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let tar = load.amount / timed(&top, || tar(&top, load.name)).as_secs_f64();
            let name = load.name;
            let words = [name.to_string(), format!(":{}", top.join("copy").display())];
            into.push((load.amount / timed(&top, || agent.cp(&top, &words)).as_secs_f64(), tar));
            let words = [format!(":{}", top.join(name).display()), "copy".into()];
            out.push((load.amount / timed(&top, || agent.cp(&top, &words)).as_secs_f64(), tar));
        }
        line(&format!("{} in", load.name), load.unit, &into);
        line(&format!("{} out", load.name), load.unit, &out);
    }
    drop(agent);
    let _ = fs::remove_dir_all(&top);
}

/// Prints a figure: its rate, tar's, and the middle one of their ratios.
fn line(name: &str, unit: &str, rounds: &[(f64, f64)]) {
    let middle = |pick: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (rate, floor) = (middle(|round| round.0), middle(|round| round.1));
    let ratio = middle(|round| round.0 / round.1);
    let verdict = if ratio >= RATIO_MIN { "" } else { " MISSED" };
    println!(
        "{name:<12} {rate:>10.0} {unit:<8} tar {floor:>10.0} ratio {ratio:.2} (>= {RATIO_MIN} x){verdict}"
    );
}

/// How long a copy to `copy` takes, which is removed before and after. What earlier ones wrote is on
/// disk by then.
fn timed(top: &Path, copy: impl FnOnce()) -> Duration {
    rustix::fs::sync();
    let begun = Instant::now();
    copy();
    let time = begun.elapsed();
    let made = top.join("copy");
    let removed = if made.is_dir() { fs::remove_dir_all(&made) } else { fs::remove_file(&made) };
    removed.expect("the copy is there");
    time
}

fn tar(top: &Path, name: &str) {
    let script = "mkdir copy && tar -c \"$0\" | tar -x -C copy";
    let status = Command::new("sh").args(["-c", script, name]).current_dir(top).status();
    assert!(status.is_ok_and(|status| status.success()), "tar failed");
}

fn make_small(top: &Path, files: usize) {
    let data = noise(SMALL_BYTES * 2);
    for number in 0..files {
        let directory = top.join(format!("{}/{}", number / 1000, number / 50 % 20));
        if number % 50 == 0 {
            fs::create_dir_all(&directory).expect("target/ can be written");
        }
        let length = SMALL_BYTES / 2 + number % SMALL_BYTES;
        let file = directory.join(format!("file-{number}.rs"));
        fs::write(file, &data[..length]).expect("target/ can be written");
    }
}

fn make_large(path: &Path, mebibytes: usize) {
    let piece = noise(1 << 20);
    let mut file = fs::File::create(path).expect("target/ can be written");
    for _ in 0..mebibytes {
        file.write_all(&piece).expect("target/ can be written");
    }
}

/// Bytes that nothing on the way could make fewer of.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// An agent on loopback; it ends with this value.
struct Agent {
    child: Child,
    address: String,
}

/// What cargo built beside the bench, or another program named in DOORWARD_BENCH_BINARY.
fn binary() -> PathBuf {
    let named = std::env::var_os("DOORWARD_BENCH_BINARY");
    named.map_or_else(|| env!("CARGO_BIN_EXE_doorward").into(), PathBuf::from)
}

impl Agent {
    fn start(top: &Path) -> Self {
        let mut child = Command::new(binary())
            .args(["serve", "--listen", "tcp://127.0.0.1:0", "--allow-anonymous", "--log", "error"])
            .arg("--state-dir")
            .arg(top.join("state"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the built binary can be run");
        let mut lines = BufReader::new(child.stderr.take().expect("it was asked for")).lines();
        let address = lines
            .by_ref()
            .map(|line| line.expect("the agent's messages are text"))
            .find_map(|line| Some(line.split_once("listening on ")?.1.to_string()))
            .expect("the agent says where it listens");
        std::thread::spawn(move || {
            lines.for_each(|line| eprintln!("{}", line.unwrap_or_default()))
        });
        Self { child, address }
    }

    fn cp(&self, top: &Path, words: &[String]) {
        let mut command = Command::new(binary());
        command.args(["cp", "--address", &self.address]).args(words).current_dir(top);
        assert!(command.status().is_ok_and(|status| status.success()), "cp {words:?} failed");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
