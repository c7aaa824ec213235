//! The store's lock. It is taken anew, on a descriptor of its own, for each operation: so it holds
//! threads of one agent apart just as it does agents.
//!
//! Nothing slow is done while it is held (blobs are flushed before and deleted after), and the kernel
//! gives it back when its holder dies, so that waiting for it has an end.

use rustix::{fs::FlockOperation, io::Errno};

use super::{Locked, StoreError, directory::Directory};

const NAME: &str = "lock";

/// Nobody else looks or changes.
pub(super) fn exclusive(own: &Directory) -> Result<Locked, StoreError> {
    wait(own, FlockOperation::LockExclusive)
}

/// Nobody changes.
pub(super) fn shared(own: &Directory) -> Result<Locked, StoreError> {
    wait(own, FlockOperation::LockShared)
}

fn wait(own: &Directory, operation: FlockOperation) -> Result<Locked, StoreError> {
    let file = own.lock_file(NAME)?;
    loop {
        match rustix::fs::flock(&file, operation) {
            Ok(()) => return Ok(file),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(StoreError::io("lock the store", errno)),
        }
    }
}

/// Takes a lock if nobody has it.
pub(super) fn try_lock(
    directory: &Directory,
    name: &str,
    operation: FlockOperation,
) -> Result<Option<Locked>, StoreError> {
    let file = directory.lock_file(name)?;
    match rustix::fs::flock(&file, operation) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(StoreError::io(format!("lock {name}"), errno)),
    }
}
