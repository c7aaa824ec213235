//! Waits for descriptors on the reactor.

use std::{io, os::fd::OwnedFd, sync::Arc};

use tokio::io::{Interest, unix::AsyncFd};

/// Registers a nonblocking descriptor with the reactor of the current runtime. It stays open
/// whatever happens.
pub fn register_shared(fd: &Arc<OwnedFd>, interest: Interest) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: the `Arc` keeps the `OwnedFd` open for as long as the `AsyncFd` has it, and nothing
    // in the crate replaces a descriptor in place (dup2) or closes one that it does not own.
    let registered = unsafe { AsyncFd::register_with_interest(fd.clone(), interest) };
    registered.map_err(io::Error::from)
}
