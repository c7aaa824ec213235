//! A future that is kept in a struct and polled by whoever asks next.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use parking_lot::Mutex;

/// A future on the heap. The lock is never taken: it makes what holds this `Sync`, so that readers
/// and writers can be borrowed by futures that move between threads.
pub(super) struct Later<T>(Mutex<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T> Later<T> {
    pub(super) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Mutex::new(Box::pin(future)))
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<T> {
        self.0.get_mut().as_mut().poll(context)
    }
}
