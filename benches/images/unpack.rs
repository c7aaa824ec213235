//! Unpacking layers against `tar x` of the same archive.
//!
//! Digests are found out and compared, which tar does not do. Nothing is removed before the end: ext4 makes
//! files slowly for a minute after many were removed. A full run needs 12 GiB on disk, `--quick` 1.

use std::{
    fs::{self, File},
    io::Read,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::AtomicBool,
    time::Duration,
};

use doorward::{
    archive::Devices,
    core::image::Digest,
    image::{
        snapshot::{self, SnapshotSpec, record_tree},
        unpack::{Blob, Compression, Layer, Origin, UnpackSpec, unpack_layers},
    },
};
use sha2::{Digest as _, Sha256};

use super::{line, middle, timed};

/// The most of tar's time that is allowed.
const UNPACK_MOST: f64 = 0.7;

/// An archive and all that is known of it.
struct Archive {
    path: PathBuf,
    compression: Compression,
    diff_id: Digest,
    blob: Blob,
}

/// Unpacks the tree that is in `top`.
pub(super) fn run(top: &Path, rounds: usize) {
    shell(top, "tar -c -f plain.tar tree && zstd -q -1 -T0 plain.tar -o packed.tar.zst");
    let diff_id = digest(&top.join("plain.tar"));
    let mut last = PathBuf::new();
    for (name, file, compression) in
        [("plain", "plain.tar", Compression::None), ("zstd", "packed.tar.zst", Compression::Zstd)]
    {
        let path = top.join(file);
        let size = fs::metadata(&path).expect("it was made").len();
        let blob = Blob { digest: digest(&path), size };
        let archive = Archive { path, compression, diff_id, blob };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let into = |whose: &str| fresh(&top.join(format!("{name}-{whose}-{round}")));
            let to = into("tar");
            let script = format!("tar -x -p --numeric-owner -f {file} -C '{}'", to.display());
            theirs.push(settled(|| shell(top, &script)));
            last = into("ours");
            ours.push(settled(|| unpack(&archive, &last)));
        }
        line(&format!("unpack {name} ms"), middle(ours), middle(theirs), UNPACK_MOST);
    }
    let recorded = timed(|| record(&last)).as_secs_f64() * 1000.0;
    println!("# recording the last tree took {recorded:.0} ms more");
}

fn unpack(archive: &Archive, into: &Path) {
    let layer = Layer {
        from: Box::new(File::open(&archive.path).expect("it was made")),
        compression: archive.compression,
        diff_id: Some(archive.diff_id),
        blob: Some(archive.blob),
    };
    let spec = UnpackSpec::of(Origin::Ours);
    let made = unpack_layers([Ok(layer)], into, &spec, &AtomicBool::new(false));
    made.expect("an archive of tar is unpacked");
}

fn record(tree: &Path) {
    let spec = SnapshotSpec {
        compression: snapshot::Compression::Plain,
        devices: Devices::Packed,
        left_out: &[],
        own_mounts: &[],
        base: None,
        threads: 1,
    };
    let root = File::open(tree).expect("it was made");
    record_tree(root.as_fd(), &spec, &AtomicBool::new(false)).expect("it can be read");
}

/// How long something takes when all that was written before is on disk.
fn settled(work: impl FnOnce()) -> Duration {
    rustix::fs::sync();
    timed(work)
}

fn fresh(directory: &Path) -> PathBuf {
    fs::create_dir(directory).expect("target/ can be written");
    directory.into()
}

/// Piece by piece, as memory is measured too.
fn digest(path: &Path) -> Digest {
    let (mut sum, mut file) = (Sha256::new(), File::open(path).expect("it was made"));
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).expect("it can be read") {
            0 => return Digest::from_bytes(sum.finalize().into()),
            count => sum.update(&piece[..count]),
        }
    }
}

fn shell(directory: &Path, script: &str) {
    let status = Command::new("sh").args(["-c", script]).current_dir(directory).status();
    assert!(status.is_ok_and(|status| status.success()), "{script} failed");
}
