//! Images as single files: OCI archives and the archives of `docker save`, written and read.
//!
//! Both are tar archives, of an OCI layout and of Docker's own. They are written and read from front to
//! back, so that either end may be a pipe. What is exported was checked against its digest on the way;
//! after an error, what was written is useless.

mod export;
mod import;
mod members;

use std::{
    fmt,
    io::{self, Read, Write},
};

pub use export::{Export, Form, export};
pub use import::{Imported, import};

use super::{crypt::OpenError, manifest::ManifestError, store::StoreError};
use crate::core::limits::CHUNK_BYTES;

/// Why an image did not become a file, or a file not an image.
#[derive(Debug)]
pub enum TransferError {
    /// The store could not.
    Store(StoreError),
    /// What is written to took no more.
    Write(io::Error),
    /// What is read from gave an error or too little, or a layer is damaged.
    Read(io::Error),
    /// The archive is none that we know.
    Archive {
        /// What is wrong with it.
        what: String,
    },
    /// A manifest or a configuration is none that we know.
    Manifest(ManifestError),
    /// The image is sealed and no key was given.
    Sealed,
    /// The image is sealed with another key.
    Key(OpenError),
    /// The caller asked to stop.
    Stopped,
}

impl From<StoreError> for TransferError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ManifestError> for TransferError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(error)
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Write(error) => write!(f, "write: {error}"),
            Self::Read(error) => write!(f, "read: {error}"),
            Self::Archive { what } => write!(f, "read the archive: {what}"),
            Self::Manifest(error) => write!(f, "use a manifest: {error}"),
            Self::Sealed => f.write_str("open the image: it is sealed, and no key was given"),
            Self::Key(error) => write!(f, "open the image: {error}"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for TransferError {}

/// Copies to the end of `from`, and says how many bytes. `stop` is asked between pieces.
fn copy(
    from: &mut dyn Read,
    to: &mut dyn Write,
    stop: &dyn Fn() -> bool,
) -> Result<u64, TransferError> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut copied = 0;
    loop {
        if stop() {
            return Err(TransferError::Stopped);
        }
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(TransferError::Read(error)),
        };
        to.write_all(&buffer[..count]).map_err(TransferError::Write)?;
        copied += count as u64;
    }
}

#[cfg(test)]
mod tests;
