//! What a file has besides its data: mode, owner, time of change.

use std::os::fd::BorrowedFd;

use rustix::{
    fs::{
        AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, chmodat, chownat, fchmod,
        fchown, futimens, utimensat,
    },
    io::{Errno, Result},
};

use super::{
    Owners,
    entry::{Entry, Time},
};

/// What an entry says about the file that is made of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    pub(super) mode: Mode,
    owner: Option<(Uid, Gid)>,
    modified: Time,
}

/// Whether a file got the owner that it shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    Yes,
    /// We may not give files away.
    NotAllowed,
}

impl Given {
    /// What else it may have that goes only with its owner.
    pub(super) fn limits(self, owners: Owners) -> Owners {
        match self {
            Self::Yes => owners,
            Self::NotAllowed => Owners::Own,
        }
    }
}

impl Attributes {
    /// Bits that give a program its owner's rights go only together with that owner: otherwise they would
    /// give ours.
    pub(super) fn of(entry: &Entry, owners: Owners) -> Self {
        let (bits, owner) = match owners {
            Owners::Own => (0o1777, None),
            Owners::Kept => (0o7777, Some((Uid::from_raw(entry.uid), Gid::from_raw(entry.gid)))),
        };
        let mode = Mode::from_raw_mode(entry.mode & bits);
        Self { mode, owner, modified: entry.modified }
    }

    /// Gives them to an open file. What `more` gives stands in between: after the owner, whose change takes
    /// capabilities away, and before the mode, which may let nobody write.
    pub(super) fn give_file(
        &self,
        file: BorrowedFd<'_>,
        more: impl FnOnce(Given),
    ) -> Result<Given> {
        let given = self.owned(|uid, gid| fchown(file, uid, gid))?;
        more(given);
        fchmod(file, self.mode_if(given))?;
        futimens(file, &self.times())?;
        Ok(given)
    }

    /// Gives them to a directory, by a descriptor that need only name it.
    pub(super) fn give_directory(&self, directory: BorrowedFd<'_>) -> Result<Given> {
        let given = self.owned(|uid, gid| chownat(directory, ".", uid, gid, AtFlags::empty()))?;
        utimensat(directory, ".", &self.times(), AtFlags::empty())?;
        chmodat(directory, ".", self.mode_if(given), AtFlags::empty())?;
        Ok(given)
    }

    /// Gives owner and time to a link, fifo or device; its mode is the one that it was made with.
    pub(super) fn give_name(&self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<Given> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let given = self.owned(|uid, gid| chownat(parent, name, uid, gid, flags))?;
        utimensat(parent, name, &self.times(), flags)?;
        Ok(given)
    }

    fn owned(&self, give: impl FnOnce(Option<Uid>, Option<Gid>) -> Result<()>) -> Result<Given> {
        match self.owner.map(|(uid, gid)| give(Some(uid), Some(gid))) {
            None | Some(Ok(())) => Ok(Given::Yes),
            Some(Err(Errno::PERM)) => Ok(Given::NotAllowed),
            Some(Err(errno)) => Err(errno),
        }
    }

    fn mode_if(&self, given: Given) -> Mode {
        match given {
            Given::Yes => self.mode,
            Given::NotAllowed => self.mode & !(Mode::SUID | Mode::SGID),
        }
    }

    fn times(&self) -> Timestamps {
        let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let Time { seconds, nanoseconds } = self.modified;
        let modified = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
        Timestamps { last_access: omitted, last_modification: modified }
    }
}
