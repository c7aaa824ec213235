//! Blobs that are being written, and those that are written and wait for their image.

use std::{
    fs::File,
    io::{self, Write},
    sync::Arc,
};

use rustix::fs::AtFlags;
use sha2::{Digest as _, Sha256};

use super::{StoreError, directory::Directory, session::Session};
use crate::core::image::Digest;

/// A blob that is being written. Dropped, it leaves nothing.
pub struct BlobWriter {
    file: File,
    /// What hashes the bytes; nothing where the caller does.
    hasher: Option<Sha256>,
    bytes: u64,
    place: Place,
}

/// A blob that was written and flushed, and belongs to whoever has this. Dropped, it is removed.
pub struct Pending {
    digest: Digest,
    size: u64,
    place: Place,
}

/// A temporary file's name, removed with this.
struct Place {
    session: Arc<Session>,
    name: String,
}

impl BlobWriter {
    pub(super) fn begin(session: &Arc<Session>) -> Result<Self, StoreError> {
        let place = Place::fresh(session);
        let file = session.directory.create(&place.name)?;
        Ok(Self { file, hasher: Some(Sha256::new()), bytes: 0, place })
    }

    /// The caller hashes what it writes and says it with [`finish_as`](Self::finish_as).
    pub fn hashed_by_caller(mut self) -> Self {
        self.hasher = None;
        self
    }

    /// Flushes the blob, whose digest the caller knows.
    pub fn finish_as(self, digest: Digest) -> Result<Pending, StoreError> {
        self.file.sync_all().map_err(|error| StoreError::io("flush a blob", error))?;
        Ok(Pending { digest, size: self.bytes, place: self.place })
    }

    /// Flushes the blob.
    pub fn finish(mut self) -> Result<Pending, StoreError> {
        let hasher = self.hasher.take();
        let digest = hasher.map(|hasher| Digest::from_bytes(hasher.finalize().into()));
        let digest = digest.expect("who hashes for itself finishes with what it found");
        self.finish_as(digest)
    }

    /// Flushes the blob if it is what was announced.
    pub fn finish_expecting(mut self, expected: Digest) -> Result<Pending, StoreError> {
        let hasher = self.hasher.take();
        let found = hasher.map(|hasher| Digest::from_bytes(hasher.finalize().into()));
        match found {
            Some(found) if found != expected => Err(StoreError::Mismatch { expected, found }),
            _ => self.finish_as(expected),
        }
    }

    /// Bytes that were written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.file.write(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pending {
    /// A second name for a blob that is in the store.
    pub(super) fn of_blob(
        session: &Arc<Session>,
        blobs: &Directory,
        digest: &Digest,
    ) -> Option<Self> {
        let place = Place::fresh(session);
        let (from, to) = (digest.hex(), place.name.as_str());
        rustix::fs::linkat(blobs, &from, &session.directory, to, AtFlags::empty()).ok()?;
        let size = session.directory.size(to).ok().flatten()?;
        Some(Self { digest: *digest, size, place })
    }

    /// What its bytes hash to.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Opens it for reading, from its begin.
    pub fn open(&self) -> Result<File, StoreError> {
        self.place.session.directory.open(&self.place.name)
    }

    /// Makes it one of the store's blobs, over a damaged one if there is one.
    pub(super) fn settle(self, blobs: &Directory) -> Result<(), StoreError> {
        // Where both are names of one file, rename does nothing, and the drop removes the second.
        self.place.session.directory.move_to(&self.place.name, blobs, &self.digest.hex())
    }
}

impl Place {
    fn fresh(session: &Arc<Session>) -> Self {
        Self { session: session.clone(), name: session.fresh_name() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It is removed with the session at the latest.
        let _ = self.session.directory.remove(&self.name);
    }
}
