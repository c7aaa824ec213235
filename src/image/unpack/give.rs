//! What a file has besides its data: owner, mode, extended attributes and time of change.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::{
    fs::{
        AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat,
        chownat, fchmod, fchown, fsetxattr, fstat, futimens, lsetxattr, statat, utimensat,
    },
    io::{Errno, Result},
};

use super::fill::Filling;
use crate::archive::entry::{Entry, Time};

/// What an entry says about what is made of it.
#[derive(Debug, Clone)]
pub(super) struct Gift {
    mode: u32,
    /// By their numbers; nothing of the kind is whoever unpacks.
    owner: Option<(u32, u32)>,
    modified: Time,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What could not be given.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Withheld {
    /// Entries that did not get their owners.
    pub(super) owners: u64,
    /// Extended attributes.
    pub(super) xattrs: u64,
}

impl Withheld {
    pub(super) fn add(&mut self, more: Self) {
        self.owners += more.owners;
        self.xattrs += more.xattrs;
    }
}

const SET_ID: u32 = 0o6000;

impl Gift {
    /// What an entry says, without the attributes that only the file system's own tools may set.
    pub(super) fn of(entry: &mut Entry) -> (Self, Withheld) {
        let mut xattrs = std::mem::take(&mut entry.xattrs);
        let before = xattrs.len();
        xattrs.retain(|(name, _)| is_given(name));
        let withheld = Withheld { owners: 0, xattrs: (before - xattrs.len()) as u64 };
        let owner = Some((entry.uid, entry.gid));
        (Self { mode: entry.mode, owner, modified: entry.modified, xattrs }, withheld)
    }

    /// What a directory gets that no entry tells of: the same everywhere.
    pub(super) fn implied() -> Self {
        Self { mode: 0o755, owner: None, modified: Time::default(), xattrs: Vec::new() }
    }

    /// The mode that a file is made with. With attributes, its owner has to be able to write to it.
    pub(super) fn first_mode(&self) -> Mode {
        let mode = if self.xattrs.is_empty() { self.mode & 0o777 } else { 0o600 };
        Mode::from_raw_mode(mode)
    }

    /// The bytes that it holds besides its own size.
    pub(super) fn bytes(&self) -> usize {
        self.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Gives it to an open file or directory.
    pub(super) fn give(&self, file: BorrowedFd<'_>) -> Result<Withheld> {
        let stat = fstat(file)?;
        let owned = self.owned(&stat, |uid, gid| fchown(file, Some(uid), Some(gid)))?;
        let xattrs =
            self.attributed(|name, value| fsetxattr(file, name, value, XattrFlags::empty()))?;
        // Giving it away may have taken bits.
        let mode = self.mode_of(owned);
        if mode & SET_ID != 0 || stat.st_mode & 0o7777 != mode || xattrs.set {
            fchmod(file, Mode::from_raw_mode(mode))?;
        }
        futimens(file, &self.times())?;
        Ok(Withheld { owners: u64::from(owned == Owned::No), xattrs: xattrs.refused })
    }

    /// Gives it to a file whose data is there.
    pub(super) fn give_filled<F: AsFd>(&self, file: Filling<'_, F>) -> Result<Withheld> {
        self.give(file.finish()?.as_fd())
    }

    /// Gives it to a fifo or device.
    pub(super) fn give_node(&self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<Withheld> {
        let owned = self.owned_name(parent, name)?;
        let mode = Mode::from_raw_mode(self.mode_of(owned));
        // It was made here a moment ago, and is no link.
        chmodat(parent, name, mode, AtFlags::empty())?;
        self.rest(parent, name, owned)
    }

    /// Gives it to a symbolic link, which has no mode.
    pub(super) fn give_link(&self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<Withheld> {
        let owned = self.owned_name(parent, name)?;
        self.rest(parent, name, owned)
    }

    fn rest(&self, parent: BorrowedFd<'_>, name: &[u8], owned: Owned) -> Result<Withheld> {
        let xattrs = self.attributed(|key, value| {
            // There is no call with a directory; the last component is not followed.
            let way = format!("/proc/self/fd/{}/", parent.as_fd().as_raw_fd());
            lsetxattr([way.as_bytes(), name].concat(), key, value, XattrFlags::empty())
        })?;
        utimensat(parent, name, &self.times(), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Withheld { owners: u64::from(owned == Owned::No), xattrs: xattrs.refused })
    }

    fn owned_name(&self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<Owned> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let stat = statat(parent, name, flags)?;
        self.owned(&stat, |uid, gid| chownat(parent, name, Some(uid), Some(gid), flags))
    }

    fn owned(&self, stat: &Stat, give: impl FnOnce(Uid, Gid) -> Result<()>) -> Result<Owned> {
        let Some((uid, gid)) = self.owner else { return Ok(Owned::Yes) };
        if (uid, gid) == (stat.st_uid, stat.st_gid) {
            return Ok(Owned::Yes);
        }
        // To the kernel this number is nobody.
        if uid == u32::MAX || gid == u32::MAX {
            return Ok(Owned::No);
        }
        match give(Uid::from_raw(uid), Gid::from_raw(gid)) {
            Ok(()) => Ok(Owned::Yes),
            // Only root may; and in a user namespace not every number means anybody.
            Err(Errno::PERM | Errno::INVAL) => Ok(Owned::No),
            Err(errno) => Err(errno),
        }
    }

    fn attributed(&self, set: impl Fn(&[u8], &[u8]) -> Result<()>) -> Result<Attributed> {
        let mut all = Attributed::default();
        for (name, value) in &self.xattrs {
            match set(name, value) {
                Ok(()) => all.set = true,
                Err(errno) if is_refusal(errno) => all.refused += 1,
                Err(errno) => return Err(errno),
            }
        }
        Ok(all)
    }

    /// Bits that give a program its owner's rights go only with that owner: otherwise they would give ours.
    fn mode_of(&self, owned: Owned) -> u32 {
        match owned {
            Owned::Yes => self.mode,
            Owned::No => self.mode & !SET_ID,
        }
    }

    fn times(&self) -> Timestamps {
        let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let Time { seconds, nanoseconds } = self.modified;
        let modified = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
        Timestamps { last_access: omitted, last_modification: modified }
    }
}

/// Whether something got its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owned {
    Yes,
    No,
}

/// What came of setting extended attributes.
#[derive(Default)]
struct Attributed {
    set: bool,
    refused: u64,
}

/// Whether an attribute of an image is set at all. Those of overlayfs would change what a tree means that
/// becomes one of its layers; those of security modules and of the kernel's own are not an image's to say.
fn is_given(name: &[u8]) -> bool {
    let named =
        [&b"security.capability"[..], b"system.posix_acl_access", b"system.posix_acl_default"];
    let of_user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    (of_user || named.contains(&name)) && !name.contains(&0)
}

/// Whether an attribute is refused for what it is: to us, here, or at all. Some file systems say that there is
/// no room for a large one (ENOSPC), as if the disk were full; the next write tells if it is.
fn is_refusal(errno: Errno) -> bool {
    [
        Errno::OPNOTSUPP,
        Errno::PERM,
        Errno::ACCESS,
        Errno::INVAL,
        Errno::RANGE,
        Errno::TOOBIG,
        Errno::NOSPC,
        Errno::NOENT,
    ]
    .contains(&errno)
}
