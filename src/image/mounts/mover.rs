//! Moves the entries of one directory into another, each by a rename where that is possible.
//!
//! A rename is refused between file systems, and on an overlay for directories of its lower layers. Then a
//! directory is made anew and its entries are moved, and anything else is copied, on disk before its
//! source is removed. Nothing comes into sight under its name before it is whole, so that a move that was
//! cut short is moved on, or back, by the same walk: what is already there is not moved again.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Stat, fdatasync, futimens, mkdirat,
        openat, renameat, renameat_with, statat, unlinkat,
    },
    io::Errno,
};

use super::{
    attributes::{Attributes, make_like},
    clone::{Cloner, Place},
    point::point,
    remove::{DIRECTORY, remove_at, some_names},
};
use crate::core::limits::{TREE_DEPTH_MAX, TREE_NAMES_MAX, TREE_ROUNDS_MAX};

/// Moves all entries of `from` to `to`. `id` is a name that nobody else uses.
pub(super) fn move_entries(from: &OwnedFd, to: &OwnedFd, id: &str) -> io::Result<()> {
    let never = || false;
    let name = |what: &str| CString::new(format!(".doorward-{what}-{id}"));
    let mut mover =
        Mover { cloner: Cloner::new(to.as_fd(), &never), moving: name("moving")?, id, depth: 0 };
    mover.contents(from.as_fd(), to.as_fd())
}

struct Mover<'a> {
    cloner: Cloner<'a>,
    /// The name of what is not whole yet, in any directory.
    moving: CString,
    id: &'a str,
    depth: usize,
}

impl Mover<'_> {
    fn contents(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
        for directory in [from, to] {
            remove_at(directory, &self.moving)?;
        }
        // Whoever goes on making files here does not keep us for ever.
        let mut rounds = 0;
        while rounds < TREE_ROUNDS_MAX {
            let names = some_names(from)?;
            if names.is_empty() {
                break;
            }
            rounds += usize::from(names.len() < TREE_NAMES_MAX);
            for name in names {
                self.one(from, to, &name)?;
            }
        }
        Ok(())
    }

    fn one(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        point();
        let Some(source) = stat(from, name)? else { return Ok(()) };
        // A rename takes a name of a lower layer's file from the other names of that file.
        let several = source.st_nlink > 1 && !is_directory(&source);
        if several && self.cloner.link(&source, Place { parent: to, name })? {
            point();
            return Ok(unlinkat(from, name, AtFlags::empty())?);
        }
        let moved = match renameat_with(from, name, to, name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) if stat(to, name)?.is_none() => {
                renameat(from, name, to, name)
            }
            Err(Errno::INVAL | Errno::NOSYS) => Err(Errno::EXIST),
            moved => moved,
        };
        match moved {
            Ok(()) => {
                if several {
                    self.cloner.remember(&source, name);
                }
                Ok(())
            }
            // It was removed meanwhile.
            Err(Errno::NOENT) => Ok(()),
            Err(Errno::EXIST | Errno::XDEV) => self.by_itself(from, to, name),
            Err(errno) => Err(errno.into()),
        }
    }

    fn by_itself(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
    ) -> io::Result<()> {
        let Some(source) = stat(from, name)? else { return Ok(()) };
        match (stat(to, name)?, is_directory(&source)) {
            (None, false) => self.carry(from, to, name, &source),
            (None, true) => {
                self.make_directory(from, to, name)?;
                self.fill_directory(from, to, name)
            }
            (Some(there), true) if is_directory(&there) => self.fill_directory(from, to, name),
            // Copied, and not removed before we were cut short.
            (Some(there), false) if is_same(&source, &there) => {
                Ok(unlinkat(from, name, AtFlags::empty())?)
            }
            (Some(_), _) => self.beside(from, to, name),
        }
    }

    /// Two different things have one name: somebody made one while the other was elsewhere. Both are kept.
    fn beside(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let other = [name.to_bytes(), b".doorward-", self.id.as_bytes()].concat();
        let other = CString::new(other)?;
        renameat(from, name, from, &other)?;
        tracing::warn!("keeping {name:?} as {other:?}: something else has its name");
        self.one(from, to, &other)
    }

    /// Copies what is no directory, and removes it where it was.
    fn carry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        source: &Stat,
    ) -> io::Result<()> {
        let target = Place { parent: to, name };
        if !self.cloner.link(source, target)? {
            let moving = self.moving.clone();
            let passing = Place { parent: to, name: &moving };
            self.cloner.copy(Place { parent: from, name }, source, passing)?;
            self.nothing_lost()?;
            if FileType::from_raw_mode(source.st_mode) == FileType::RegularFile {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                // Who may not read what is theirs cannot make sure of it either.
                if let Ok(file) = openat(to, &moving, flags, Mode::empty()) {
                    fdatasync(file)?;
                }
            }
            point();
            renameat(to, &moving, to, name)?;
            self.cloner.remember(source, name);
        }
        point();
        Ok(unlinkat(from, name, AtFlags::empty())?)
    }

    /// Makes a directory like the one in `from`.
    fn make_directory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
    ) -> io::Result<()> {
        let source = openat(from, name, DIRECTORY, Mode::empty())?;
        mkdirat(to, &self.moving, Mode::RWXU)?;
        point();
        let target = openat(to, &self.moving, DIRECTORY, Mode::empty())?;
        self.cloner.cloned.lost += make_like(&source, &rustix::fs::fstat(&source)?, &target)?;
        self.nothing_lost()?;
        point();
        Ok(renameat(to, &self.moving, to, name)?)
    }

    /// Moves the entries of a directory into the one of the same name, and removes it.
    fn fill_directory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
    ) -> io::Result<()> {
        if self.depth == TREE_DEPTH_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        let source = openat(from, name, DIRECTORY, Mode::empty())?;
        let target = openat(to, name, DIRECTORY, Mode::empty())?;
        let attributes = Attributes::of(&rustix::fs::fstat(&source)?);
        self.depth += 1;
        self.cloner.down(name);
        let filled = self.contents(source.as_fd(), target.as_fd());
        self.cloner.up();
        self.depth -= 1;
        filled?;
        futimens(&target, attributes.times())?;
        point();
        Ok(unlinkat(from, name, AtFlags::REMOVEDIR)?)
    }

    /// What cannot be kept whole is not moved.
    fn nothing_lost(&self) -> io::Result<()> {
        match self.cloner.cloned.lost {
            0 => Ok(()),
            _ => Err(io::Error::other("an attribute or a device cannot be kept elsewhere")),
        }
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    let of = |stat: &Stat| {
        let kind = stat.st_mode & libc::S_IFMT;
        (kind, stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_rdev)
    };
    of(one) == of(other)
}

fn stat(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<Stat>> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a directory by its path.
pub(super) fn open(path: &std::path::Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, DIRECTORY, Mode::empty())?)
}
