//! Snapshots against GNU tar and zstd.

use std::{
    fs::{self, File},
    io::BufWriter,
    os::fd::AsFd,
    path::Path,
    process::Command,
    sync::atomic::AtomicBool,
    time::Duration,
};

use doorward::{
    archive::Devices,
    image::{
        record::TreeRecord,
        snapshot::{Compression, PackedTree, SnapshotSpec, pack_layer},
    },
};

use super::{line, middle, timed};

/// How much of the time, or of the size, of what it is held against is allowed.
const ZSTD_MOST: f64 = 0.9;
const SIZE_MOST: f64 = 1.05;
const PLAIN_MOST: f64 = 1.1;
const UNCHANGED_MOST: f64 = 0.25;
const CHANGED_MOST: f64 = 0.35;

pub(super) fn run(top: &Path, rounds: usize) {
    let tree = top.join("tree");
    let (ours, theirs) = (top.join("ours"), top.join("theirs"));
    let zstd = Compression::Zstd(1);
    let shell = |script: &str| {
        let status = Command::new("sh").args(["-c", script]).current_dir(top).status();
        assert!(status.is_ok_and(|status| status.success()), "{script} failed");
    };
    let tar_zstd = || shell("tar -C tree -c . | zstd -q -1 -T0 > theirs");
    let tar = || shell("tar -C tree -c . > theirs");
    // Both once, so that neither finds a colder cache than the other.
    pack(&tree, &ours, zstd, None);
    tar_zstd();
    let size = |path: &Path| fs::metadata(path).expect("it was written").len() as f64;
    let sizes = (size(&ours), size(&theirs));

    let (packed, floor) =
        turns(rounds, [&ours, &theirs], || drop(pack(&tree, &ours, zstd, None)), tar_zstd);
    line("snapshot zstd ms", packed, floor, ZSTD_MOST);
    line("snapshot zstd bytes", sizes.0, sizes.1, SIZE_MOST);
    let (plain, floor) =
        turns(rounds, [&ours, &theirs], || drop(pack(&tree, &ours, Compression::Plain, None)), tar);
    line("snapshot plain ms", plain, floor, PLAIN_MOST);

    let record = pack(&tree, &ours, zstd, None).record.expect("it is not too large");
    let again = |record: &TreeRecord| pack(&tree, &ours, zstd, Some(record)).counts.entries;
    assert_eq!(again(&record), 0, "nothing changed");
    let times = (0..rounds).map(|_| timed(|| _ = again(&record))).collect();
    line("snapshot unchanged ms", middle(times), packed, UNCHANGED_MOST);
    change_some(&tree);
    assert!(again(&record) > 0, "some changed");
    let times = (0..rounds).map(|_| timed(|| _ = again(&record))).collect();
    line("snapshot 1 % changed ms", middle(times), packed, CHANGED_MOST);
}

fn pack(tree: &Path, to: &Path, compression: Compression, base: Option<&TreeRecord>) -> PackedTree {
    let threads = std::thread::available_parallelism().map_or(2, |count| count.get());
    let spec = SnapshotSpec {
        compression,
        devices: Devices::Skipped,
        left_out: &[],
        own_mounts: &[],
        base,
        threads,
    };
    let root = File::open(tree).expect("the tree is there");
    let mut out = BufWriter::new(File::create(to).expect("target/ can be written"));
    pack_layer(root.as_fd(), &spec, &mut out, &AtomicBool::new(false))
        .expect("the tree can be packed")
}

/// Two ways in turns; the middle time of each. What they wrote is removed in between.
fn turns(rounds: usize, made: [&Path; 2], ours: impl Fn(), theirs: impl Fn()) -> (f64, f64) {
    let mut times: [Vec<Duration>; 2] = Default::default();
    for _ in 0..rounds {
        for (index, work) in [&ours as &dyn Fn(), &theirs].into_iter().enumerate() {
            let _ = fs::remove_file(made[index]);
            rustix::fs::sync();
            times[index].push(timed(work));
        }
    }
    let [ours, theirs] = times;
    (middle(ours), middle(theirs))
}

/// Appends a line to each hundredth source.
fn change_some(tree: &Path) {
    let mut ahead = vec![tree.to_path_buf()];
    let mut number = 0;
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(directory).expect("the tree is there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                ahead.push(path);
                continue;
            }
            number += 1;
            if number % 100 == 0 {
                let mut data = fs::read(&path).expect("the tree is there");
                data.push(b'\n');
                fs::write(&path, data).expect("target/ can be written");
            }
        }
    }
}
