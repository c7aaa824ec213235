//! Using an image: while somebody does, nobody removes it.

use std::{
    os::fd::AsFd,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{AtFlags, FlockOperation, Timespec, Timestamps},
    io::Errno,
};

use super::{Locked, Store, StoreError, images::Image, lock};
use crate::core::image::{Digest, ImageId};

/// The right to use an image until this is dropped, or its process ends.
#[derive(Debug)]
pub struct Hold {
    image: Image,
    _lock: Locked,
}

impl Hold {
    /// The image.
    pub fn id(&self) -> &ImageId {
        &self.image.id
    }

    /// Its manifest.
    pub fn manifest(&self) -> Digest {
        self.image.manifest
    }

    /// Counts as a use at `now`: what is held for long does not expire the moment it is released.
    pub fn renew(&self, now: SystemTime) -> Result<(), StoreError> {
        let id = self.id();
        set_time(&self._lock, now)
            .map_err(|errno| StoreError::io(format!("mark {id} as used"), errno))
    }

    /// What was known of it when it was taken.
    pub fn image(&self) -> &Image {
        &self.image
    }
}

impl Store {
    /// Takes an image into use, which counts as its last use.
    pub fn hold(&self, id: &ImageId, now: SystemTime) -> Result<Hold, StoreError> {
        let _guard = lock::shared(&self.own)?;
        self.take(self.look(id, now)?, now)
    }

    /// Takes an image into use that was just looked up. A lock is held since.
    pub(super) fn take(&self, image: Image, now: SystemTime) -> Result<Hold, StoreError> {
        let id = &image.id;
        let operation = FlockOperation::NonBlockingLockShared;
        // Who removes it has the store's lock, which we have.
        let locked = lock::try_lock(&self.holds, id.as_str(), operation)?;
        let _lock = locked.ok_or_else(|| StoreError::Held { id: id.clone() })?;
        if now > image.last_used {
            set_time(&_lock, now)
                .map_err(|errno| StoreError::io(format!("mark {id} as used"), errno))?;
        }
        Ok(Hold { image, _lock })
    }

    /// Says when an image was used last.
    pub(super) fn touch(&self, id: &ImageId, now: SystemTime) -> Result<(), StoreError> {
        let file = self.holds.lock_file(id.as_str())?;
        set_time(&file, now).map_err(|errno| StoreError::io(format!("mark {id} as used"), errno))
    }

    /// When it was used last, as far as that is written down.
    pub(super) fn last_used(&self, id: &ImageId) -> Result<Option<SystemTime>, StoreError> {
        match rustix::fs::statat(&self.holds, id.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(time_of(stat.st_mtime, stat.st_mtime_nsec)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(StoreError::io(format!("look at holds/{id}"), errno)),
        }
    }

    /// Nobody's use, for as long as this is kept; `None` if somebody uses it.
    pub(super) fn unused(&self, id: &ImageId) -> Result<Option<Locked>, StoreError> {
        lock::try_lock(&self.holds, id.as_str(), FlockOperation::NonBlockingLockExclusive)
    }
}

fn set_time(file: impl AsFd, now: SystemTime) -> Result<(), Errno> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time = Timespec {
        tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: since.subsec_nanos().into(),
    };
    rustix::fs::futimens(file, &Timestamps { last_access: time, last_modification: time })
}

fn time_of(seconds: i64, nanoseconds: impl TryInto<u32>) -> Option<SystemTime> {
    let since = Duration::new(seconds.try_into().ok()?, nanoseconds.try_into().ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}
