//! A file system without room.

use super::*;
use crate::image::store::{BlobWriter, StoreError};

/// A file system of a megabyte, unmounted at the end.
struct Small(TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["-t", "tmpfs", "-o", "size=1m,nr_inodes=200", "doorward-test"];
        let mounted = Command::new("mount").args(arguments).arg(directory.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(directory)),
            _ => None,
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// Bytes and files that are used.
fn used(path: &Path) -> (u64, u64) {
    let stat = rustix::fs::statvfs(path).unwrap();
    (stat.f_blocks - stat.f_bfree, stat.f_files - stat.f_ffree)
}

fn fill(writer: &mut BlobWriter) -> std::io::Error {
    loop {
        if let Err(error) = writer.write_all(&[7; 64 << 10]) {
            return error;
        }
    }
}

#[test]
fn a_full_disk_is_told_leaves_nothing_and_loses_nothing() {
    let Some(small) = Small::mount() else { return skip("store::full", "no right to mount") };
    let path = small.path().join("images");
    let (store, _) = Store::open(&path, at(0)).unwrap();
    let new = image(&store, &[&tar("a", b"1")], Ttl::Never);
    let id = store.add_image(new, at(0)).unwrap().id().clone();
    let before = used(small.path());

    let mut writer = store.writer().unwrap();
    let error = fill(&mut writer);
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert!(matches!(StoreError::io("write", error), StoreError::Full { .. }));
    drop(writer);
    assert_eq!(used(small.path()), before);

    // A commit that finds no room at some step leaves nothing of it either. The room that is left is
    // a page more each time, until it is enough.
    let mut refused = 0;
    for pages in 0.. {
        let new = image(&store, &[&tar("b", &[b'2'; 5000])], Ttl::Never);
        let filler = small.path().join("filler");
        std::fs::write(&filler, "").unwrap();
        let stat = rustix::fs::statvfs(&path).unwrap();
        let room = stat.f_bfree.saturating_sub(pages) * stat.f_frsize;
        std::fs::write(&filler, vec![0; usize::try_from(room).unwrap()]).unwrap();
        let added = store.add_image(new, at(1));
        std::fs::remove_file(&filler).unwrap();
        match added {
            Ok(_) => break,
            Err(StoreError::Full { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        assert_eq!(used(small.path()), before, "with {pages} pages");
        assert_eq!(store.list(at(1)).unwrap().len(), 1);
    }
    assert!(refused >= 3, "refused {refused} times");
    assert_eq!(store.find(&by_id(&id), at(1)).unwrap().id, id);
    assert_eq!(store.verify(&crate::image::store::Which::All, at(1), &|| false).unwrap(), []);

    // A store without any room can still make some.
    let mut filler = std::fs::File::create(small.path().join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    assert_eq!(rustix::fs::statvfs(&path).unwrap().f_bfree, 0);
    let collected = store.collect(at(2), 0).unwrap();
    assert_eq!(collected.images.len(), 2);
    assert_eq!(read_json(&path.join("index.json"))["manifests"], json!([]));
    assert_eq!(std::fs::read_dir(path.join("blobs/sha256")).unwrap().count(), 0);
}
