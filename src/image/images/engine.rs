//! What the parts of the engine share, and how its jobs run.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::{
    Images, ImagesError, Kept, Mounted, Packing, Places, RemoteImages,
    copies::Copies,
    registry::{Coming, Transfers},
};
use crate::{
    core::{
        failure::Kind,
        image::ImageId,
        limits::{IMAGE_REQUESTS_MAX, IMAGE_STREAMS_AT_ONCE},
    },
    image::{
        mounts::{Listed, Mounts},
        store::{Hold, Store, StoreError},
    },
    os::{
        features::Features,
        work::{Share, Work},
    },
};

/// What an operator decides about images.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The agent's directory: mounts in `mounts`, unpacked copies in `spares` and
    /// `trees`, and what we know to be ours in `own`.
    pub state_dir: PathBuf,
    /// Where images are kept on this machine: an OCI image layout, which several agents may share.
    pub store: PathBuf,
    /// How layers are compressed, if a snapshot does not say.
    pub compression: Packing,
    /// What the blobs of all images may take before the least recently used images go; 0 is no limit.
    pub bytes_max: u64,
    /// Whether callers may name images in registries.
    pub remote: RemoteImages,
    /// Whether a spare unpacked copy of each used image is kept ready.
    pub spares: bool,
}

/// The images of an agent, seen from within. Everything here blocks.
pub(super) struct Engine {
    pub(super) settings: Settings,
    /// The agent's directory, resolved.
    pub(super) state: PathBuf,
    pub(super) store: Arc<Store>,
    /// Where images are besides.
    pub(super) places: Places,
    pub(super) mounts: Mounts,
    pub(super) copies: Copies,
    /// What is mounted is held. Held for a few lines, those of the store among them.
    pub(super) holds: Mutex<BTreeMap<ImageId, Hold>>,
    /// What was mounted when that last changed, for those that must not wait for the table. Held for a few
    /// lines.
    pub(super) shown: Mutex<Vec<Mounted>>,
    /// Since when paths are mounted, as far as this agent has seen it. Held for a few lines.
    pub(super) since: Mutex<BTreeMap<PathBuf, SystemTime>>,
    /// Snapshots that are being made, by the callers' ids. Held for a few lines.
    pub(super) joined: Mutex<HashMap<String, Answer>>,
    /// Archives that are written and read.
    pub(super) streams: Arc<Semaphore>,
    /// Images that go to other machines and come from them.
    pub(super) transfers: Transfers,
    /// Those that are being fetched.
    pub(super) coming: Coming,
    /// The one spare copy that is being made.
    pub(super) refilling: Semaphore,
    /// The agent ends, and has no patience any more.
    pub(super) stop: AtomicBool,
    /// Requests that are under way.
    under_way: watch::Sender<usize>,
    work: Work,
}

/// What came of a snapshot, as soon as it is there.
pub(super) type Answer = watch::Receiver<Option<Result<Kept, ImagesError>>>;

impl Images {
    /// Opens the images beneath a state directory and puts right what a dead agent left behind. Returns also
    /// what its operator should be told. It blocks.
    pub fn open(
        settings: Settings,
        places: Places,
        features: &Features,
        work: Work,
        now: SystemTime,
    ) -> Result<(Self, Vec<String>), ImagesError> {
        let refused = |error| ImagesError::io("open the state directory", &error);
        std::fs::create_dir_all(&settings.state_dir).map_err(refused)?;
        let state = settings.state_dir.canonicalize().map_err(refused)?;
        let (store, repaired) = Store::open(&settings.store, now)?;
        let store = Arc::new(store);
        let (mounts, mut notices) = Mounts::open(&state, features)
            .map_err(|error| ImagesError::io("open the mounts", &error))?;
        if repaired != Default::default() {
            notices.push(format!(
                "images: {} dead sessions and {} blobs ({} bytes) removed, {:?} adopted, {:?} lost",
                repaired.sessions,
                repaired.swept.blobs,
                repaired.swept.bytes,
                repaired.adopted,
                repaired.lost
            ));
        }
        let mounted: Vec<String> = mounts.list().into_iter().map(|mount| mount.image).collect();
        let copies = Copies::open(&state, &settings, &mounted)
            .map_err(|error| ImagesError::io("open the copies of images", &error))?;
        let engine = Engine {
            settings,
            state,
            store,
            places,
            mounts,
            copies,
            holds: Mutex::default(),
            shown: Mutex::default(),
            since: Mutex::default(),
            joined: Mutex::default(),
            streams: Arc::new(Semaphore::new(IMAGE_STREAMS_AT_ONCE)),
            transfers: Transfers::new(),
            coming: Mutex::default(),
            refilling: Semaphore::new(1),
            stop: AtomicBool::new(false),
            under_way: watch::Sender::new(0),
            work,
        };
        notices.extend(engine.hold_mounted());
        Ok((Self(Arc::new(engine)), notices))
    }

    /// Runs a job to its end, also if nobody waits for it any more.
    pub(super) async fn run<T, F>(&self, job: F) -> Result<T, ImagesError>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<Engine>) -> Result<T, ImagesError> + Send + 'static,
    {
        self.run_among(Share::Image, job).await
    }

    /// The same for a job that only looks at files, and waits for nobody.
    pub(super) async fn run_soon<T, F>(&self, job: F) -> Result<T, ImagesError>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<Engine>) -> Result<T, ImagesError> + Send + 'static,
    {
        self.run_among(Share::File, job).await
    }

    /// Follows work to its end, also if nobody waits for it any more.
    pub(super) async fn to_its_end<T: Send + 'static>(
        work: impl Future<Output = Result<T, ImagesError>> + Send + 'static,
    ) -> Result<T, ImagesError> {
        tokio::spawn(work).await.unwrap_or_else(|error| {
            Err(ImagesError::internal(format!("work on images broke off: {error}")))
        })
    }

    async fn run_among<T, F>(&self, share: Share, job: F) -> Result<T, ImagesError>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<Engine>) -> Result<T, ImagesError> + Send + 'static,
    {
        let engine = self.0.clone();
        let under_way = UnderWay::begin(&engine)?;
        let running = tokio::spawn(async move {
            let work = engine.work.clone();
            work.run(share, move || {
                let _under_way = under_way;
                job(&engine)
            })
            .await
        });
        running.await.unwrap_or_else(|error| {
            Err(ImagesError::internal(format!("a job about images broke off: {error}")))
        })
    }

    /// Lets what is under way end, for at most this long; then it is stopped. Mounts stay.
    pub async fn close(&self, patience: Duration) {
        let mut under_way = self.0.under_way.subscribe();
        // Its sender is ours.
        let _ = tokio::time::timeout(patience, under_way.wait_for(|count| *count == 0)).await;
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

impl Engine {
    /// Begins what nobody waits for, from a thread of the pool; what goes wrong with it is logged.
    pub(super) fn go_on<W>(self: &Arc<Self>, what: &'static str, work: impl FnOnce(Images) -> W)
    where
        W: Future<Output = Result<(), ImagesError>> + Send + 'static,
    {
        let work = work(Images(self.clone()));
        tokio::spawn(async move {
            if let Err(error) = work.await {
                tracing::warn!("ignoring that {what}: {error}");
            }
        });
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Holds exactly the images that are mounted, and shows what is. Returns what could not be held.
    pub(super) fn hold_mounted(&self) -> Vec<String> {
        let mut holds = self.holds.lock();
        // Looked at while the holds are locked: who mounts comes here afterwards.
        let listed = self.mounts.list();
        self.show(&listed);
        holds.retain(|id, _| listed.iter().any(|mount| mount.image == id.as_str()));
        let mut notices = Vec::new();
        for mount in listed.iter().filter(|mount| !mount.image.is_empty()) {
            let Ok(id) = ImageId::parse(&mount.image) else { continue };
            if holds.contains_key(&id) {
                continue;
            }
            match self.store.hold(&id, SystemTime::now()) {
                Ok(hold) => drop(holds.insert(id, hold)),
                // It is used to its end and not longer.
                Err(StoreError::NotFound { .. }) => {
                    let path = &mount.path;
                    notices
                        .push(format!("{path:?}: its image {id} is gone; what is mounted stays"));
                }
                Err(error) => notices.push(format!("ignoring that {id} is not held: {error}")),
            }
        }
        notices
    }

    fn show(&self, listed: &[Listed]) {
        let mut since = self.since.lock();
        since.retain(|path, _| listed.iter().any(|mount| mount.path == *path));
        let mounts = listed.iter().map(|mount| Mounted {
            path: mount.asked.as_os_str().as_encoded_bytes().to_vec(),
            image: ImageId::parse(&mount.image).ok(),
            way: mount.way,
            since: since.get(&mount.path).copied(),
        });
        *self.shown.lock() = mounts.collect();
    }

    /// Whether an image is mounted, or is about to be.
    pub(super) fn is_mounted(&self, key: &str) -> bool {
        self.mounts.list().iter().any(|mount| mount.image == key)
    }

    /// Whether we made all of an image, from the first layer on: what is in `own` nobody else says.
    pub(super) fn is_own(&self, id: &ImageId) -> bool {
        self.own(id).exists()
    }

    /// The file that says that we made an image.
    pub(super) fn own(&self, id: &ImageId) -> PathBuf {
        Path::new(&self.state).join("own").join(id.as_str())
    }
}

/// A request that is under way.
pub(super) struct UnderWay(Arc<Engine>);

impl UnderWay {
    pub(super) fn begin(engine: &Arc<Engine>) -> Result<Self, ImagesError> {
        if engine.stopped() {
            return Err(ImagesError::stopped());
        }
        let admitted = engine.under_way.send_if_modified(|count| {
            let free = *count < IMAGE_REQUESTS_MAX;
            *count += usize::from(free);
            free
        });
        match admitted {
            true => Ok(Self(engine.clone())),
            false => Err(ImagesError::new(
                Kind::Exhausted,
                format!("{IMAGE_REQUESTS_MAX} requests about images are under way"),
            )),
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.send_modify(|count| *count -= 1);
    }
}
