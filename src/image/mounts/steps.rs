//! Does and undoes what a mount's journal says, and writes the journal down before each step.
//!
//! A step that fails is undone with all before it. That a step was written down and not begun does no harm,
//! so that, on the way back, a record that cannot be written (the disk is full) stops nothing.

use std::{fs, io, path::PathBuf};

use super::{
    MountError, TreeProvider, WantedTree, attach, entries, point::point, record::Record,
    remove::remove, swap,
};
use crate::core::mounts::{Action, Step};

/// Goes on until the image is mounted, or nothing of it is left. An error says why it is not mounted;
/// [`Action::Forget`] is then next, unless it could not be undone either.
pub(super) fn make(record: &mut Record, trees: &dyn TreeProvider) -> Result<(), MountError> {
    while let Action::Do(step) = record.journal.next() {
        let nothing = step == Step::Target && record.made.is_empty();
        let saved = if nothing { Ok(()) } else { record.save() };
        let saved = saved.map_err(MountError::failed("write down", &record.home));
        let done = saved.and_then(|()| do_step(step, record, trees));
        match done {
            Ok(()) => record.journal.done(),
            Err(error) if cannot_be_renamed(&error) && record.journal.by_entries() => {}
            Err(error) => {
                record.journal.give_up();
                if let Err(worse) = unmake(record) {
                    tracing::error!("cannot undo a mount that failed: {worse}");
                }
                return Err(error);
            }
        }
    }
    match record.save() {
        Ok(()) => Ok(()),
        Err(error) => {
            record.journal.unmount();
            let failed = MountError::failed("write down", &record.home)(error);
            if let Err(worse) = unmake(record) {
                tracing::error!("cannot undo a mount that failed: {worse}");
            }
            Err(failed)
        }
    }
}

/// Undoes what is to be undone. After an error the journal says what is left to undo, or that it is mounted as
/// before.
pub(super) fn unmake(record: &mut Record) -> Result<(), MountError> {
    while let Action::Undo(step) = record.journal.next() {
        if let Err(error) = record.save() {
            tracing::warn!("ignoring that a step back was not written down: {error}");
        }
        match undo_step(step, record) {
            Ok(()) => record.journal.done(),
            Err(error) => {
                // These change nothing if they fail.
                if matches!(step, Step::Attach | Step::Into) && record.journal.stay() {
                    record.save().map_err(MountError::failed("write down", &record.home))?;
                }
                return Err(error);
            }
        }
    }
    if record.journal.next() == Action::Forget {
        point();
        remove(&record.home).map_err(MountError::failed("remove", &record.home))?;
    }
    Ok(())
}

/// Whether a directory was refused to be renamed for what it is, or for where.
fn cannot_be_renamed(error: &MountError) -> bool {
    let errnos = [libc::EXDEV, libc::EBUSY, libc::EPERM, libc::EACCES, libc::EROFS];
    error.errno().is_some_and(|errno| errnos.contains(&errno))
}

fn do_step(step: Step, record: &Record, trees: &dyn TreeProvider) -> Result<(), MountError> {
    match step {
        Step::Target => make_target(record),
        Step::Tree => make_tree(record, trees),
        Step::Attach => attach::attach(record),
        Step::Aside => swap::set_aside(record),
        Step::Into => swap::put_in(record),
        Step::Empty => entries::move_out(record),
        Step::Fill => entries::move_in(record),
    }
}

fn undo_step(step: Step, record: &Record) -> Result<(), MountError> {
    match step {
        Step::Target => {
            remove_target(record);
            Ok(())
        }
        Step::Tree => remove_tree(record),
        Step::Attach => attach::detach(record),
        Step::Aside => swap::bring_back(record),
        Step::Into => swap::take_out(record),
        Step::Empty => entries::restore(record),
        Step::Fill => entries::move_back(record),
    }
}

/// Makes the directories that are missing.
pub(super) fn make_target(record: &Record) -> Result<(), MountError> {
    for directory in &record.made {
        point();
        match fs::create_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
            made => made.map_err(MountError::failed("make", directory))?,
        }
    }
    Ok(())
}

/// Removes the directories that were made, from the innermost to the first that somebody uses.
fn remove_target(record: &Record) {
    for directory in record.made.iter().rev() {
        point();
        match fs::remove_dir(directory) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return,
        }
    }
}

fn make_tree(record: &Record, trees: &dyn TreeProvider) -> Result<(), MountError> {
    if let Some(lower) = &record.lower {
        let made = attach::make_upper(record, lower);
        return made.map_err(MountError::failed("make a layer in", &record.home));
    }
    let tree = record.tree();
    remove(&tree).map_err(MountError::failed("remove", &tree))?;
    point();
    if record.image.is_empty() {
        return fs::create_dir(&tree).map_err(MountError::failed("make", &tree));
    }
    let wanted = WantedTree { key: &record.image, into: &tree, record: &record.tree_record() };
    trees.private_tree(wanted).map_err(MountError::Tree)
}

/// Takes what is private to the mount out of sight. To remove a large tree takes long, and nobody need wait for
/// that ([`Mounts::sweep`](super::Mounts::sweep)), unless it lies on another file system.
fn remove_tree(record: &Record) -> Result<(), MountError> {
    let gone = gone(record);
    let all = || -> io::Result<()> {
        fs::create_dir_all(&gone)?;
        let layers = ["upper", "work"].map(|name| record.home.join(name));
        for (number, tree) in [record.tree()].into_iter().chain(layers).enumerate() {
            point();
            let there = gone.join(format!("{}-{number}", record.id()));
            match fs::rename(&tree, &there) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => remove(&tree)?,
            }
        }
        Ok(())
    };
    all().map_err(MountError::failed("remove", record.tree()))
}

/// Where that lies which waits to be removed.
fn gone(record: &Record) -> PathBuf {
    record.home.with_file_name(GONE)
}

/// The name of that directory, beside those of the mounts.
pub(super) const GONE: &str = "gone";
