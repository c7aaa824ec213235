//! The store: images in a directory that is an OCI image layout.
//!
//! ```text
//! images/
//!   oci-layout, index.json, blobs/sha256/<hex>     what skopeo, podman and others read
//!   doorward/
//!     lock               flock: exclusive while index.json, records or blobs change, shared to look
//!     records/<id>.json  what the layout has no place for: ttl, snapshot id, blobs
//!     holds/<id>         flock: shared by who uses the image; its time stamp is the last use
//!     tmp/<session>/     files being written; its lock is held as long as the store is open
//! ```
//!
//! An image exists once `index.json` has an entry whose name is its id; everything that it needs was
//! flushed and renamed before. So a death at any moment leaves temporary files, which the next
//! [`Store::open`] removes with whatever else belongs to nobody, and nothing that is half there.
//!
//! Any number of agents may use one directory: each change is made from what is on disk, under the
//! lock. What somebody holds ([`Hold`]) is never removed by anybody, also not by another agent.
//! Locks are the kernel's: they end with whoever held them.
//!
//! A blob that was written lies in `tmp/` until an image takes it ([`Pending`]); nothing in `blobs/`
//! is waiting for anything, so that collecting can remove whatever no image names.

mod collect;
mod directory;
mod hold;
mod images;
mod index;
mod lock;
mod record;
mod session;
mod verify;
mod writer;

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

pub use collect::Collected;
pub use hold::Hold;
pub use images::{Image, NewImage};
pub use verify::{Fault, Verification, Verified, Watch, Which, Wrong};
pub use writer::{BlobWriter, Pending};

use super::manifest::ManifestError;
use crate::core::image::{Digest, ImageId};
use directory::Directory;
use session::Session;

/// A store that is open. Calls may come from any thread.
pub struct Store {
    path: PathBuf,
    /// The layout itself.
    root: Directory,
    blobs: Directory,
    /// Where `lock` is.
    own: Directory,
    records: Directory,
    holds: Directory,
    session: Arc<Session>,
}

/// What can go wrong with a store.
#[derive(Debug)]
pub enum StoreError {
    /// The file system is full, or a quota is used up.
    Full {
        /// What was being done.
        doing: String,
    },
    /// The system refused something else.
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
    /// There is no such image, or it has expired.
    NotFound {
        /// What was looked for.
        name: String,
    },
    /// Somebody uses the image.
    Held {
        /// The image.
        id: ImageId,
    },
    /// A blob that an image names is not there.
    Missing {
        /// The blob.
        digest: Digest,
    },
    /// A blob's bytes are not what its name says.
    Corrupt {
        /// The blob.
        digest: Digest,
    },
    /// What was written is not what was announced.
    Mismatch {
        /// What was announced.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// A blob is larger than whoever reads it can take.
    TooLarge {
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        bytes: u64,
    },
    /// A manifest is none that can be kept.
    Manifest(ManifestError),
    /// There are as many images as a store may have.
    TooMany,
    /// The directory holds something else than a store of ours.
    Strange {
        /// What is strange about it.
        what: String,
    },
    /// The caller asked to stop.
    Stopped,
}

/// What [`Store::open`] found and put right.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repaired {
    /// Directories of dead agents with files that were being written.
    pub sessions: usize,
    /// Entries of `index.json` that others had added and that are images of ours by this.
    pub adopted: Vec<ImageId>,
    /// Names in `index.json` whose manifest is gone or damaged; they are there no more.
    pub lost: Vec<String>,
    /// Files and bytes that belonged to no image.
    pub swept: Collected,
}

impl Store {
    /// Opens the store in `path`, which is made if it is missing, and puts right what a dead agent
    /// left behind.
    pub fn open(path: &Path, now: SystemTime) -> Result<(Self, Repaired), StoreError> {
        let root = Directory::make(path)?;
        let own = root.directory("doorward")?;
        let guard = lock::exclusive(&own)?;
        let blobs = root.directory("blobs")?.directory("sha256")?;
        let (records, holds) = (own.directory("records")?, own.directory("holds")?);
        let tmp = own.directory("tmp")?;
        let sessions = session::remove_dead(&tmp)?;
        let session = Arc::new(Session::begin(tmp)?);
        let store = Self { path: path.to_owned(), root, blobs, own, records, holds, session };
        store.layout()?;
        let mut repaired = Repaired { sessions, ..Repaired::default() };
        let doomed = store.repair(&mut repaired, now)?;
        drop(guard);
        store.bury(doomed);
        Ok((store, repaired))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a blob.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        BlobWriter::begin(&self.session)
    }

    /// Opens a blob. Its bytes are as the disk has them: see [`Verified`].
    pub fn blob(&self, digest: &Digest) -> Result<File, StoreError> {
        match self.blobs.open(&digest.hex()) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::Missing { digest: *digest })
            }
            opened => opened,
        }
    }

    /// Reads a whole blob of at most `bytes_max` bytes and checks it.
    pub fn read_verified(&self, digest: &Digest, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        let file = self.blob(digest)?;
        let mut bytes = Vec::new();
        let read = file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| StoreError::io(format!("read blob {digest}"), error))?;
        let size = bytes.len() as u64;
        if size > bytes_max {
            return Err(StoreError::TooLarge { digest: *digest, bytes: size });
        }
        match Digest::of(&bytes) == *digest {
            true => Ok(bytes),
            false => Err(StoreError::Corrupt { digest: *digest }),
        }
    }

    /// Makes a blob that is there belong to the caller as if it had been written just now, so that
    /// nobody can remove it before it is part of an image; `None` if it is not there or cannot
    /// have a second name.
    pub fn pin(&self, digest: &Digest) -> Option<Pending> {
        Pending::of_blob(&self.session, &self.blobs, digest)
    }

    /// The files of a layout, if they are not there; refuses another one's.
    fn layout(&self) -> Result<(), StoreError> {
        const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
        let strange =
            |what: &str| StoreError::Strange { what: format!("{}: {what}", self.path.display()) };
        match self.root.read("oci-layout", 4096)? {
            None => self.session.publish(&self.root, "oci-layout", LAYOUT)?,
            Some(bytes) => {
                let value: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
                let version = value.as_ref().and_then(|value| value["imageLayoutVersion"].as_str());
                if !version.is_some_and(|version| version.starts_with("1.")) {
                    return Err(strange("oci-layout is not of version 1"));
                }
            }
        }
        if self.root.open("index.json").is_ok() {
            return Ok(());
        }
        // Without it every blob would seem to belong to nobody.
        if !self.blobs.is_empty()? || !self.records.is_empty()? {
            return Err(strange("index.json is gone although there are blobs"));
        }
        self.write_index(&index::Index::empty())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl StoreError {
    pub(in crate::image) fn io(doing: impl Into<String>, error: impl Into<io::Error>) -> Self {
        let (doing, source) = (doing.into(), error.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { doing },
            _ => Self::Io { doing, source },
        }
    }
}

impl From<ManifestError> for StoreError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(error)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { doing } => write!(f, "{doing}: the image store's file system is full"),
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
            Self::NotFound { name } => write!(f, "no image {name} in the store"),
            Self::Held { id } => write!(f, "image {id} is in use"),
            Self::Missing { digest } => write!(f, "blob {digest} is not in the store"),
            Self::Corrupt { digest } => write!(f, "blob {digest} is damaged: its bytes are others"),
            Self::Mismatch { expected, found } => {
                write!(f, "blob {expected} was announced, and {found} came")
            }
            Self::TooLarge { digest, bytes } => {
                write!(f, "blob {digest} is too large: {bytes} bytes or more")
            }
            Self::Manifest(error) => write!(f, "use a manifest: {error}"),
            Self::TooMany => f.write_str("the store has as many images as it may have"),
            Self::Strange { what } => f.write_str(what),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for StoreError {}

/// A name that nobody else has.
fn random_name() -> Result<String, StoreError> {
    let random = random::<8>()?;
    Ok(format!("{:016x}", u64::from_be_bytes(random)))
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], StoreError> {
    let mut random = [0; BYTES];
    getrandom::fill(&mut random)
        .map_err(|error| StoreError::io("get random bytes", io::Error::other(error.to_string())))?;
    Ok(random)
}

/// What a lock is held by.
type Locked = OwnedFd;

#[cfg(test)]
pub(in crate::image) mod tests;
