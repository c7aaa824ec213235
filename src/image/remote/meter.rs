//! How far a push or a pull is.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// How much of an image is where it is to be. What had to be sent again counts once: `done` may go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are there, also of what was there before.
    pub done: u64,
    /// Bytes of all blobs.
    pub of: u64,
}

/// Tells about progress; clones tell about the same.
#[derive(Clone)]
pub struct Meter(Arc<Shared>);

type Tell = dyn Fn(Progress) + Send + Sync;

struct Shared {
    tell: Box<Tell>,
    done: AtomicU64,
    of: AtomicU64,
}

impl Meter {
    /// `tell` is called from the reactor, some times a second or a thousand times: it only takes note.
    pub fn new(tell: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { tell: Box::new(tell), done: 0.into(), of: 0.into() }))
    }

    /// Nobody wants to know.
    pub fn silent() -> Self {
        Self::new(|_| ())
    }

    /// Begins: so many bytes are to come.
    pub(super) fn begin(&self, of: u64) {
        self.0.of.store(of, Ordering::Relaxed);
        self.0.done.store(0, Ordering::Relaxed);
        self.tell();
    }

    pub(super) fn add(&self, bytes: u64) {
        self.0.done.fetch_add(bytes, Ordering::Relaxed);
        self.tell();
    }

    /// So many bytes have to be sent again.
    pub(super) fn take_back(&self, bytes: u64) {
        self.0.done.fetch_sub(bytes, Ordering::Relaxed);
        self.tell();
    }

    fn tell(&self) {
        let (done, of) = (self.0.done.load(Ordering::Relaxed), self.0.of.load(Ordering::Relaxed));
        (self.0.tell)(Progress { done, of });
    }
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shared { done, of, .. } = &*self.0;
        f.debug_struct("Meter").field("done", done).field("of", of).finish()
    }
}
