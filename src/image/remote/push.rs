//! Images from the store to elsewhere.

use std::{collections::BTreeSet, sync::Arc, time::SystemTime};

use super::{Kind, Meter, Name, Remote, RemoteError, bucket::Record, pieces::Source};
use crate::{
    core::{
        image::{Digest, ImageId, Ttl},
        limits::MANIFEST_BYTES_MAX,
    },
    image::{
        manifest::{self, Descriptor, Document, Manifest, ManifestError, media},
        store::{Hold, Store},
    },
    os::work::Share,
};

/// An image that is to be elsewhere too.
#[derive(Debug, Clone)]
pub struct Push {
    /// The image.
    pub image: ImageId,
    /// What it is to be called there. What has an image's id is never overwritten, a tag is.
    pub name: Name,
    /// The time.
    pub now: SystemTime,
}

/// An image that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// Its manifest, which is the same as here.
    pub manifest: Digest,
    /// Bytes of blobs that were sent; others were there.
    pub bytes: u64,
}

/// An image of the store, in use.
struct Local {
    hold: Hold,
    bytes: Vec<u8>,
    manifest: Box<Manifest>,
}

impl Remote {
    /// Puts an image of the store where others find it. It can be found once all of it is there. A
    /// repeat sends nothing.
    ///
    /// Dropped, it may leave blobs behind that no image needs yet.
    pub async fn push(
        &self,
        store: &Arc<Store>,
        push: Push,
        meter: &Meter,
    ) -> Result<Pushed, RemoteError> {
        let local = self.local(store, &push).await?;
        let ours = local.hold.manifest();
        let mut seen = BTreeSet::new();
        let blobs: Vec<&Descriptor> =
            local.manifest.blobs().filter(|blob| seen.insert(blob.digest)).collect();
        let all = blobs.iter().map(|blob| blob.size).sum();
        meter.begin(all);
        if self.is_there(&push.name, ours).await? {
            meter.add(all);
            return Ok(Pushed { manifest: ours, bytes: 0 });
        }
        let mut bytes = 0;
        for blob in blobs {
            bytes += self.send(store, blob, meter).await?;
        }
        self.publish(&push.name, &local).await?;
        Ok(Pushed { manifest: ours, bytes })
    }

    async fn local(&self, store: &Arc<Store>, push: &Push) -> Result<Local, RemoteError> {
        let (store, id, now) = (store.clone(), push.image.clone(), push.now);
        let read = self.work.run(Share::File, move || {
            let hold = store.hold(&id, now)?;
            store.read_verified(&hold.manifest(), MANIFEST_BYTES_MAX).map(|bytes| (hold, bytes))
        });
        let (hold, bytes) = read.await?;
        let unfit = |source| RemoteError::Manifest { name: push.image.to_string(), source };
        match manifest::parse(&bytes).map_err(unfit)? {
            Document::Image(manifest) => Ok(Local { hold, bytes, manifest }),
            Document::Index(_) => Err(unfit(ManifestError::Kind("an index".into()))),
        }
    }

    /// Whether the name stands for our image already.
    async fn is_there(&self, name: &Name, ours: Digest) -> Result<bool, RemoteError> {
        let theirs = match &*self.kind {
            Kind::Registry(registry) => registry.look_up(name).await?,
            Kind::Bucket(bucket) => match bucket.record(name).await {
                Ok(record) => Some(record.manifest.digest),
                Err(RemoteError::NotFound { .. }) => None,
                Err(error) => return Err(error),
            },
        };
        match (theirs, name) {
            (Some(theirs), _) if theirs == ours => Ok(true),
            (Some(theirs), Name::Image(_)) => {
                let (place, name) = (self.place(), format!("image {name}"));
                Err(RemoteError::Taken { place, name, theirs, ours })
            }
            (_, Name::Digest(expected)) if *expected != ours => {
                let (place, expected) = (self.place(), *expected);
                Err(RemoteError::Mismatch { place, expected, found: ours })
            }
            _ => Ok(false),
        }
    }

    /// Sends a blob that is not there; how many bytes that were.
    async fn send(
        &self,
        store: &Arc<Store>,
        blob: &Descriptor,
        meter: &Meter,
    ) -> Result<u64, RemoteError> {
        let has = match &*self.kind {
            Kind::Registry(registry) => registry.has(blob).await?,
            Kind::Bucket(bucket) => bucket.has(blob).await?,
        };
        if has {
            meter.add(blob.size);
            return Ok(0);
        }
        let (store, digest) = (store.clone(), blob.digest);
        let file = self.work.run(Share::File, move || store.blob(&digest)).await?;
        let source = Source::new(self.work.clone(), blob.clone(), file, meter.clone());
        match &*self.kind {
            Kind::Registry(registry) => registry.send_blob(&source).await?,
            Kind::Bucket(bucket) => bucket.send_blob(&source).await?,
        }
        Ok(blob.size)
    }

    /// Makes the name stand for the image, all of which is there.
    async fn publish(&self, name: &Name, local: &Local) -> Result<(), RemoteError> {
        let media_type = local.manifest.media_type.as_deref().unwrap_or(media::MANIFEST);
        match &*self.kind {
            Kind::Registry(registry) => registry.publish(name, media_type, &local.bytes).await,
            Kind::Bucket(bucket) => {
                let size = local.bytes.len() as u64;
                let descriptor = Descriptor::new(media_type, local.hold.manifest(), size);
                let until = match local.hold.image().ttl {
                    Ttl::Until(end) => Some(end),
                    Ttl::Renewed(_) | Ttl::Never => None,
                };
                bucket.send_manifest(&local.bytes).await?;
                bucket.publish(name, &Record::new(descriptor, until)).await
            }
        }
    }
}
