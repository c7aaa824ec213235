//! Whether the blobs are what their names say.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    time::SystemTime,
};

use sha2::{Digest as _, Sha256};

use super::{Store, StoreError};
use crate::{
    core::{
        image::{Digest, ImageId, Reference},
        limits::{CHUNK_BYTES, MANIFEST_BYTES_MAX},
    },
    image::manifest,
};

/// Which images are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// One.
    One(ImageId),
}

/// A blob of an image that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Images that need it.
    pub images: Vec<ImageId>,
    /// The blob.
    pub digest: Digest,
    /// What kind of thing is wrong.
    pub wrong: Wrong,
    /// What is wrong, as text for people.
    pub what: String,
}

/// What can be wrong with a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// It is not there.
    Missing,
    /// It is longer or shorter than the images say.
    Size,
    /// Its bytes are others.
    Content,
    /// It cannot be read, or not be understood.
    Unreadable,
}

/// What came of looking at blobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verification {
    /// Blobs that were read.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// Who is told while blobs are read.
pub struct Watch<'a> {
    /// Asked between pieces.
    pub stop: &'a dyn Fn() -> bool,
    /// Told bytes that were read more, of how many in all.
    pub told: &'a dyn Fn(u64, u64),
}

impl Store {
    /// Reads every blob of the images and says what is wrong. `stop` is asked between pieces.
    pub fn verify(
        &self,
        which: &Which,
        now: SystemTime,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<Fault>, StoreError> {
        let watch = Watch { stop, told: &|_, _| {} };
        self.verify_watched(which, now, &watch).map(|done| done.faults)
    }

    /// Reads every blob of the images and says what is wrong.
    pub fn verify_watched(
        &self,
        which: &Which,
        now: SystemTime,
        watch: &Watch<'_>,
    ) -> Result<Verification, StoreError> {
        let images = match which {
            Which::All => self.list(now)?,
            Which::One(id) => vec![self.find(&Reference::Image(id.clone()), now)?],
        };
        let mut needed: BTreeMap<Digest, (u64, Vec<ImageId>)> = BTreeMap::new();
        let mut faults = Vec::new();
        for image in images {
            for (digest, size) in self.blobs_of(&image.id)? {
                let (_, images) = needed.entry(digest).or_insert((size, Vec::new()));
                images.push(image.id.clone());
            }
            if let Some(what) = self.unreadable(&image.manifest) {
                let (images, digest) = (vec![image.id], image.manifest);
                faults.push(Fault { images, digest, wrong: Wrong::Unreadable, what });
            }
        }
        let total = needed.values().map(|(size, _)| *size).sum();
        let (blobs, mut bytes) = (needed.len() as u64, 0);
        for (digest, (size, images)) in needed {
            let mut told = |more| {
                bytes += more;
                (watch.told)(more, total);
            };
            if let Some((wrong, what)) = self.fault(&digest, size, watch.stop, &mut told)? {
                faults.push(Fault { images, digest, wrong, what });
            }
        }
        Ok(Verification { blobs, bytes, faults })
    }

    /// Why a manifest cannot be used although its bytes are the right ones.
    fn unreadable(&self, digest: &Digest) -> Option<String> {
        let bytes = self.read_verified(digest, MANIFEST_BYTES_MAX).ok()?;
        manifest::parse(&bytes).err().map(|error| error.to_string())
    }

    fn fault(
        &self,
        digest: &Digest,
        size: u64,
        stop: &dyn Fn() -> bool,
        told: &mut dyn FnMut(u64),
    ) -> Result<Option<(Wrong, String)>, StoreError> {
        let file = match self.blob(digest) {
            Err(StoreError::Missing { .. }) => {
                return Ok(Some((Wrong::Missing, "it is missing".into())));
            }
            opened => opened?,
        };
        let is_as_long = file.metadata().is_ok_and(|about| about.len() == size);
        let mut reader = Verified::new(file, *digest, size);
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            if stop() {
                return Err(StoreError::Stopped);
            }
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => told(count as u64),
                Err(error) => {
                    let wrong = match (error.kind(), is_as_long) {
                        (io::ErrorKind::InvalidData, true) => Wrong::Content,
                        (io::ErrorKind::InvalidData, false) => Wrong::Size,
                        (_, _) => Wrong::Unreadable,
                    };
                    return Ok(Some((wrong, error.to_string())));
                }
            }
        }
    }
}

/// Reads a blob and looks at the end whether it was the right one: whoever reads to the end of file has
/// been told. A blob that is longer or shorter than announced is an error too.
pub struct Verified<R = File> {
    inner: R,
    digest: Digest,
    left: u64,
    /// `None` once the end was seen and was right.
    hasher: Option<Sha256>,
}

impl<R: Read> Verified<R> {
    /// Reads `inner`, which is to have `size` bytes that hash to `digest`.
    pub fn new(inner: R, digest: Digest, size: u64) -> Self {
        Self { inner, digest, left: size, hasher: Some(Sha256::new()) }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let Some(hasher) = &mut self.hasher else { return Ok(0) };
        let damaged = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let count = self.inner.read(buffer)?;
        match count as u64 {
            0 if self.left > 0 => {
                let (digest, left) = (self.digest, self.left);
                Err(damaged(format!("blob {digest} ends {left} bytes early")))
            }
            0 => {
                let found = Digest::from_bytes(std::mem::take(hasher).finalize().into());
                if found != self.digest {
                    let wanted = self.digest;
                    return Err(damaged(format!("blob {wanted} is damaged: it is {found}")));
                }
                self.hasher = None;
                Ok(0)
            }
            more if more > self.left => {
                Err(damaged(format!("blob {} is longer than it should be", self.digest)))
            }
            more => {
                hasher.update(&buffer[..count]);
                self.left -= more;
                Ok(count)
            }
        }
    }
}
