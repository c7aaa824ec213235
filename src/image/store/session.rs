//! The files that one open store is writing: a directory with a lock that ends with it.
//!
//! Sessions begin and dead ones are removed under the store's exclusive lock, so that nobody takes one
//! that is just being made for dead.

use std::{
    io::Write,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::FlockOperation;

use super::{Locked, StoreError, directory::Directory, lock, random_name};

/// The directory of one open store.
pub(super) struct Session {
    /// What it is in.
    tmp: Directory,
    name: String,
    pub(super) directory: Directory,
    serial: AtomicU64,
    _lock: Locked,
}

const LOCK: &str = "lock";

/// Removes the sessions of the dead, and says how many there were.
pub(super) fn remove_dead(tmp: &Directory) -> Result<usize, StoreError> {
    let mut removed = 0;
    for name in tmp.names()? {
        // A living one may end while we look; then it removes itself.
        let gone = tmp.existing(&name).and_then(|session| {
            match lock::try_lock(&session, LOCK, FlockOperation::NonBlockingLockExclusive)? {
                Some(_dead) => tmp.remove_directory(&name).map(|()| 1),
                None => Ok(0),
            }
        });
        match gone {
            Ok(count) => removed += count,
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

impl Session {
    /// Makes a session's directory and takes its lock.
    pub(super) fn begin(tmp: Directory) -> Result<Self, StoreError> {
        let name = random_name()?;
        let directory = tmp.directory(&name)?;
        let locked = lock::try_lock(&directory, LOCK, FlockOperation::NonBlockingLockExclusive)?;
        let _lock = locked.ok_or_else(|| StoreError::Strange {
            what: format!("tmp/{name}: somebody else has locked what was just made"),
        })?;
        Ok(Self { tmp, name, directory, serial: AtomicU64::new(0), _lock })
    }

    /// A name in its directory that was not used before.
    pub(super) fn fresh_name(&self) -> String {
        self.serial.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// Makes a file that is whole or not there, over another if there is one, and outlives a crash.
    pub(super) fn publish(
        &self,
        directory: &Directory,
        name: &str,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let temporary = self.fresh_name();
        let written = self.write_and_move(&temporary, directory, name, bytes);
        if written.is_err() {
            // It is removed with the session at the latest.
            let _ = self.directory.remove(&temporary);
        }
        written
    }

    fn write_and_move(
        &self,
        temporary: &str,
        directory: &Directory,
        name: &str,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let mut file = self.directory.create(temporary)?;
        let write = file.write_all(bytes).and_then(|()| file.sync_all());
        write.map_err(|error| StoreError::io(format!("write {name}"), error))?;
        self.directory.move_to(temporary, directory, name)?;
        directory.sync()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What stays is removed by whoever opens the store next.
        let _ = self.tmp.remove_directory(&self.name);
    }
}
