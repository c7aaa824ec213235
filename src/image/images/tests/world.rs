//! A state directory, a place to mount at, and requests in few words.

use std::{
    fs,
    future::Future,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;

use crate::{
    core::image::{ImageId, Reference, Ttl},
    image::{
        crypt::Key,
        images::{
            Event, Images, ImagesError, Kept, Mounted, Packing, Places, RemoteImages, Settings,
            Snapshot, Subject, Told,
        },
        mounts::tests::world::{fill, picture},
        remote::Options,
        store::tests::skip,
    },
    os::{features::Features, mount, work::Work},
};

/// A fresh directory.
pub(super) struct World {
    pub(super) top: PathBuf,
    disabled: &'static str,
    pub(super) may_mount: bool,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl World {
    /// One where these features are not used; whatever is mounted there, nobody else sees.
    pub(super) fn without(disabled: &'static str) -> Self {
        let own = mount::own_namespace();
        if let Err(error) = &own
            && !disabled.contains("mount")
        {
            skip("images mounted by the kernel", &format!("no right to mount: {error}"));
        }
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir(top.join("place")).unwrap();
        fill(&top.join("tree"), "one");
        // Every thread of it is begun by this one or by one of them, and is where this one is.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        Self { top, disabled, may_mount: own.is_ok(), runtime, _dir: dir }
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            state_dir: self.top.join("state"),
            store: self.top.join("state/images"),
            compression: Packing::Zstd,
            bytes_max: 0,
            remote: RemoteImages::Refused,
            spares: true,
        }
    }

    pub(super) fn open(&self) -> Images {
        let (images, notices) = self.open_with(self.settings());
        assert_eq!(notices, Vec::<String>::new());
        images
    }

    pub(super) fn open_with(&self, settings: Settings) -> (Images, Vec<String>) {
        let features = Features::probe(self.disabled).unwrap();
        let (work, now) = (Work::new(), SystemTime::now());
        Images::open(settings, self.places(&work), &features, work, now).unwrap()
    }

    /// No place beyond this machine.
    pub(super) fn places(&self, work: &Work) -> Places {
        self.wait(Places::open(None, Options::new(work.clone()))).unwrap()
    }

    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Lets all that is under way end, and closes.
    pub(super) fn close(&self, images: Images) {
        self.settle();
        self.wait(images.close(Duration::from_secs(60)));
    }

    /// Waits for all that is under way, in the background too.
    pub(super) fn settle(&self) {
        self.wait(async {
            while self.runtime.metrics().num_alive_tasks() > 0 {
                // Time that passes only while nothing else is done.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.top.join("tree")
    }

    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.top.join("place").join(name)
    }

    pub(super) fn snapshot(&self, images: &Images, path: &Path) -> Result<Kept, ImagesError> {
        self.wait(images.snapshot(of(path), nobody()))
    }

    pub(super) fn mount(
        &self,
        images: &Images,
        id: &ImageId,
        path: &Path,
    ) -> Result<Mounted, ImagesError> {
        self.mount_with(images, id, path, None)
    }

    pub(super) fn mount_with(
        &self,
        images: &Images,
        id: &ImageId,
        path: &Path,
        key: Option<Key>,
    ) -> Result<Mounted, ImagesError> {
        let image = Some(Reference::Image(id.clone()));
        self.wait(images.mount(image, path.as_os_str().as_bytes().to_vec(), key, nobody()))
    }

    pub(super) fn unmount(&self, images: &Images, path: &Path) -> Result<(), ImagesError> {
        self.wait(images.unmount(path.as_os_str().as_bytes().to_vec()))
    }
}

/// A snapshot of a directory, as plain as it can be.
pub(super) fn of(path: &Path) -> Snapshot {
    Snapshot {
        subject: Subject::Directory(path.as_os_str().as_bytes().to_vec()),
        snapshot_id: None,
        ttl: Ttl::Never,
        key: None,
        compression: None,
        tag: None,
    }
}

pub(super) fn nobody() -> Told {
    Arc::new(|_| {})
}

/// Who writes down what is told.
pub(super) fn listener() -> (Told, Arc<Mutex<Vec<Event>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let to = heard.clone();
    (Arc::new(move |event| to.lock().push(event)), heard)
}

pub(super) fn key(word: &str) -> Key {
    Key::parse(word.repeat(16).as_bytes()).unwrap()
}

/// Two trees are the same.
pub(super) fn same(one: &Path, other: &Path) {
    let (one, other) = (picture(one), picture(other));
    assert_eq!(one, other);
}
