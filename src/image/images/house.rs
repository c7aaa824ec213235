//! What is done from time to time: images whose time is over go, those in use are renewed, and what nobody
//! needs is removed.

use std::{sync::Arc, time::SystemTime};

use super::{Images, ImagesError, engine::Engine};
use crate::core::{
    image::ImageId,
    limits::{IMAGE_COPIES_KEPT, IMAGE_HOUSE},
};

impl Images {
    /// Keeps house for as long as it is awaited, beginning at once. Dropping it loses nothing.
    pub async fn keep_house(&self) {
        let mut round = tokio::time::interval(IMAGE_HOUSE);
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            round.tick().await;
            if let Err(error) = self.run(|engine| engine.keep_house()).await {
                tracing::warn!("ignoring: {error}");
            }
        }
    }
}

impl Engine {
    pub(super) fn keep_house(self: &Arc<Self>) -> Result<(), ImagesError> {
        let now = SystemTime::now();
        self.hold_mounted().into_iter().for_each(|notice| tracing::warn!("{notice}"));
        for hold in self.holds.lock().values() {
            if let Err(error) = hold.renew(now) {
                tracing::warn!("ignoring: {error}");
            }
        }
        self.collect(now, self.bytes_max())?;
        self.drop_copies();
        self.forget_own()?;
        self.sweep()
    }

    /// What all blobs may take.
    pub(super) fn bytes_max(&self) -> u64 {
        match self.settings.bytes_max {
            0 => u64::MAX,
            bytes => bytes,
        }
    }

    fn collect(&self, now: SystemTime, bytes_max: u64) -> Result<(), ImagesError> {
        let collected = self.store.collect(now, bytes_max)?;
        if !collected.images.is_empty() {
            let (count, bytes) = (collected.images.len(), collected.bytes);
            tracing::info!("{count} images expired or made room: {bytes} bytes");
        }
        Ok(())
    }

    /// Makes room if the store has grown too large.
    pub(super) fn collect_too_many(&self) {
        let full = self.store.bytes().is_ok_and(|bytes| bytes > self.bytes_max());
        if full && let Err(error) = self.collect(SystemTime::now(), self.bytes_max()) {
            tracing::warn!("ignoring that no room was made: {error}");
        }
    }

    /// Removes the unpacked copies of images that are gone, or were not used for long.
    pub(super) fn drop_copies(&self) {
        let now = SystemTime::now();
        let Ok(images) = self.store.list(now) else { return };
        let is_used = |key: &str| {
            let image = images.iter().find(|image| image.id.as_str() == key);
            let kept = |image: &crate::image::store::Image| {
                let unused = now.duration_since(image.last_used).unwrap_or_default();
                unused < IMAGE_COPIES_KEPT || self.is_mounted(key)
            };
            image.is_some_and(kept)
        };
        if let Err(error) = self.copies.keep(&|key| self.is_mounted(key), &is_used) {
            tracing::warn!("ignoring that a copy of an image is left: {error}");
        }
    }

    /// Forgets which images were ours that are gone.
    fn forget_own(&self) -> Result<(), ImagesError> {
        let failed = |error| ImagesError::io("forget an image", &error);
        let Ok(entries) = std::fs::read_dir(self.state.join("own")) else { return Ok(()) };
        let images = self.store.list(SystemTime::now())?;
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let id = name.to_str().and_then(|name| ImageId::parse(name).ok());
            // One that came a moment ago is among them: it is marked after it was made.
            if !images.iter().any(|image| Some(&image.id) == id.as_ref()) {
                std::fs::remove_file(self.state.join("own").join(&name)).map_err(failed)?;
            }
        }
        Ok(())
    }
}
