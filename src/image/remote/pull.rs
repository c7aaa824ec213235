//! Images from elsewhere into the store.

use std::{collections::BTreeSet, sync::Arc, time::SystemTime};

use bytes::Bytes;

use super::{
    Kind, Meter, Name, Remote, RemoteError, bucket, patience::Patience, pieces::Sink, registry,
};
use crate::{
    core::{
        image::{Digest, Tag, Ttl},
        limits::MANIFEST_BYTES_MAX,
    },
    image::{
        manifest::{self, Descriptor, Document, Manifest, ManifestError, Platform},
        store::{Hold, NewImage, Pending, Store},
    },
    os::work::Share,
};

/// An image that is wanted.
#[derive(Debug, Clone)]
pub struct Pull {
    /// What it is called there. With an image id it has the same id here.
    pub name: Name,
    /// How long the store keeps it. One that was to end at a moment also ends then: its manifest says so, and the
    /// record that a bucket has of it.
    pub ttl: Ttl,
    /// A name for it in the store.
    pub tag: Option<Tag>,
    /// The most that its blobs may have, in bytes.
    pub bytes_max: u64,
    /// The time.
    pub now: SystemTime,
}

/// An image that is in the store.
#[derive(Debug)]
pub struct Pulled {
    /// It, in use.
    pub hold: Hold,
    /// Bytes of blobs that came; others were there.
    pub bytes: u64,
}

/// A manifest as it is elsewhere.
pub(super) struct Found {
    pub(super) digest: Digest,
    bytes: Vec<u8>,
    manifest: Box<Manifest>,
    until: Option<SystemTime>,
}

/// A blob that comes from somewhere.
enum Coming {
    Registry(registry::Coming),
    Bucket(bucket::Coming),
}

impl Remote {
    /// Gets an image and all that it consists of into the store. What the store has is not fetched
    /// again. An image id that the store knows is there already, whatever is elsewhere.
    ///
    /// Dropped, it leaves nothing; the next one begins anew.
    pub async fn pull(
        &self,
        store: &Arc<Store>,
        pull: Pull,
        meter: &Meter,
    ) -> Result<Pulled, RemoteError> {
        if let Name::Image(id) = &pull.name {
            let (store, id, now) = (store.clone(), id.clone(), pull.now);
            if let Ok(hold) = self.work.run(Share::File, move || store.hold(&id, now)).await {
                return Ok(Pulled { hold, bytes: 0 });
            }
        }
        let found = self.manifest(&pull.name).await?;
        if found.until.is_some_and(|end| end <= pull.now) {
            let (place, name) = (self.place(), format!("image {}", pull.name));
            return Err(RemoteError::NotFound { place, name });
        }
        let blobs = distinct(&found.manifest, &pull)?;
        meter.begin(blobs.iter().map(|blob| blob.size).sum());
        let (mut pending, mut bytes) = (Vec::new(), 0);
        for blob in blobs {
            match self.pinned(store, blob).await {
                Some(pinned) => {
                    meter.add(blob.size);
                    pending.push(pinned);
                }
                None => {
                    pending.push(self.fetch(store, blob, meter).await?);
                    bytes += blob.size;
                }
            }
        }
        let hold = self.add(store, pull, found, pending).await?;
        Ok(Pulled { hold, bytes })
    }

    /// The image's manifest: of an index, that for this machine.
    pub(super) async fn manifest(&self, name: &Name) -> Result<Found, RemoteError> {
        let (mut bytes, until) = match &*self.kind {
            Kind::Registry(registry) => (registry.manifest(name).await?, None),
            Kind::Bucket(bucket) => {
                let record = bucket.record(name).await?;
                let digest = record.manifest.digest;
                (bucket.manifest(name, digest, MANIFEST_BYTES_MAX).await?, record.until())
            }
        };
        let unfit = |source| RemoteError::Manifest { name: name.to_string(), source };
        // An index leads to a manifest, but not to another index.
        for _ in 0..2 {
            let index = match manifest::parse(&bytes).map_err(unfit)? {
                Document::Image(manifest) => {
                    manifest.layer_media().map_err(unfit)?;
                    let digest = Digest::of(&bytes);
                    let until: Option<SystemTime> =
                        [until, manifest.expires()].into_iter().flatten().min();
                    return Ok(Found { digest, bytes, manifest, until });
                }
                Document::Index(index) => index,
            };
            let picked = Name::Digest(index.pick(&Platform::here()).map_err(unfit)?.digest);
            bytes = match &*self.kind {
                Kind::Registry(registry) => registry.manifest(&picked).await?,
                Kind::Bucket(_) => break,
            };
        }
        Err(unfit(ManifestError::Kind("an index of indexes".into())))
    }

    /// A blob that the store has, so that nobody removes it meanwhile.
    async fn pinned(&self, store: &Arc<Store>, blob: &Descriptor) -> Option<Pending> {
        let (store, digest, size) = (store.clone(), blob.digest, blob.size);
        let pinned = self.work.run(Share::File, move || store.pin(&digest)).await;
        pinned.filter(|pending| pending.size() == size)
    }

    /// Fetches a blob; after each break the rest of it.
    async fn fetch(
        &self,
        store: &Arc<Store>,
        blob: &Descriptor,
        meter: &Meter,
    ) -> Result<Pending, RemoteError> {
        let opening = store.clone();
        let writer = self.work.run(Share::File, move || opening.writer()).await?;
        let mut sink = Sink::new(self.work.clone(), writer, blob);
        let mut patience = Patience::new();
        loop {
            let before = sink.bytes();
            let Err(error) = self.fetch_rest(blob, &mut sink, meter).await else { break };
            if sink.bytes() > before {
                patience.progressed();
            }
            patience.after(error).await?;
        }
        sink.finish().await.map_err(|error| self.mismatch(error))
    }

    async fn fetch_rest(
        &self,
        blob: &Descriptor,
        sink: &mut Sink,
        meter: &Meter,
    ) -> Result<(), RemoteError> {
        let offset = sink.bytes();
        if sink.missing() == 0 && offset > 0 {
            return Ok(());
        }
        let mut coming = match &*self.kind {
            Kind::Registry(registry) => Coming::Registry(registry.blob(blob, offset).await?),
            Kind::Bucket(bucket) => Coming::Bucket(bucket.blob(blob, offset).await?),
        };
        while let Some(bytes) = self.next(&mut coming, blob).await? {
            if bytes.len() as u64 > sink.missing() {
                let what = format!("blob {} has more than {} bytes", blob.digest, blob.size);
                return Err(RemoteError::Strange { place: self.place(), what });
            }
            meter.add(bytes.len() as u64);
            sink.write(bytes).await?;
        }
        match sink.missing() {
            0 => Ok(()),
            missing => {
                let what = format!("blob {} ends {missing} bytes too early", blob.digest);
                Err(RemoteError::Strange { place: self.place(), what })
            }
        }
    }

    async fn next(
        &self,
        coming: &mut Coming,
        blob: &Descriptor,
    ) -> Result<Option<Bytes>, RemoteError> {
        match coming {
            Coming::Bucket(stream) => tokio_stream::StreamExt::next(stream).await.transpose(),
            Coming::Registry(coming) => coming.next().await.map_err(|source| RemoteError::Link {
                place: self.place(),
                doing: format!("pull blob {}", blob.digest),
                source,
            }),
        }
    }

    /// Makes the image exist in the store.
    async fn add(
        &self,
        store: &Arc<Store>,
        pull: Pull,
        found: Found,
        blobs: Vec<Pending>,
    ) -> Result<Hold, RemoteError> {
        let (store, ours) = (store.clone(), found.digest);
        let Pull { name, ttl, tag, now, .. } = pull;
        let ttl = found.until.map_or(ttl, Ttl::Until);
        let new = NewImage { manifest: found.bytes, blobs, ttl, snapshot_id: None, tag };
        let asked = name.clone();
        let added = self.work.run(Share::File, move || match asked {
            Name::Image(id) => store.add_image_as(id, new, now),
            Name::Tag(_) | Name::Digest(_) => store.add_image(new, now),
        });
        let hold = added.await?;
        match hold.manifest() {
            theirs if theirs != ours => Err(RemoteError::Taken {
                place: "the local store".into(),
                name: format!("image {name}"),
                theirs,
                ours,
            }),
            _ => Ok(hold),
        }
    }

    fn mismatch(&self, error: crate::image::store::StoreError) -> RemoteError {
        match error {
            crate::image::store::StoreError::Mismatch { expected, found } => {
                RemoteError::Mismatch { place: self.place(), expected, found }
            }
            other => RemoteError::Store(other),
        }
    }
}

/// What an image consists of, each once, if it is not more than is wanted.
fn distinct<'a>(manifest: &'a Manifest, pull: &Pull) -> Result<Vec<&'a Descriptor>, RemoteError> {
    let mut seen = BTreeSet::new();
    let blobs: Vec<_> = manifest.blobs().filter(|blob| seen.insert(blob.digest)).collect();
    let bytes = blobs.iter().fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
    if bytes > pull.bytes_max {
        let name = format!("image {}", pull.name);
        return Err(RemoteError::TooLarge { name, bytes, bytes_max: pull.bytes_max });
    }
    if manifest.config.size > MANIFEST_BYTES_MAX {
        let source = ManifestError::TooLarge { bytes: manifest.config.size };
        return Err(RemoteError::Manifest { name: pull.name.to_string(), source });
    }
    Ok(blobs)
}
