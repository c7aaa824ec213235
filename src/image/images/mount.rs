//! Images come into use and out of it.

use std::{path::Path, sync::Arc, time::SystemTime};

use super::{
    Event, Images, ImagesError, Mounted, Told,
    engine::Engine,
    source::Source,
    tell::Teller,
    trees::{NoTrees, Trees, Whole},
};
use crate::{
    core::{
        image::{ImageId, Reference},
        limits::IMAGE_RECORDED_AFTER,
        mounts::{MountPath, Way},
    },
    image::{
        crypt::Key,
        mounts::{self, Inside, MountError},
        store::{Hold, StoreError},
    },
    os::features::Feature,
};

/// A request for a mount.
pub(super) struct Wanted {
    /// In use; `None` is an empty directory.
    pub(super) image: Option<Hold>,
    pub(super) path: Vec<u8>,
    pub(super) key: Option<Key>,
    pub(super) told: Told,
}

impl Images {
    /// Shows an image's tree at `path`; `image` `None` is an empty directory. It goes on if the future
    /// is dropped; a repeat succeeds. Remote references only where the settings allow them.
    pub async fn mount(
        &self,
        image: Option<Reference>,
        path: Vec<u8>,
        key: Option<Key>,
        told: Told,
    ) -> Result<Mounted, ImagesError> {
        // What is wrong with the request comes before what is there.
        MountPath::parse(&path).map_err(ImagesError::invalid)?;
        let images = self.clone();
        Self::to_its_end(async move {
            let image = match &image {
                Some(reference) => Some(images.bring(reference, &told).await?),
                None => None,
            };
            let wanted = Wanted { image, path, key, told };
            images.run(move |engine| engine.mount(wanted)).await
        })
        .await
    }

    /// Shows again what a mount at exactly this path has hidden.
    pub async fn unmount(&self, path: Vec<u8>) -> Result<(), ImagesError> {
        self.run(move |engine| engine.unmount(&path)).await
    }

    /// What is mounted, by path. It waits for nothing.
    pub fn mounts(&self) -> Vec<Mounted> {
        self.0.shown.lock().clone()
    }

    /// Makes a spare tree of an image for its next mount, one at a time.
    async fn refill(self, id: ImageId) -> Result<(), ImagesError> {
        // It is never closed.
        let _one = self.0.refilling.acquire().await;
        self.run(move |engine| engine.refill(&id)).await
    }

    /// Records the tree beneath the overlays of an image, when nothing in it has to be read for that.
    async fn record(self, id: ImageId) -> Result<(), ImagesError> {
        tokio::time::sleep(IMAGE_RECORDED_AFTER).await;
        self.run(move |engine| engine.record(id.as_str())).await
    }
}

impl Images {
    /// The way of mounting that is tried first, and why it is no overlay, if it is none.
    pub fn way(&self) -> (Way, Option<String>) {
        match self.0.mounts.ways() {
            (Way::Overlay, _) | (_, Feature::Have) => (Way::Overlay, None),
            (way, Feature::Missing(reason)) => (way, Some(reason.clone())),
        }
    }
}

impl Engine {
    fn mount(self: &Arc<Self>, wanted: Wanted) -> Result<Mounted, ImagesError> {
        let Wanted { image, path, key, told } = wanted;
        let Some(hold) = image else {
            if key.is_some() {
                return Err(ImagesError::invalid(
                    "an empty directory is not sealed: it has no key",
                ));
            }
            let done = self.mounts.mount(&path, "", &NoTrees);
            let mounted = self.mounted(path, None, done);
            self.renew_holds();
            let (mounted, done) = mounted?;
            if !done.inside.is_empty() {
                let text = format!("{}: {}", done.path.display(), stays(&done.inside));
                told(Event::Notice(text));
            }
            return Ok(mounted);
        };
        let source = Source::open(&self.store, &hold, key.as_ref())?;
        let teller = Teller::new(&told, "unpacking", Some(source.bytes()));
        let trees = Trees { engine: self, id: hold.id(), source: &source, teller: teller.clone() };
        let done = self.mounts.mount(&path, hold.id().as_str(), &trees);
        let mounted = self.mounted(path, Some(hold.id().clone()), done);
        self.renew_holds();
        let (mounted, done) = mounted?;
        if !done.inside.is_empty() {
            teller.notice(format!("{}: {}", done.path.display(), stays(&done.inside)));
        }
        if done.is_new && !source.is_sealed() {
            self.make_ready(hold.id().clone(), done.way);
        }
        Ok(mounted)
    }

    fn mounted(
        &self,
        path: Vec<u8>,
        image: Option<ImageId>,
        done: Result<mounts::Mounted, MountError>,
    ) -> Result<(Mounted, mounts::Mounted), ImagesError> {
        let done = done?;
        warn_of(&done.inside, &done.path);
        let now = SystemTime::now();
        let mut all = self.since.lock();
        let since = match done.is_new {
            true => {
                all.insert(done.path.clone(), now);
                Some(now)
            }
            false => all.get(&done.path).copied(),
        };
        Ok((Mounted { path, image, way: Some(done.way), since }, done))
    }

    /// Has that made which the next mount of the image, or the next snapshot of this one, does not want to wait for.
    fn make_ready(self: &Arc<Self>, id: ImageId, way: Way) {
        match way {
            Way::Overlay if self.copies.is_recorded(id.as_str()) => {}
            Way::Overlay => self.go_on("a tree is not recorded", |images| images.record(id)),
            Way::Bind | Way::Swap | Way::Entries if self.copies.spares.is_some() => {
                self.go_on("there is no spare copy", |images| images.refill(id));
            }
            Way::Bind | Way::Swap | Way::Entries => {}
        }
    }

    /// Something was mounted or unmounted.
    fn renew_holds(&self) {
        self.hold_mounted().into_iter().for_each(|notice| tracing::warn!("{notice}"));
    }

    fn unmount(self: &Arc<Self>, path: &[u8]) -> Result<(), ImagesError> {
        let inside = self.mounts.unmount(path);
        self.renew_holds();
        let inside = inside?;
        warn_of(&inside, Path::new(&String::from_utf8_lossy(path).into_owned()));
        self.go_on("what was unmounted is left", async |images| {
            images.run(|engine| engine.sweep()).await
        });
        Ok(())
    }

    pub(super) fn sweep(&self) -> Result<(), ImagesError> {
        let swept = self.mounts.sweep();
        swept.map_err(|error| ImagesError::io("remove what was unmounted", &error))
    }

    /// Takes an image that is here into use.
    pub(super) fn hold(&self, reference: &Reference) -> Result<Hold, ImagesError> {
        let now = SystemTime::now();
        let image = self.find(reference)?;
        Ok(self.store.hold(&image.id, now)?)
    }

    /// Records the tree that overlays of an image share, if that is not done.
    pub(super) fn record(&self, key: &str) -> Result<(), ImagesError> {
        self.copies.record(key, &self.stop)
    }

    fn refill(&self, id: &ImageId) -> Result<(), ImagesError> {
        let Some(spares) = &self.copies.spares else { return Ok(()) };
        let hold = match self.store.hold(id, SystemTime::now()) {
            // Somebody has removed it meanwhile.
            Err(StoreError::NotFound { .. }) => return Ok(()),
            hold => hold?,
        };
        let source = Source::open(&self.store, &hold, None)?;
        let nobody: Told = Arc::new(|_| {});
        let teller = Teller::new(&nobody, "unpacking", None);
        let trees = Trees { engine: self, id: hold.id(), source: &source, teller };
        let made =
            spares.refill(hold.id().as_str(), |wanted| trees.recorded(wanted).map_err(Whole));
        made.map_err(|whole| whole.0)
    }
}

fn stays(inside: &Inside) -> String {
    format!("what works in the directory keeps what was there: {inside}")
}

fn warn_of(inside: &Inside, path: &Path) {
    if !inside.is_empty() {
        tracing::warn!("{path:?}: {}", stays(inside));
    }
}
