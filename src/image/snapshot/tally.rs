//! What was packed, and what was not.

use parking_lot::Mutex;

use crate::core::limits::SNAPSHOT_NOTES_MAX;

/// What a snapshot counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries that were packed, whiteouts not among them.
    pub entries: u64,
    /// Bytes of data in them, without holes.
    pub data_bytes: u64,
    /// Names that are as the base has them.
    pub unchanged: u64,
    /// Names that the base has and the directory has not.
    pub gone: u64,
    /// Sockets, which nothing can bring back.
    pub sockets: u64,
    /// Devices that were not asked for.
    pub devices: u64,
    /// Mounts of others.
    pub mounts: u64,
    /// What could not be read.
    pub unreadable: u64,
    /// Names that a layer cannot have: those that begin as whiteouts do.
    pub unnamable: u64,
    /// Extended attributes that a layer cannot have.
    pub attributes: u64,
    /// Files that were changed while they were read.
    pub changed: u64,
    /// The first of what was left out or changed, each in words.
    pub notes: Vec<String>,
}

/// What the threads that read tell.
#[derive(Default)]
pub(super) struct Told(Mutex<Counts>);

impl Counts {
    /// Remembers what happened to a path, if not too much is remembered already.
    pub(super) fn note(&mut self, path: &[u8], what: std::fmt::Arguments<'_>) {
        if self.notes.len() < SNAPSHOT_NOTES_MAX {
            self.notes.push(format!("{}: {what}", String::from_utf8_lossy(path)));
        }
    }
}

impl Told {
    pub(super) fn changed(&self, path: &[u8], what: std::fmt::Arguments<'_>) {
        let mut counts = self.0.lock();
        counts.changed += 1;
        counts.note(path, what);
    }

    pub(super) fn unreadable(&self, path: &[u8], what: std::fmt::Arguments<'_>) {
        let mut counts = self.0.lock();
        counts.unreadable += 1;
        counts.note(path, what);
    }

    /// Adds all that was told.
    pub(super) fn add_to(self, counts: &mut Counts) {
        let told = self.0.into_inner();
        counts.changed += told.changed;
        counts.unreadable += told.unreadable;
        counts.notes.extend(told.notes);
        counts.notes.truncate(SNAPSHOT_NOTES_MAX);
    }
}
