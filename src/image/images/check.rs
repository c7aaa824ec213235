//! Images are checked, and go.

use std::{sync::Arc, time::SystemTime};

use parking_lot::Mutex;

use super::{Checked, Images, ImagesError, Prune, Told, engine::Engine, tell::Teller};
use crate::{
    core::image::{ImageId, Reference},
    image::store::{Verification, Watch, Which},
};

impl Images {
    /// Removes what has expired, then what was used longest ago until at most `keep_bytes` are left, but
    /// nothing that is mounted or tagged; returns what went and the bytes that are free by it. A dry
    /// one only says so.
    pub async fn prune(
        &self,
        keep_bytes: Option<u64>,
        prune: Prune,
    ) -> Result<(Vec<ImageId>, u64), ImagesError> {
        self.run(move |engine| {
            let (now, most) = (SystemTime::now(), keep_bytes.unwrap_or(u64::MAX));
            let collected = match prune {
                Prune::Dry => engine.store.collectable(now, most)?,
                Prune::Now => {
                    let collected = engine.store.collect(now, most)?;
                    engine.drop_copies();
                    collected
                }
            };
            Ok((collected.images, collected.bytes))
        })
        .await
    }

    /// Reads every blob of one image or of all and compares it with its digest.
    pub async fn verify(
        &self,
        image: Option<Reference>,
        told: Told,
    ) -> Result<Checked, ImagesError> {
        self.run(move |engine| engine.verify(image.as_ref(), &told)).await
    }
}

impl Engine {
    fn verify(
        self: &Arc<Self>,
        image: Option<&Reference>,
        told: &Told,
    ) -> Result<Checked, ImagesError> {
        let hold = image.map(|image| self.hold(image)).transpose()?;
        let which = hold.as_ref().map_or(Which::All, |hold| Which::One(hold.id().clone()));
        let teller = Mutex::new(None::<Teller>);
        let more = |bytes, total| {
            let mut teller = teller.lock();
            teller.get_or_insert_with(|| Teller::new(told, "checking", Some(total))).add(bytes);
        };
        let stopped = || self.stopped();
        let watch = Watch { stop: &stopped, told: &more };
        let Verification { blobs, bytes, faults } =
            self.store.verify_watched(&which, SystemTime::now(), &watch)?;
        if let Some(teller) = teller.into_inner() {
            teller.end(blobs);
        }
        Ok(Checked { blobs, bytes, faults })
    }
}
