//! Images that are renamed into place: what was there lies beside it, under another name.

use std::{io, path::Path};

use rustix::{
    fs::{AtFlags, CWD, RenameFlags, statat},
    io::Errno,
};

use super::{MountError, attach, point::point, record::Record};

/// Renames what is at the path aside.
pub(super) fn set_aside(record: &Record) -> Result<(), MountError> {
    rename(&record.path, &record.aside()).map_err(MountError::failed("rename", &record.path))
}

/// Renames the tree into its place.
pub(super) fn put_in(record: &Record) -> Result<(), MountError> {
    rename(&record.tree(), &record.path).map_err(MountError::failed("rename to", &record.path))
}

/// Renames the tree out again, if it is in. It is in if its own name is gone; but that says something only
/// while the other one lies aside, which is what shows that this is the place that we know.
pub(super) fn take_out(record: &Record) -> Result<(), MountError> {
    if !is_there(&record.aside()) || is_there(&record.tree()) {
        return Ok(());
    }
    if let Some(path) = attach::look(record).foreign {
        return Err(MountError::Foreign(path));
    }
    match rename(&record.path, &record.tree()) {
        // Somebody removed the image's tree.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed.map_err(MountError::failed("rename", &record.path)),
    }
}

/// Renames back what lies aside, if something does. What somebody made in its place meanwhile is kept under a name
/// of its own, unless it is an empty directory.
pub(super) fn bring_back(record: &Record) -> Result<(), MountError> {
    let aside = record.aside();
    if !is_there(&aside) {
        return Ok(());
    }
    let failed = |error| MountError::failed("rename to", &record.path)(error);
    match rename(&aside, &record.path) {
        Err(_) if is_there(&record.path) => {
            if rustix::fs::rmdir(&record.path).is_err() {
                let found = aside.with_extension("found");
                rename(&record.path, &found).map_err(failed)?;
                tracing::warn!("what was made at {:?} is kept as {found:?}", record.path);
            }
            rename(&aside, &record.path).map_err(failed)
        }
        renamed => renamed.map_err(failed),
    }
}

pub(super) fn is_there(path: &Path) -> bool {
    statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Renames to a name that is free. Not every file system can make sure of that by itself.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    point();
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) if !is_there(to) => std::fs::rename(from, to)?,
        renamed => renamed?,
    }
    point();
    Ok(())
}
