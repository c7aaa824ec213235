//! What goes: images whose time is over, the least recently used ones of a store that is too large, and
//! blobs and records that belong to no image.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use super::{Locked, Repaired, Store, StoreError, images::Image, index::Index, lock};
use crate::core::image::{Digest, ImageId};

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collected {
    /// Images.
    pub images: Vec<ImageId>,
    /// Blobs that no image names any more.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Temporary files that were blobs: they are deleted outside of the lock.
pub(super) type Doomed = Vec<String>;

impl Store {
    /// Removes what has expired, and then, the least recently used first, as many images as must go
    /// for the blobs to take at most `bytes_max`. What somebody holds or gave a tag stays.
    pub fn collect(&self, now: SystemTime, bytes_max: u64) -> Result<Collected, StoreError> {
        let guard = lock::exclusive(&self.own)?;
        let mut index = self.read_index()?;
        self.reconcile(&mut index, &mut Repaired::default(), now)?;
        let leaving = self.leaving(&index, now, bytes_max)?;
        let (mut collected, doomed) = self.discard(&mut index, &leaving.images)?;
        collected.images = leaving.images;
        drop((leaving.locks, guard));
        self.bury(doomed);
        Ok(collected)
    }

    /// What [`Store::collect`] would remove; nothing is changed.
    pub fn collectable(&self, now: SystemTime, bytes_max: u64) -> Result<Collected, StoreError> {
        // Alone, because to try who uses an image looks like a use of it.
        let _guard = lock::exclusive(&self.own)?;
        let leaving = self.leaving(&self.read_index()?, now, bytes_max)?;
        Ok(Collected { images: leaving.images, blobs: leaving.blobs, bytes: leaving.bytes })
    }

    /// Chooses what goes. The exclusive lock is held.
    fn leaving(
        &self,
        index: &Index,
        now: SystemTime,
        bytes_max: u64,
    ) -> Result<Leaving, StoreError> {
        let mut images = self.images(index)?;
        images.sort_by(|one, other| (one.last_used, &one.id).cmp(&(other.last_used, &other.id)));
        let mut usage = self.usage(&images)?;
        let (bytes, blobs) = (usage.bytes, usage.blobs());
        let (mut leaving, mut locks) = (Vec::new(), Vec::new());
        let mut try_leave = |image: &Image, usage: &mut Usage| -> Result<(), StoreError> {
            // The lock is kept until the image is gone.
            if let Some(unused) = self.unused(&image.id)? {
                usage.leave(self.blobs_of(&image.id)?);
                leaving.push(image.id.clone());
                locks.push(unused);
            }
            Ok(())
        };
        let (expired, current): (Vec<_>, Vec<_>) =
            images.iter().partition(|image| image.is_expired(now));
        for image in expired {
            try_leave(image, &mut usage)?;
        }
        for image in current {
            if usage.bytes <= bytes_max {
                break;
            }
            if image.tags.is_empty() {
                try_leave(image, &mut usage)?;
            }
        }
        let (bytes, blobs) = (bytes - usage.bytes, blobs - usage.blobs());
        Ok(Leaving { images: leaving, locks, blobs, bytes })
    }

    /// Bytes of all blobs that images name, each once.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        let _guard = lock::shared(&self.own)?;
        Ok(self.usage(&self.images(&self.read_index()?)?)?.bytes)
    }

    /// Removes images that nobody uses and all that belongs to nobody. The exclusive lock is held.
    pub(super) fn discard(
        &self,
        index: &mut Index,
        leaving: &[ImageId],
    ) -> Result<(Collected, Doomed), StoreError> {
        if leaving.is_empty() {
            return self.sweep(index);
        }
        leaving.iter().for_each(|id| index.remove_image(id));
        match self.write_index(index) {
            Err(StoreError::Full { .. }) => return self.discard_first(index, leaving),
            written => written?,
        }
        leaving.iter().try_for_each(|id| self.forget(id))?;
        self.sweep(index)
    }

    /// The same where there is no room for another index before something is gone. A death in between
    /// leaves entries without record and manifest, which the next start takes away.
    fn discard_first(
        &self,
        index: &Index,
        leaving: &[ImageId],
    ) -> Result<(Collected, Doomed), StoreError> {
        leaving.iter().try_for_each(|id| self.forget(id))?;
        let (collected, doomed) = self.sweep(index)?;
        self.bury(doomed);
        self.write_index(index)?;
        Ok((collected, Doomed::new()))
    }

    /// Takes every blob that nothing names from the others. The exclusive lock is held.
    pub(super) fn sweep(&self, index: &Index) -> Result<(Collected, Doomed), StoreError> {
        let mut named: BTreeSet<Digest> = index.digests().collect();
        for id in index.entries().filter_map(|entry| entry.id()) {
            named.extend(self.blobs_of(&id)?.into_keys());
        }
        let (mut collected, mut doomed) = (Collected::default(), Doomed::new());
        for name in self.blobs.names()? {
            // What has another name was put there by somebody else.
            let Ok(digest) = Digest::from_hex(&name) else { continue };
            if named.contains(&digest) {
                continue;
            }
            collected.blobs += 1;
            collected.bytes += self.blobs.size(&name)?.unwrap_or(0);
            let grave = self.session.fresh_name();
            self.blobs.move_to(&name, &self.session.directory, &grave)?;
            doomed.push(grave);
        }
        Ok((collected, doomed))
    }

    /// Deletes what was taken away: the slow part, without a lock.
    pub(super) fn bury(&self, doomed: Doomed) {
        for grave in doomed {
            // It is removed with the session at the latest.
            let _ = self.session.directory.remove(&grave);
        }
    }

    /// Makes index and records agree, and removes what belongs to nobody. The exclusive lock is held.
    pub(super) fn repair(
        &self,
        repaired: &mut Repaired,
        now: SystemTime,
    ) -> Result<Doomed, StoreError> {
        let mut index = self.read_index()?;
        self.reconcile(&mut index, repaired, now)?;
        let (collected, doomed) = self.sweep(&index)?;
        repaired.swept = collected;
        Ok(doomed)
    }

    /// Gives every entry a record, and forgets records without an entry. What a sweep keeps is read from
    /// records, so that this comes before each. The exclusive lock is held.
    pub(super) fn reconcile(
        &self,
        index: &mut Index,
        repaired: &mut Repaired,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        let entries: Vec<_> = index.entries().collect();
        let ids: BTreeSet<ImageId> = entries.iter().filter_map(|entry| entry.id()).collect();
        for id in self.recorded()?.iter().filter(|id| !ids.contains(*id)) {
            if self.unused(id)?.is_some() {
                self.forget(id)?;
            }
        }
        let before = repaired.adopted.len() + repaired.lost.len();
        for entry in entries {
            let known = match (entry.id(), &entry.image) {
                (Some(id), _) => self.read_record(&id)?.is_some(),
                (None, Some(image)) => ids.contains(image),
                (None, None) => false,
            };
            if known {
                continue;
            }
            match self.adopt(&entry, index, now)? {
                Some(id) => repaired.adopted.push(id),
                None => {
                    index.remove_name(&entry.name);
                    repaired.lost.push(entry.name);
                }
            }
        }
        match repaired.adopted.len() + repaired.lost.len() == before {
            true => Ok(()),
            false => self.write_index(index),
        }
    }

    fn usage(&self, images: &[Image]) -> Result<Usage, StoreError> {
        let mut usage = Usage { shares: BTreeMap::new(), bytes: 0 };
        for image in images {
            usage.come(self.blobs_of(&image.id)?);
        }
        Ok(usage)
    }

    /// What an image consists of, with sizes.
    pub(super) fn blobs_of(&self, id: &ImageId) -> Result<BTreeMap<Digest, u64>, StoreError> {
        let record = self.read_record(id)?;
        let blobs = record.into_iter().flat_map(|record| record.blobs);
        Ok(blobs.map(|blob| (blob.digest, blob.size)).collect())
    }
}

/// What is to go.
struct Leaving {
    images: Vec<ImageId>,
    /// That nobody uses them.
    locks: Vec<Locked>,
    /// What no other image needs …
    blobs: usize,
    /// … and its bytes.
    bytes: u64,
}

/// How many images name each blob, and the bytes of all blobs.
struct Usage {
    shares: BTreeMap<Digest, usize>,
    bytes: u64,
}

impl Usage {
    fn come(&mut self, blobs: BTreeMap<Digest, u64>) {
        for (digest, size) in blobs {
            let share = self.shares.entry(digest).or_default();
            if *share == 0 {
                self.bytes = self.bytes.saturating_add(size);
            }
            *share += 1;
        }
    }

    /// How many blobs there are.
    fn blobs(&self) -> usize {
        self.shares.values().filter(|share| **share > 0).count()
    }

    fn leave(&mut self, blobs: BTreeMap<Digest, u64>) {
        for (digest, size) in blobs {
            let share = self.shares.entry(digest).or_default();
            *share = share.saturating_sub(1);
            if *share == 0 {
                self.bytes = self.bytes.saturating_sub(size);
            }
        }
    }
}
