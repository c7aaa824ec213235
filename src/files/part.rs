//! A file that is being written and is nobody's yet.
//!
//! It has no name until it is whole, where the file system can do that (O_TMPFILE): then nothing is left of
//! it however its writer ends. Elsewhere it has a name that [`is_part`] knows.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Seek},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT},
    io::Errno,
};

const PREFIX: &str = ".doorward-";
const SUFFIX: &str = ".part";

/// A file in a directory, without a name or with one that tells what it is. What is not put in its
/// place is removed.
pub(super) struct Part<'a> {
    directory: BorrowedFd<'a>,
    pub(super) file: File,
    name: Option<OsString>,
}

/// What may be where a part is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing. Whoever watches the directory sees a file being created.
    Free,
    /// A file, which is replaced.
    Taken,
}

/// Whether a name is that of a part.
pub(super) fn is_part(name: &OsStr) -> bool {
    let middle = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
    middle.is_some_and(|id| id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl<'a> Part<'a> {
    /// Makes one in a directory that may be opened for its path only.
    pub(super) fn make(directory: BorrowedFd<'a>, mode: Mode) -> io::Result<Self> {
        match Self::nameless(directory, mode) {
            // What a file system or a kernel says that does not know the flag.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
                Self::named(directory, mode)
            }
            made => Ok(made?),
        }
    }

    fn nameless(directory: BorrowedFd<'a>, mode: Mode) -> Result<Self, Errno> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, c".", flags, mode)?;
        Ok(Self { directory, file: file.into(), name: None })
    }

    fn named(directory: BorrowedFd<'a>, mode: Mode) -> io::Result<Self> {
        let name = random_name()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, &name, flags, mode)?;
        Ok(Self { directory, file: file.into(), name: Some(name) })
    }

    /// Puts it under its name. If the file system or what is there does not allow that (a mount point, a
    /// file of another user in a directory like /tmp), its bytes are copied there.
    pub(super) fn put(mut self, name: &OsStr, place: Place) -> io::Result<()> {
        let put = match place {
            Place::Free => self.link(name),
            Place::Taken => Err(Errno::EXIST),
        };
        match put.or_else(|_| self.replace(name)) {
            Ok(()) => self.wake(name),
            Err(_) => self.copy(name)?,
        }
        Ok(())
    }

    /// Gives it another name that was free.
    fn link(&self, name: &OsStr) -> Result<(), Errno> {
        if let Some(own) = &self.name {
            return rustix::fs::linkat(self.directory, own, self.directory, name, AtFlags::empty());
        }
        let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        rustix::fs::linkat(CWD, own, self.directory, name, AtFlags::SYMLINK_FOLLOW)
    }

    fn replace(&mut self, name: &OsStr) -> Result<(), Errno> {
        if self.name.is_none() {
            let own = random_name().map_err(|_| Errno::IO)?;
            self.link(&own)?;
            self.name = Some(own);
        }
        let own = self.name.as_ref().expect("it has just been given one");
        rustix::fs::renameat(self.directory, own, self.directory, name)?;
        self.name = None;
        Ok(())
    }

    /// Lets those hear of it who watch the directory and wait for a change or a close: it came there whole,
    /// without either.
    fn wake(&self, name: &OsStr) {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times = Timestamps { last_access: omitted, last_modification: now };
        // Who may not write a file that he made (mode 0444) leaves it at that.
        if let Ok(file) = rustix::fs::openat(self.directory, name, flags, Mode::empty()) {
            let _ = rustix::fs::futimens(&file, &times);
        }
    }

    fn copy(&mut self, name: &OsStr) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        let to = match rustix::fs::openat(self.directory, name, flags, mode) {
            Err(Errno::NOENT) => {
                rustix::fs::openat(self.directory, name, flags | OFlags::CREATE, mode)
            }
            opened => opened,
        };
        self.file.rewind()?;
        io::copy(&mut self.file, &mut File::from(to?))?;
        Ok(())
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Whoever else removes it does us a favour.
            let _ = rustix::fs::unlinkat(self.directory.as_fd(), name, AtFlags::empty());
        }
    }
}

fn random_name() -> io::Result<OsString> {
    let mut id = [0; 8];
    getrandom::fill(&mut id).map_err(|error| io::Error::other(error.to_string()))?;
    let id = u64::from_ne_bytes(id);
    Ok(OsStr::from_bytes(format!("{PREFIX}{id:016x}{SUFFIX}").as_bytes()).to_owned())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, os::fd::OwnedFd, path::Path};

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).unwrap()
    }

    fn names(path: &Path) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    type Make = fn(BorrowedFd<'_>) -> Part<'_>;

    const MAKERS: [Make; 2] = [
        |directory| Part::make(directory, Mode::from_raw_mode(0o600)).unwrap(),
        |directory| Part::named(directory, Mode::from_raw_mode(0o600)).unwrap(),
    ];

    #[test]
    fn it_is_put_where_nothing_is_or_replaces_what_is_there() {
        for make in MAKERS {
            let top = tempfile::tempdir().unwrap();
            let directory = open(top.path());
            for (place, text) in
                [(Place::Free, "one"), (Place::Taken, "two"), (Place::Free, "three")]
            {
                let mut part = make(directory.as_fd());
                part.file.write_all(text.as_bytes()).unwrap();
                let before = fs::read_to_string(top.path().join("file"));
                assert_ne!(before.unwrap_or_default(), text);
                part.put(OsStr::new("file"), place).unwrap();
                assert_eq!(fs::read_to_string(top.path().join("file")).unwrap(), text);
                assert_eq!(names(top.path()), ["file"], "{text}");
            }
        }
    }

    #[test]
    fn nothing_is_left_of_what_is_not_put() {
        for make in MAKERS {
            let top = tempfile::tempdir().unwrap();
            let directory = open(top.path());
            let mut part = make(directory.as_fd());
            part.file.write_all(b"half").unwrap();
            assert!(names(top.path()).iter().all(|name| is_part(name)));
            drop(part);
            assert_eq!(names(top.path()), Vec::<OsString>::new());
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_overwritten() {
        let top = tempfile::tempdir().unwrap();
        let directory = open(top.path());
        fs::write(top.path().join("file"), "longer than before").unwrap();
        let mut part = Part::make(directory.as_fd(), Mode::from_raw_mode(0o600)).unwrap();
        part.file.write_all(b"new").unwrap();
        part.copy(OsStr::new("file")).unwrap();
        assert_eq!(fs::read_to_string(top.path().join("file")).unwrap(), "new");
    }

    #[test]
    fn parts_are_known_by_their_names() {
        assert!(is_part(&random_name().unwrap()));
        for name in ["", ".doorward-.part", ".doorward-0123456789abcdeg.part", "x", ".part"] {
            assert!(!is_part(OsStr::new(name)), "{name}");
        }
    }
}
