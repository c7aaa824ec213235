//! Images: made, found, named and removed.

use std::{collections::BTreeMap, time::SystemTime};

use super::{
    Collected, Hold, Repaired, Store, StoreError,
    collect::Doomed,
    index::{Entry, Index},
    lock, random,
    record::{About, Record, WrittenBlob},
    writer::Pending,
};
use crate::{
    core::{
        image::{Digest, ImageId, Reference, Tag, Ttl},
        limits::{IMAGES_MAX, MANIFEST_BYTES_MAX},
    },
    image::manifest::{self, Descriptor, Document, Manifest, ManifestError, media},
};

/// An image of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Its manifest.
    pub manifest: Digest,
    /// When it came into this store.
    pub created: SystemTime,
    /// When it was used last.
    pub last_used: SystemTime,
    /// How long it is kept.
    pub ttl: Ttl,
    /// The snapshot that it came from, as the caller named it.
    pub snapshot_id: Option<String>,
    /// Whether it is sealed with a caller's key.
    pub sealed: bool,
    /// Names that somebody gave it, sorted.
    pub tags: Vec<Tag>,
    /// Bytes of all that it consists of, also of what it shares with others.
    pub bytes: u64,
}

/// An image to be.
pub struct NewImage {
    /// The manifest's bytes: an image's, not an index.
    pub manifest: Vec<u8>,
    /// What was written for it. What is missing here must be in the store and must not go
    /// meanwhile: it belongs to an image that the caller holds, or was pinned.
    pub blobs: Vec<Pending>,
    /// How long it is kept.
    pub ttl: Ttl,
    /// The snapshot that it comes from. If there is an image of it already, it is the answer, and
    /// this one is not made.
    pub snapshot_id: Option<String>,
    /// A name for it.
    pub tag: Option<Tag>,
}

/// What is committed.
struct Whole<'a> {
    id: &'a ImageId,
    descriptor: Descriptor,
    manifest: Manifest,
    about: About,
    tag: Option<Tag>,
}

impl Image {
    /// Whether it is there no more.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.ttl.expires_at(self.last_used).is_some_and(|end| end <= now && !self.is_kept())
    }

    /// A tag keeps an image whose time is renewed by use: somebody wants it. It does not keep one
    /// that was to end at a moment.
    fn is_kept(&self) -> bool {
        !self.tags.is_empty() && matches!(self.ttl, Ttl::Renewed(_))
    }
}

impl Store {
    /// Makes an image, in use so that no collection comes before whoever wanted it. When this returns,
    /// the image outlives a crash. When it fails, nothing of it is left.
    pub fn add_image(&self, new: NewImage, now: SystemTime) -> Result<Hold, StoreError> {
        self.make(ImageId::from_random(random()?), new, now)
    }

    /// The same for an image that has its id from another store. If there is one of this id, it is the
    /// answer, and this one is not made.
    pub fn add_image_as(
        &self,
        id: ImageId,
        new: NewImage,
        now: SystemTime,
    ) -> Result<Hold, StoreError> {
        self.make(id, new, now)
    }

    fn make(&self, id: ImageId, new: NewImage, now: SystemTime) -> Result<Hold, StoreError> {
        let manifest = image_manifest(&new.manifest)?;
        let descriptor = described(&new.manifest, &manifest);
        let mut writer = self.writer()?;
        std::io::Write::write_all(&mut writer, &new.manifest)
            .map_err(|error| StoreError::io("write a manifest", error))?;
        let mut blobs: BTreeMap<Digest, Pending> =
            new.blobs.into_iter().map(|blob| (blob.digest(), blob)).collect();
        blobs.insert(descriptor.digest, writer.finish()?);
        let guard = lock::exclusive(&self.own)?;
        if let Some(snapshot_id) = &new.snapshot_id
            && let Some(image) = self.snapshot(snapshot_id, now)?
        {
            return self.take(image, now);
        }
        let mut index = self.read_index()?;
        self.reconcile(&mut index, &mut Repaired::default(), now)?;
        let mut doomed = Doomed::new();
        if index.image(&id).is_some() {
            match self.look(&id, now) {
                // It has expired, and nobody has removed it yet.
                Err(StoreError::NotFound { .. }) => {
                    let unused = self.unused(&id)?;
                    let _unused = unused.ok_or_else(|| StoreError::Held { id: id.clone() })?;
                    doomed = self.discard(&mut index, std::slice::from_ref(&id))?.1;
                }
                image => return self.take(image?, now),
            }
        }
        if index.count() >= IMAGES_MAX {
            return Err(StoreError::TooMany);
        }
        let about = About {
            manifest: descriptor.digest,
            created: now,
            ttl: new.ttl,
            snapshot_id: new.snapshot_id,
            sealed: manifest.is_sealed(),
        };
        let whole = Whole { id: &id, descriptor, manifest, about, tag: new.tag };
        let made = self.commit(whole, blobs, index).and_then(|image| self.take(image, now));
        if made.is_err() {
            self.undo(&id);
        }
        drop(guard);
        self.bury(doomed);
        made
    }

    /// The steps after which an image exists. The exclusive lock is held.
    fn commit(
        &self,
        whole: Whole<'_>,
        blobs: BTreeMap<Digest, Pending>,
        mut index: Index,
    ) -> Result<Image, StoreError> {
        let Whole { id, descriptor, manifest, about, tag } = whole;
        let written = self.settle(&descriptor, &manifest, blobs)?;
        self.touch(id, about.created)?;
        self.write_record(id, &Record::new(about, written))?;
        index.add(id, descriptor.clone());
        if let Some(tag) = &tag {
            index.tag(tag, id, descriptor);
        }
        self.write_index(&index)?;
        // Its time may be over already; who made it is told its id all the same.
        let image = self.describe(id, &index)?;
        image.ok_or_else(|| StoreError::NotFound { name: id.to_string() })
    }

    /// Removes what a failed commit left. It writes nothing unless it must: there may be no room. What
    /// this cannot remove, the next collection does.
    fn undo(&self, id: &ImageId) {
        let Ok(mut index) = self.read_index() else { return };
        if index.image(id).is_some() {
            index.remove_image(id);
            if self.write_index(&index).is_err() {
                return;
            }
        }
        if self.forget(id).is_ok()
            && let Ok((_, doomed)) = self.sweep(&index)
        {
            self.bury(doomed);
        }
    }

    /// Moves what was written among the blobs, after it is sure that the image will be whole.
    fn settle(
        &self,
        descriptor: &Descriptor,
        manifest: &Manifest,
        mut pending: BTreeMap<Digest, Pending>,
    ) -> Result<Vec<WrittenBlob>, StoreError> {
        let mut written: Vec<WrittenBlob> = Vec::new();
        for part in std::iter::once(descriptor).chain(manifest.blobs()) {
            if written.iter().any(|blob| blob.digest == part.digest) {
                continue;
            }
            let size = match pending.get(&part.digest) {
                Some(blob) => Some(blob.size()),
                None => self.blobs.size(&part.digest.hex())?,
            };
            match size {
                Some(size) if size == part.size => {
                    written.push(WrittenBlob { digest: part.digest, size });
                }
                Some(_) => return Err(StoreError::Corrupt { digest: part.digest }),
                None => return Err(StoreError::Missing { digest: part.digest }),
            }
        }
        for blob in &written {
            if let Some(pending) = pending.remove(&blob.digest) {
                pending.settle(&self.blobs)?;
            }
        }
        self.blobs.sync()?;
        Ok(written)
    }

    /// Finds an image by its id, by a tag, or by the digest of its manifest: then the newest of those that have
    /// this one.
    pub fn find(&self, reference: &Reference, now: SystemTime) -> Result<Image, StoreError> {
        let _guard = lock::shared(&self.own)?;
        let not_found = || StoreError::NotFound { name: reference.to_string() };
        match reference {
            Reference::Image(id) => self.look(id, now),
            Reference::Tag(tag) => {
                let index = self.read_index()?;
                if let Some(id) = index.tagged(tag) {
                    return self.look(&id, now);
                }
                let Ok(digest) = tag.as_str().parse::<Digest>() else { return Err(not_found()) };
                let mut images = self.images(&index)?;
                images.retain(|image| image.manifest == digest && !image.is_expired(now));
                images.into_iter().max_by_key(|image| image.created).ok_or_else(not_found)
            }
            Reference::Remote(_) => Err(not_found()),
        }
    }

    /// The image that was made for this snapshot, if it is there.
    pub fn by_snapshot_id(
        &self,
        snapshot_id: &str,
        now: SystemTime,
    ) -> Result<Option<Image>, StoreError> {
        let _guard = lock::shared(&self.own)?;
        self.snapshot(snapshot_id, now)
    }

    /// All images that have not expired, the oldest first.
    pub fn list(&self, now: SystemTime) -> Result<Vec<Image>, StoreError> {
        let _guard = lock::shared(&self.own)?;
        let mut images = self.images(&self.read_index()?)?;
        images.retain(|image| !image.is_expired(now));
        images.sort_by(|one, other| (one.created, &one.id).cmp(&(other.created, &other.id)));
        Ok(images)
    }

    /// Gives an image a name, which another one loses if it had it.
    pub fn tag(&self, id: &ImageId, tag: &Tag, now: SystemTime) -> Result<(), StoreError> {
        let _guard = lock::exclusive(&self.own)?;
        self.look(id, now)?;
        let mut index = self.read_index()?;
        let entry = index.image(id).ok_or_else(|| StoreError::NotFound { name: id.to_string() })?;
        index.tag(tag, id, entry.descriptor);
        self.write_index(&index)
    }

    /// Takes a name away from whichever image has it.
    pub fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        let _guard = lock::exclusive(&self.own)?;
        let mut index = self.read_index()?;
        match index.remove_name(tag.as_str()) {
            true => self.write_index(&index),
            false => Err(StoreError::NotFound { name: tag.to_string() }),
        }
    }

    /// Removes an image with all its tags, and what only it consists of.
    pub fn remove(&self, id: &ImageId, now: SystemTime) -> Result<Collected, StoreError> {
        let guard = lock::exclusive(&self.own)?;
        self.look(id, now)?;
        let unused = self.unused(id)?.ok_or_else(|| StoreError::Held { id: id.clone() })?;
        let mut index = self.read_index()?;
        self.reconcile(&mut index, &mut Repaired::default(), now)?;
        let (mut collected, doomed) = self.discard(&mut index, std::slice::from_ref(id))?;
        drop((unused, guard));
        collected.images.push(id.clone());
        self.bury(doomed);
        Ok(collected)
    }

    /// One image. A lock is held.
    pub(super) fn look(&self, id: &ImageId, now: SystemTime) -> Result<Image, StoreError> {
        let index = self.read_index()?;
        let found = match index.image(id) {
            Some(_) => self.describe(id, &index)?,
            None => None,
        };
        let there = found.filter(|image| !image.is_expired(now));
        there.ok_or_else(|| StoreError::NotFound { name: id.to_string() })
    }

    /// Every image, expired or not. A lock is held.
    pub(super) fn images(&self, index: &Index) -> Result<Vec<Image>, StoreError> {
        let ids = index.entries().filter_map(|entry| entry.id());
        let described = ids.map(|id| self.describe(&id, index));
        described.filter_map(Result::transpose).collect()
    }

    fn describe(&self, id: &ImageId, index: &Index) -> Result<Option<Image>, StoreError> {
        let Some(record) = self.read_record(id)? else { return Ok(None) };
        let used = self.last_used(id)?;
        Ok(Some(Image {
            id: id.clone(),
            manifest: record.manifest,
            created: record.created(),
            last_used: used.unwrap_or(SystemTime::UNIX_EPOCH).max(record.created()),
            ttl: record.ttl(),
            sealed: record.sealed,
            bytes: record.bytes(),
            tags: index.tags(id),
            snapshot_id: record.snapshot_id,
        }))
    }

    fn snapshot(&self, snapshot_id: &str, now: SystemTime) -> Result<Option<Image>, StoreError> {
        let images = self.images(&self.read_index()?)?;
        Ok(images.into_iter().find(|image| {
            image.snapshot_id.as_deref() == Some(snapshot_id) && !image.is_expired(now)
        }))
    }

    /// Makes an image of an entry that has no record: another program added it, or the record was
    /// damaged. `None` if what it names is no image that is whole.
    pub(super) fn adopt(
        &self,
        entry: &Entry,
        index: &mut Index,
        now: SystemTime,
    ) -> Result<Option<ImageId>, StoreError> {
        let Some((descriptor, manifest)) = self.readable_manifest(&entry.descriptor)? else {
            return Ok(None);
        };
        let Ok(written) = self.settle(&descriptor, &manifest, BTreeMap::new()) else {
            return Ok(None);
        };
        let id = match entry.id() {
            Some(id) => id,
            None => ImageId::from_random(random()?),
        };
        let about = About {
            manifest: descriptor.digest,
            created: now,
            ttl: Ttl::parse(None, now).expect("unset is a ttl"),
            snapshot_id: None,
            sealed: manifest.is_sealed(),
        };
        self.touch(&id, now)?;
        self.write_record(&id, &Record::new(about, written))?;
        index.remove_name(&entry.name);
        index.add(&id, descriptor.clone());
        if let Ok(tag) = Tag::parse(&entry.name) {
            index.tag(&tag, &id, descriptor);
        }
        Ok(Some(id))
    }

    /// The manifest for this machine that a descriptor leads to, if it is there and whole.
    fn readable_manifest(
        &self,
        descriptor: &Descriptor,
    ) -> Result<Option<(Descriptor, Manifest)>, StoreError> {
        let mut descriptor = descriptor.clone();
        // An index leads to a manifest, but not to another index.
        for _ in 0..2 {
            let bytes = match self.read_verified(&descriptor.digest, MANIFEST_BYTES_MAX) {
                Err(error @ (StoreError::Io { .. } | StoreError::Full { .. })) => {
                    return Err(error);
                }
                Err(_) => return Ok(None),
                Ok(bytes) => bytes,
            };
            match manifest::parse(&bytes) {
                Ok(Document::Image(image)) => {
                    return Ok(Some((described(&bytes, &image), *image)));
                }
                Ok(Document::Index(index)) => match index.pick(&manifest::Platform::here()) {
                    Ok(picked) => descriptor = picked.clone(),
                    Err(_) => return Ok(None),
                },
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// A manifest that is an image's and whose layers we know.
fn image_manifest(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    match manifest::parse(bytes)? {
        Document::Image(manifest) => manifest.layer_media().map(|_| *manifest),
        Document::Index(_) => Err(ManifestError::Kind("an index".into())),
    }
}

/// The entry of a manifest with these bytes.
fn described(bytes: &[u8], manifest: &Manifest) -> Descriptor {
    let media_type = manifest.media_type.as_deref().unwrap_or(media::MANIFEST);
    Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
}
