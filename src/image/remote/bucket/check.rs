//! Digests of what is sent: a bucket knows nothing of them.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::{
    core::image::Digest,
    image::store::StoreError,
    os::work::{Share, Work},
};

/// Hashes a blob while it is read from its begin to its end.
pub(super) struct Check {
    work: Work,
    hasher: Sha256,
}

impl Check {
    pub(super) fn new(work: Work) -> Self {
        Self { work, hasher: Sha256::new() }
    }

    /// Takes the next bytes.
    pub(super) async fn take(self, bytes: Bytes) -> Self {
        let Self { work, mut hasher } = self;
        let hashed = work.run(Share::File, move || {
            hasher.update(&bytes);
            hasher
        });
        let hasher = hashed.await;
        Self { work, hasher }
    }

    /// Whether they were what they were to be: a store's file may be damaged.
    pub(super) fn end(self, expected: Digest) -> Result<(), StoreError> {
        match Digest::from_bytes(self.hasher.finalize().into()) == expected {
            true => Ok(()),
            false => Err(StoreError::Corrupt { digest: expected }),
        }
    }
}
