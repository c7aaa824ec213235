//! What the next agent finds: mounts that were killed halfway, and those that are, or should be, there.
//!
//! - What was being mounted is undone, and what was being unmounted is finished.
//! - A mount of the kernel's that is gone was taken away by somebody, if this is where it was made; if not (the
//!   container was started again) it is mounted anew, with all that was changed in it.
//! - What was moved into place is known by what lies aside. If nothing does, this is another container, and
//!   the record is of nothing here.

use std::{fs, io, path::Path};

use parking_lot::{Condvar, Mutex};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};

use super::{
    Mounts, attach,
    record::{Record, Side},
    remove::remove,
    steps::{self, GONE},
    swap::is_there,
    table::{Slot, Use, inode},
};
use crate::{
    core::mounts::{Action, Way},
    os::{
        features::{Feature, Features},
        mount::{Namespace, table, try_bind, try_overlay},
    },
};

impl Mounts {
    /// Opens the mounts beneath a state directory, chooses the ways to mount, and brings in order what an agent left
    /// behind. Returns also what its operator should be told. Another agent that has them is an error
    /// ([`io::ErrorKind::WouldBlock`]).
    pub fn open(state: &Path, features: &Features) -> io::Result<(Self, Vec<String>)> {
        fs::create_dir_all(state)?;
        let state = state.canonicalize()?;
        let home = state.join("mounts");
        match rustix::fs::mkdir(&home, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let lock = openat(CWD, home.join("lock"), flags, Mode::RUSR | Mode::WUSR)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let (ways, overlay) = ways(&home, features);
        // Where there is no /proc, every place is a new one.
        let namespace = Namespace::own().map_or_else(|error| error.to_string(), |own| own.0);
        let mounts = Self {
            state,
            home,
            ways,
            overlay,
            namespace,
            _lock: lock,
            table: Mutex::default(),
            changed: Condvar::new(),
            sweeping: Mutex::default(),
        };
        let notices = mounts.recover()?;
        Ok((mounts, notices))
    }

    fn recover(&self) -> io::Result<Vec<String>> {
        let mut notices = Vec::new();
        let mut records = self.records(&mut notices)?;
        // Inner mounts were made after outer ones and go before them.
        records.sort_by_key(|record| std::cmp::Reverse(record.order));
        records.retain_mut(|record| self.undo(record, &mut notices));
        records.reverse();
        for mut record in records {
            if self.is_here(&mut record, &mut notices) {
                self.table.lock().slots.push(Slot {
                    asked: record.asked.clone(),
                    path: record.path.clone(),
                    image: record.image.clone(),
                    use_: Use::Kept(Box::new(record)),
                });
            }
        }
        Ok(notices)
    }

    fn records(&self, notices: &mut Vec<String>) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.home)? {
            let home = entry?.path();
            if !home.is_dir() || home.ends_with(GONE) {
                continue;
            }
            match Record::load(&home) {
                Ok(record) => records.push(record),
                // Nothing was begun before the first record was there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => remove(&home)?,
                Err(error) => notices.push(format!("leaving alone {home:?}: {error}")),
            }
        }
        Ok(records)
    }

    /// Undoes what was not finished. False if nothing is left of it.
    fn undo(&self, record: &mut Record, notices: &mut Vec<String>) -> bool {
        record.journal.give_up();
        match record.journal.next() {
            Action::Rest => return true,
            Action::Do(_) | Action::Undo(_) | Action::Forget => {}
        }
        if !is_known_place(record) {
            notices.push(format!(
                "leaving alone {:?}: it is not the directory that was mounted over",
                record.path
            ));
            return false;
        }
        match steps::unmake(record) {
            Ok(()) => {
                notices.push(format!("{:?}: a mount that was cut short is undone", record.path));
                false
            }
            Err(error) => {
                notices.push(format!("{:?} was not brought in order: {error}", record.path));
                true
            }
        }
    }

    /// Makes sure that a mount is there. False if it is not, and is no mount of ours any more.
    fn is_here(&self, record: &mut Record, notices: &mut Vec<String>) -> bool {
        if record.journal.next() != Action::Rest {
            return true;
        }
        match record.journal.way() {
            Way::Overlay | Way::Bind => self.is_attached(record, notices),
            Way::Swap | Way::Entries if is_known_place(record) => true,
            Way::Swap | Way::Entries => {
                notices.push(format!("{:?}: the image is not mounted here any more", record.path));
                if record.side == Side::Sibling {
                    let _ = remove(&record.home);
                }
                false
            }
        }
    }

    fn is_attached(&self, record: &mut Record, notices: &mut Vec<String>) -> bool {
        if attach::look(record).ours {
            return true;
        }
        if record.namespace == self.namespace {
            record.journal.unmount();
            notices.push(format!("{:?} was unmounted by somebody", record.path));
            return steps::unmake(record).is_err();
        }
        record.namespace.clone_from(&self.namespace);
        let attached = steps::make_target(record).and_then(|()| attach::attach(record));
        let saved = record.save();
        if let Err(error) = attached {
            notices.push(format!("{:?} is not mounted again: {error}", record.path));
        } else if let Err(error) = saved {
            notices.push(format!("ignoring that {:?} was not written down: {error}", record.path));
        }
        true
    }
}

/// Whether what was moved into place is there: by what lies aside, or, where that lies in our own directory, by
/// the inode of the directory.
fn is_known_place(record: &Record) -> bool {
    let moved = matches!(record.journal.way(), Way::Swap | Way::Entries);
    match record.side {
        _ if !moved => true,
        Side::Sibling => record.journal.next() != Action::Rest || is_there(&record.aside()),
        Side::Home => fs::metadata(&record.path).is_ok_and(|found| inode(&found) == record.inode),
    }
}

/// The ways that are open to us, the best first.
fn ways(home: &Path, features: &Features) -> (Vec<Way>, Feature) {
    let mut ways = Vec::new();
    // Without its table nobody could tell what is mounted.
    let mount = match (&features.mount, table()) {
        (Feature::Have, Ok(_)) => try_bind(home),
        (Feature::Have, Err(error)) => Feature::Missing(format!("no table of mounts: {error}")),
        (missing @ Feature::Missing(_), _) => missing.clone(),
    };
    let overlay = match (&mount, &features.overlay) {
        (Feature::Have, Feature::Have) => try_overlay(home),
        (Feature::Have, missing) | (missing, _) => missing.clone(),
    };
    if overlay.is_there() {
        ways.push(Way::Overlay);
    }
    if mount.is_there() {
        ways.push(Way::Bind);
    }
    ways.push(Way::Swap);
    (ways, overlay)
}
