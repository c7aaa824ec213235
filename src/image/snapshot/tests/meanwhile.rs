//! Files that change while they are read.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
};

use super::*;

#[test]
fn files_that_change_leave_a_whole_layer() {
    let top = tempfile::tempdir().unwrap();
    let sizes = [10, 100_000, 1 << 20, 9 << 20];
    let paths: Vec<PathBuf> =
        (0..sizes.len()).map(|number| top.path().join(number.to_string())).collect();
    for (path, size) in paths.iter().zip(sizes) {
        fs::write(path, vec![7; size]).unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    let ended = done.clone();
    let changer = thread::spawn(move || {
        for round in 0_usize.. {
            if ended.load(Ordering::Relaxed) {
                return;
            }
            let at = round % sizes.len();
            let mut file = File::options().append(true).open(&paths[at]).unwrap();
            if round % 3 == 0 {
                file.set_len(sizes[at] as u64 / 3).unwrap();
            }
            file.write_all(&vec![8; sizes[at] / 2]).unwrap();
            if file.metadata().unwrap().len() > 2 * sizes[at] as u64 {
                file.set_len(0).unwrap();
            }
        }
    });
    let mut changed = 0;
    for round in 0.. {
        let (bytes, tree) = packed(top.path(), &plain());
        assert_eq!(model::members(&bytes).len(), 1 + sizes.len());
        assert_eq!(bytes.len() as u64, tree.layer.unwrap().tar_bytes);
        changed += tree.counts.changed;
        if changed > 20 {
            break;
        }
        assert!(round < 10_000, "nothing changed meanwhile");
    }
    done.store(true, Ordering::Relaxed);
    changer.join().unwrap();
}

/// Does something when so many bytes were written.
struct At<F: FnMut()> {
    bytes: usize,
    act: Option<F>,
    written: Vec<u8>,
}

impl<F: FnMut()> Write for At<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        if self.written.len() >= self.bytes
            && let Some(mut act) = self.act.take()
        {
            act();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_large_file_that_changes_keeps_its_size_and_is_told() {
    type Change = fn(&File);
    let cases: [(Change, &str); 3] = [
        (|file| file.set_len(1000).unwrap(), "it became shorter meanwhile"),
        (|file| file.set_len(100 << 20).unwrap(), "it was changed meanwhile"),
        (|mut file| file.write_all(&[0]).unwrap(), "it was changed meanwhile"),
    ];
    // What stands at an offset says where that is, so that nothing of elsewhere can be taken for it.
    let size = 60 << 20;
    let data: Vec<u8> = (0..size).map(|at| (at >> 20) as u8 | 0x80).collect();
    for (change, words) in cases {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("large");
        fs::write(&path, &data).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        // The header is written by then, and the walk is never so far ahead that all was read.
        let mut out = At { bytes: 8 << 20, act: Some(|| change(&file)), written: Vec::new() };
        let root = File::open(top.path()).unwrap();
        let tree = pack_layer(root.as_fd(), &plain(), &mut out, &AtomicBool::new(false)).unwrap();
        assert_eq!(tree.counts.changed, 1);
        assert!(tree.counts.notes[0].contains(words), "{:?}", tree.counts.notes);
        assert_eq!(tree.counts.data_bytes, size);
        let members = model::members(&out.written);
        let packed = &members[1].1.node.data;
        assert_eq!(packed.len(), data.len());
        let strange = packed.iter().zip(&data).position(|(one, other)| one != other && *one != 0);
        assert_eq!(strange, None);
        let zeros = packed.iter().filter(|byte| **byte == 0).count();
        assert_eq!(zeros > 1 << 20, words.contains("shorter"), "{zeros} zeros");
    }
}
