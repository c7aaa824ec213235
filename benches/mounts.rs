//! What it costs to mount an image, by each way that this machine allows.
//!
//! `cargo bench --bench mounts [-- --quick]` makes a tree of small files with some large ones under target/,
//! mounts it with a ready tree and without one, and prints one line a figure:
//!
//! ```text
//! name,value,floor,ratio
//! ```
//!
//! Values are milliseconds, medians of some rounds. The floor of a mount that finds a tree ready is what is
//! promised, 20 ms; that of one that has to make a copy is `cp -a --reflink=auto` of the same tree, in turns
//! with it. A ratio above its target gets a note and never fails a run. The full run takes 2 GiB on disk,
//! `--quick` a tenth of that.

use std::{
    cell::Cell,
    fs,
    io::Write,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use doorward::{
    core::mounts::Way,
    image::mounts::{Mounts, Spares, Taken, TreeError, TreeProvider, WantedTree, clone_tree},
    os::features::Features,
};

/// Most milliseconds of a mount that finds a tree ready.
const READY_MS_MAX: f64 = 20.0;
/// Most of a copy's time that a mount without one takes.
const COPY_RATIO_MAX: f64 = 1.2;

/// Takes trees from the spares, and makes them by cloning.
struct Trees {
    tree: PathBuf,
    spares: Spares,
    /// Whether overlays may lie over the tree.
    shared: Cell<bool>,
}

impl TreeProvider for Trees {
    fn private_tree(&self, wanted: WantedTree<'_>) -> Result<(), TreeError> {
        if self.spares.take(wanted)? == Taken::None {
            clone_tree(&self.tree, wanted.into, &|| false)?;
        }
        Ok(())
    }

    fn shared_tree(&self, _: &str) -> Result<Option<PathBuf>, TreeError> {
        Ok(self.shared.get().then(|| self.tree.clone()))
    }
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (files, rounds) = if quick { (2500, 5) } else { (25_000, 3) };
    let top = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mounts-{}", std::process::id()));
    let _ = fs::remove_dir_all(&top);
    let bytes = make(&top.join("tree"), files);
    println!("# {files} files, {} MiB", bytes >> 20);
    println!("name,value,floor,ratio");
    for (way, disabled) in [(Way::Overlay, ""), (Way::Bind, "overlay"), (Way::Swap, "mount")] {
        let state = top.join(way.name());
        let features = Features::probe(disabled).expect("the names are known");
        let (mounts, _) = Mounts::open(&state, &features).expect("the state directory is fresh");
        if mounts.ways().0 != way {
            println!("# {}: skipped, not possible here", way.name());
            continue;
        }
        let spares = Spares::open(&state.join("spares")).expect("it is fresh");
        let shared = Cell::new(way == Way::Overlay);
        let trees = Trees { tree: top.join("tree"), spares, shared };
        let bench = Bench { top: &top, mounts, trees, way };
        bench.ready(rounds);
        if way != Way::Overlay {
            bench.copied(rounds);
        }
    }
    let _ = fs::remove_dir_all(&top);
}

/// One way to mount.
struct Bench<'a> {
    top: &'a Path,
    mounts: Mounts,
    trees: Trees,
    way: Way,
}

impl Bench<'_> {
    fn ready(&self, rounds: usize) {
        let mut mounted = Vec::new();
        for _ in 0..rounds {
            if self.way != Way::Overlay {
                let make =
                    |wanted: WantedTree<'_>| clone_tree(&self.trees.tree, wanted.into, &|| false);
                self.trees
                    .spares
                    .refill("im-1", |wanted| make(wanted).map(drop))
                    .expect("there is room");
            }
            mounted.push(self.once());
        }
        line(&format!("{} ready", self.way.name()), middle(mounted), READY_MS_MAX, 1.0);
    }

    fn copied(&self, rounds: usize) {
        let (mut mounted, mut copied) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            mounted.push(self.once());
            copied.push(self.cp());
        }
        let name = format!("{} copied", self.way.name());
        line(&name, middle(mounted), middle(copied), COPY_RATIO_MAX);
    }

    /// How long it takes to mount it; unmounts it again.
    fn once(&self) -> Duration {
        let path = self.top.join("place");
        fs::create_dir_all(path.join("with/something")).expect("target/ can be written");
        let path_bytes = path.as_os_str().as_bytes();
        rustix::fs::sync();
        let begun = Instant::now();
        let mounted = self.mounts.mount(path_bytes, "im-1", &self.trees).expect("it is possible");
        let time = begun.elapsed();
        assert_eq!(mounted.way, self.way);
        self.mounts.unmount(path_bytes).expect("it is mounted");
        self.mounts.sweep().expect("it is ours");
        time
    }

    fn cp(&self) -> Duration {
        let copy = self.top.join("copy");
        rustix::fs::sync();
        let begun = Instant::now();
        let mut cp = Command::new("cp");
        cp.args(["-a", "--reflink=auto"]).arg(&self.trees.tree).arg(&copy);
        assert!(cp.status().is_ok_and(|status| status.success()), "cp failed");
        let time = begun.elapsed();
        fs::remove_dir_all(&copy).expect("the copy is there");
        time
    }
}

/// Makes a tree of so many files, of which one in a hundred has half of all bytes. Returns its bytes.
fn make(top: &Path, files: usize) -> u64 {
    let data: Vec<u8> =
        (0..2 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let mut bytes = 0;
    for number in 0..files {
        let directory = top.join(format!("package_{}/module_{}", number / 250, number / 25 % 10));
        if number % 25 == 0 {
            fs::create_dir_all(&directory).expect("target/ can be written");
        }
        let size = match number % 100 {
            0 => 1_400_000,
            _ => 500 + number * 7919 % 25_000,
        };
        let mut file =
            fs::File::create(directory.join(format!("file_{number}.py"))).expect("it can be made");
        file.write_all(&data[number % 1000..][..size]).expect("there is room");
        bytes += size as u64;
    }
    bytes
}

/// Prints a figure and what it is held against.
fn line(name: &str, value: f64, floor: f64, most: f64) {
    let ratio = value / floor;
    let verdict = if ratio <= most { "" } else { ",MISSED" };
    println!("{name},{value:.1},{floor:.1},{ratio:.3} (<= {most}){verdict}");
}

/// The middle one, in milliseconds.
fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}
