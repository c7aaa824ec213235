//! A directory by its descriptor, and files in it by name. No name has a slash; no link is followed.

use std::{
    fs::{DirBuilder, File},
    io::Read,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags},
    io::Errno,
};

use super::StoreError;

/// An open directory.
pub(super) struct Directory {
    directory: OwnedFd,
    /// What messages call it.
    name: String,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// The workload often runs as the same user, but others have no business here.
const DIRECTORY_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

impl Directory {
    /// Opens the directory that an operator named, and makes it if it is missing.
    pub(super) fn make(path: &Path) -> Result<Self, StoreError> {
        let name = path.display().to_string();
        let made =
            DirBuilder::new().recursive(true).mode(DIRECTORY_MODE.as_raw_mode()).create(path);
        made.map_err(|e| StoreError::io(format!("make {name}"), e))?;
        let opened = rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty());
        let directory = opened.map_err(|e| StoreError::io(format!("open {name}"), e))?;
        Ok(Self { directory, name })
    }

    /// A directory in this one, made if it is missing.
    pub(super) fn directory(&self, name: &str) -> Result<Self, StoreError> {
        match rustix::fs::mkdirat(self, name, DIRECTORY_MODE) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(self.failed("make", name, errno)),
        }
        self.existing(name)
    }

    /// A directory in this one.
    pub(super) fn existing(&self, name: &str) -> Result<Self, StoreError> {
        let opened = rustix::fs::openat(self, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
        let directory = opened.map_err(|errno| self.failed("open", name, errno))?;
        Ok(Self { directory, name: format!("{}/{name}", self.name) })
    }

    /// A file that is not there yet.
    pub(super) fn create(&self, name: &str) -> Result<File, StoreError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(self, name, flags, FILE_MODE);
        opened.map(File::from).map_err(|errno| self.failed("make", name, errno))
    }

    /// A file to be locked, made if it is missing.
    pub(super) fn lock_file(&self, name: &str) -> Result<OwnedFd, StoreError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(self, name, flags | OFlags::NONBLOCK, FILE_MODE);
        opened.map_err(|errno| self.failed("open", name, errno))
    }

    /// A regular file, to be read.
    pub(super) fn open(&self, name: &str) -> Result<File, StoreError> {
        // A fifo in its place would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(self, name, flags, Mode::empty());
        let file = opened.map_err(|errno| self.failed("open", name, errno))?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| self.failed("look at", name, errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(file.into()),
            _ => Err(self.failed("open", name, Errno::INVAL)),
        }
    }

    /// The bytes of a regular file; `None` if it is not there.
    pub(super) fn read(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let file = match self.open(name) {
            Err(error) if error.is_not_found() => return Ok(None),
            opened => opened?,
        };
        let mut bytes = Vec::new();
        let read = file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| StoreError::io(format!("read {}/{name}", self.name), error))?;
        match bytes.len() as u64 <= bytes_max {
            true => Ok(Some(bytes)),
            false => Err(self.failed("read", name, Errno::FBIG)),
        }
    }

    /// The size of a file; `None` if it is not there.
    pub(super) fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        match rustix::fs::statat(self, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(u64::try_from(stat.st_size).unwrap_or(0))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("look at", name, errno)),
        }
    }

    /// Moves a file, over another if there is one.
    pub(super) fn move_to(&self, name: &str, to: &Self, new: &str) -> Result<(), StoreError> {
        rustix::fs::renameat(self, name, to, new).map_err(|errno| to.failed("make", new, errno))
    }

    /// Removes a file; it may be gone already.
    pub(super) fn remove(&self, name: &str) -> Result<(), StoreError> {
        match rustix::fs::unlinkat(self, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed("remove", name, errno)),
        }
    }

    /// Removes a directory of files, and the files.
    pub(super) fn remove_directory(&self, name: &str) -> Result<(), StoreError> {
        let directory = self.existing(name)?;
        for file in directory.names()? {
            directory.remove(&file)?;
        }
        match rustix::fs::unlinkat(self, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed("remove", name, errno)),
        }
    }

    /// What is in it, sorted. A name that is not UTF-8 is none of ours and is left out.
    pub(super) fn names(&self) -> Result<Vec<String>, StoreError> {
        let failed = |errno| StoreError::io(format!("list {}", self.name), errno);
        let mut names = Vec::new();
        for entry in Dir::read_from(self).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        names.sort();
        Ok(names)
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.names()?.is_empty())
    }

    /// Makes what was created, renamed and removed here outlive a crash.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        match rustix::fs::fsync(self) {
            // Some file systems cannot; then there is nothing that they could lose by order.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(errno) => Err(StoreError::io(format!("flush {}", self.name), errno)),
        }
    }

    fn failed(&self, doing: &str, name: &str, errno: Errno) -> StoreError {
        StoreError::io(format!("{doing} {}/{name}", self.name), errno)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl StoreError {
    /// Whether a file was not there.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}
