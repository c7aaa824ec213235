//! Digests of what goes by.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{Scope, ScopedJoinHandle},
};

use sha2::{Digest as _, Sha256};

use crate::core::image::Digest;

/// Finds out the digest of pieces on a thread of its own.
pub(super) struct Hasher<'scope> {
    to: Sender<Arc<Vec<u8>>>,
    thread: ScopedJoinHandle<'scope, Digest>,
}

impl<'scope> Hasher<'scope> {
    /// Starts one; pieces that nobody else has any more go to `free`.
    pub(super) fn start<'env>(scope: &'scope Scope<'scope, 'env>, free: Sender<Vec<u8>>) -> Self {
        let (to, pieces) = channel();
        Self { to, thread: scope.spawn(move || all(&pieces, &free)) }
    }

    pub(super) fn add(&self, piece: Arc<Vec<u8>>) {
        // It takes everything until we drop our end.
        let _ = self.to.send(piece);
    }

    /// The digest of all that was added.
    pub(super) fn digest(self) -> Digest {
        drop(self.to);
        self.thread.join().expect("hashing does not fail")
    }
}

fn all(pieces: &Receiver<Arc<Vec<u8>>>, free: &Sender<Vec<u8>>) -> Digest {
    let mut hash = Sha256::new();
    for piece in pieces {
        hash.update(&piece[..]);
        if let Some(buffer) = Arc::into_inner(piece) {
            // Nobody takes it once the layer was read.
            let _ = free.send(buffer);
        }
    }
    Digest::from_bytes(hash.finalize().into())
}

/// Counts what is read, and finds out its digest if that was asked for.
pub(super) struct Metered<'a> {
    from: Box<dyn Read + Send + 'a>,
    hash: Option<Sha256>,
    pub(super) bytes: u64,
    /// Whether reading failed, as opposed to what was read.
    pub(super) failed: bool,
}

impl<'a> Metered<'a> {
    /// With a hash, what is read is added to it.
    pub(super) fn new(from: Box<dyn Read + Send + 'a>, hash: Option<Sha256>) -> Self {
        Self { from, hash, bytes: 0, failed: false }
    }

    /// The digest of all that was read, once.
    pub(super) fn digest(&mut self) -> Option<Digest> {
        self.hash.take().map(|hash| Digest::from_bytes(hash.finalize().into()))
    }
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer).inspect_err(|error| {
            self.failed = error.kind() != io::ErrorKind::Interrupted;
        })?;
        self.bytes += count as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(&buffer[..count]);
        }
        Ok(count)
    }
}
