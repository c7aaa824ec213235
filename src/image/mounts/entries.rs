//! Images whose entries are moved into the directory at the path, after those that were there were moved out.
//!
//! For directories that cannot be renamed: of a lower layer of the container's overlay, of a volume that is
//! mounted there, or beneath a directory that is not ours to change. The directory stays the same one.

use std::{fs, io, os::fd::AsFd, path::Path};

use rustix::{
    fs::{RenameFlags, fchmod, futimens, renameat_with},
    io::Errno,
};

use super::{
    MountError, attach,
    attributes::{Attributes, drop_xattrs_beyond, make_like},
    mover::{move_entries, open},
    point::point,
    record::Record,
    remove::{empty, remove, remove_at, some_names},
    resolve::is_writable,
    swap::is_there,
    times,
};

/// Moves what is in the directory aside.
pub(super) fn move_out(record: &Record) -> Result<(), MountError> {
    out(record).map_err(MountError::failed("move the entries of", &record.path))
}

fn out(record: &Record) -> io::Result<()> {
    let directory = open(&record.path)?;
    // What we could not make as it was again is not begun.
    let stat = rustix::fs::fstat(&directory)?;
    fchmod(&directory, Attributes::of(&stat).mode())?;
    if !is_writable(&record.path) {
        return Err(Errno::ACCESS.into());
    }
    times::write_down(directory.as_fd(), &times_of(record))?;
    let aside = record.aside();
    let next = record.aside().with_extension("next");
    remove(&next)?;
    fs::create_dir(&next)?;
    let made = open(&next)?;
    // It keeps what the directory itself is like, and is not seen before it does.
    if make_like(&directory, &stat, &made)? > 0 {
        return Err(io::Error::other("an attribute of the directory cannot be kept elsewhere"));
    }
    point();
    fs::rename(&next, &aside)?;
    move_entries(&directory, &open(&aside)?, &record.id())
}

/// Moves the tree's entries into the directory, and makes it like the tree's own.
pub(super) fn move_in(record: &Record) -> Result<(), MountError> {
    let all = || -> io::Result<()> {
        let (tree, directory) = (open(&record.tree())?, open(&record.path)?);
        let stat = rustix::fs::fstat(&tree)?;
        move_entries(&tree, &directory, &record.id())?;
        make_like(&tree, &stat, &directory)?;
        Ok(())
    };
    all().map_err(MountError::failed("move entries to", &record.path))
}

/// Moves the image's entries out, if they are in: only while something lies aside it is the image's entries
/// that are in the directory.
pub(super) fn move_back(record: &Record) -> Result<(), MountError> {
    if !is_there(&record.aside()) {
        return Ok(());
    }
    if let Some(path) = attach::look(record).foreign {
        return Err(MountError::Foreign(path));
    }
    clear(record).map_err(MountError::failed("move the entries of", &record.path))
}

/// Renames the entries out of sight where that is possible, so that a large tree is not seen to vanish; they
/// are removed in any case.
fn clear(record: &Record) -> io::Result<()> {
    let directory = open(&record.path)?;
    if let Ok(tree) = open(&record.tree()) {
        for name in some_names(directory.as_fd())? {
            point();
            let flags = RenameFlags::NOREPLACE;
            if renameat_with(&directory, &name, &tree, &name, flags).is_err() {
                remove_at(directory.as_fd(), &name)?;
            }
        }
    }
    empty(directory.as_fd())
}

/// Moves back what lies aside, and makes the directory what it was.
pub(super) fn restore(record: &Record) -> Result<(), MountError> {
    let aside = record.aside();
    let failed = MountError::failed("move back to", &record.path);
    if !is_there(&aside) {
        return remove(&aside.with_extension("next")).map_err(failed);
    }
    back(record, &aside).map_err(failed)
}

fn back(record: &Record, aside: &Path) -> io::Result<()> {
    let (aside_fd, directory) = (open(aside)?, open(&record.path)?);
    move_entries(&aside_fd, &directory, &record.id())?;
    let stat = rustix::fs::fstat(&aside_fd)?;
    make_like(&aside_fd, &stat, &directory)?;
    drop_xattrs_beyond(aside_fd.as_fd(), directory.as_fd())?;
    // Moving has changed the times of all directories that entries were moved to and from.
    if let Err(error) = times::give_back(directory.as_fd(), &times_of(record)) {
        tracing::warn!("ignoring that directories lost their times: {error}");
        futimens(&directory, Attributes::of(&stat).times())?;
    }
    point();
    // Only an empty one goes.
    fs::remove_dir(aside)
}

fn times_of(record: &Record) -> std::path::PathBuf {
    record.home.join("times")
}
