//! Images as they are kept: listed, described, named and removed.

use std::{sync::Arc, time::SystemTime};

use super::{
    Described, Images, ImagesError, Kept, KeptLayer, Told, engine::Engine, source::read_manifest,
};
use crate::{
    core::{
        failure::Kind,
        image::{Digest, ImageId, Reference, Tag, Ttl},
        limits::MANIFEST_BYTES_MAX,
    },
    image::{
        manifest::{self, Manifest},
        store::{Image, StoreError},
    },
};

impl Images {
    /// Every image, newest first, and what all blobs take, each counted once.
    pub async fn list(&self) -> Result<(Vec<Kept>, u64), ImagesError> {
        self.run_soon(|engine| {
            let images = engine.store.list(SystemTime::now())?;
            // One that is damaged does not hide the others.
            let kept = images.into_iter().rev().map(|image| engine.as_far_as_known(image));
            Ok((kept.collect(), engine.store.bytes()?))
        })
        .await
    }

    /// One image.
    pub async fn get(&self, image: Reference) -> Result<Described, ImagesError> {
        self.run_soon(move |engine| engine.describe(&image)).await
    }

    /// Takes an id or a tag away, an id also from where the other machines find it; returns the bytes that are
    /// free here by it.
    pub async fn remove(&self, image: Reference) -> Result<u64, ImagesError> {
        // Who makes a spare copy uses the image.
        let _none = self.0.refilling.acquire().await;
        let Some(id) = self.run_soon(move |engine| engine.doomed(&image)).await? else {
            return Ok(0);
        };
        let was_elsewhere = self.unshare(&id).await?;
        match self.run(move |engine| engine.remove(&id)).await {
            Err(error) if error.kind == Kind::Unknown && was_elsewhere => Ok(0),
            removed => removed,
        }
    }

    /// Gives an image a tag, taking it from the image that had it.
    pub async fn tag(&self, image: Reference, tag: Tag) -> Result<(), ImagesError> {
        let nobody: Told = Arc::new(|_| {});
        let hold = self.bring(&image, &nobody).await?;
        self.run_soon(move |engine| Ok(engine.store.tag(hold.id(), &tag, SystemTime::now())?)).await
    }
}

impl Engine {
    /// An image with what its documents say.
    pub(super) fn kept(&self, image: Image) -> Result<Kept, ImagesError> {
        let manifest = read_manifest(&self.store, &image)?;
        let diff_ids = match image.sealed {
            true => Vec::new(),
            false => {
                let config =
                    self.store.read_verified(&manifest.config.digest, MANIFEST_BYTES_MAX)?;
                manifest::parse_config(&config, &manifest)?.rootfs.diff_ids
            }
        };
        Ok(self.with_layers(image, layers(&manifest, &diff_ids)))
    }

    fn as_far_as_known(&self, image: Image) -> Kept {
        match self.kept(image.clone()) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!("ignoring what is wrong with {}: {error}", image.id);
                self.with_layers(image, Vec::new())
            }
        }
    }

    fn with_layers(&self, image: Image, layers: Vec<KeptLayer>) -> Kept {
        // A tag keeps what is renewed by use.
        let tagged = !image.tags.is_empty() && matches!(image.ttl, Ttl::Renewed(_));
        let expires = image.ttl.expires_at(image.last_used).filter(|_| !tagged);
        let mounts = self.mounts.list().into_iter();
        let mounted_at = mounts
            .filter(|mount| mount.image == image.id.as_str())
            .map(|mount| mount.asked.into_os_string().into_encoded_bytes());
        Kept { expires, layers, mounted_at: mounted_at.collect(), image }
    }

    fn describe(&self, reference: &Reference) -> Result<Described, ImagesError> {
        // So that it does not go meanwhile; to look at it is no use of it.
        let image = self.find(reference)?;
        let manifest = self.store.read_verified(&image.manifest, MANIFEST_BYTES_MAX)?;
        let config = match image.sealed {
            true => None,
            false => {
                let digest = read_manifest(&self.store, &image)?.config.digest;
                Some(text(self.store.read_verified(&digest, MANIFEST_BYTES_MAX)?))
            }
        };
        Ok(Described { kept: self.kept(image)?, manifest: text(manifest), config })
    }

    /// The image that a caller named.
    pub(super) fn find(&self, reference: &Reference) -> Result<Image, ImagesError> {
        match reference {
            Reference::Remote(remote) => {
                Err(ImagesError::invalid(format!("look at {remote}: it is not kept here")))
            }
            Reference::Image(_) | Reference::Tag(_) => {
                Ok(self.store.find(reference, SystemTime::now())?)
            }
        }
    }

    /// The image that is to be removed by a name, if it is not mounted. A tag is taken away at once, and is all.
    fn doomed(&self, reference: &Reference) -> Result<Option<ImageId>, ImagesError> {
        let id = match reference {
            Reference::Image(id) => id.clone(),
            Reference::Tag(tag) => match self.store.untag(tag) {
                // A digest looks like a tag, and names an image.
                Err(StoreError::NotFound { .. }) => {
                    self.store.find(reference, SystemTime::now())?.id
                }
                taken => return Ok(taken.map(|()| None)?),
            },
            Reference::Remote(remote) => {
                return Err(ImagesError::invalid(format!("remove {remote}: it is not kept here")));
            }
        };
        self.unmounted(&id)?;
        Ok(Some(id))
    }

    fn unmounted(&self, id: &ImageId) -> Result<(), ImagesError> {
        let mounts = self.mounts.list();
        if let Some(mount) = mounts.iter().find(|mount| mount.image == id.as_str()) {
            let path = &mount.asked;
            return Err(ImagesError::refused(format!("remove {id}: it is mounted at {path:?}")));
        }
        Ok(())
    }

    fn remove(&self, id: &ImageId) -> Result<u64, ImagesError> {
        self.unmounted(id)?;
        let collected = self.store.remove(id, SystemTime::now()).map_err(|error| match error {
            StoreError::Held { id } => {
                ImagesError::refused(format!("remove {id}: somebody uses it"))
            }
            error => error.into(),
        })?;
        self.drop_copies();
        Ok(collected.bytes)
    }
}

fn layers(manifest: &Manifest, diff_ids: &[Digest]) -> Vec<KeptLayer> {
    let layers = manifest.layers.iter().enumerate().map(|(at, layer)| KeptLayer {
        digest: layer.digest,
        media_type: layer.media_type.clone(),
        size_bytes: layer.size,
        diff_id: diff_ids.get(at).copied(),
    });
    layers.collect()
}

/// A document for people.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
