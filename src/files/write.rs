//! An input to a file.
//!
//! Where that can be had, the file is written whole or not at all: the bytes go to a part beside it
//! (`part`), which takes its place at the end of the input. So it is with a file that is new, and with one
//! that a new file can stand for: regular, with one name, no attributes of its own, and an owner that
//! we may give it. Anything else (a device, a pipe, a second name, somebody else's file) is
//! written in place, as any program would; what was written stays if the writer is stopped. The mode stays, but
//! for the bits that lend its owner's rights.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid},
    io::Errno,
};

use super::{
    failure::{Failure, Kind},
    part::{Part, Place},
    read::pour,
};
use crate::core::limits::ROOTED_LINKS_MAX;

/// What another program's new file is given.
const NEW: Mode = Mode::from_raw_mode(0o666);

/// Makes all of `from`, at most `limit` bytes, the file at `path`; directories that are missing above it
/// are made.
pub(super) fn write(path: &Path, from: &mut dyn Read, limit: u64) -> Result<(), Failure> {
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Failure::is_directory());
    }
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(Failure::is_directory()),
        Ok(found) if !found.is_file() => {
            let mut file = File::options().write(true).open(path)?;
            return pour(from, &mut file, limit);
        }
        Ok(_) => {}
        Err(_) => make_parents(path)?,
    }
    let target = Target::find(path)?;
    let Some(Prepared { mut part, place }) = target.prepare()? else {
        return pour(from, &mut target.open_in_place()?, limit);
    };
    pour(from, &mut part.file, limit)?;
    Ok(part.put(&target.name, place)?)
}

fn make_parents(path: &Path) -> Result<(), Failure> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(Kind::AlreadyExists, "a component of the path is not a directory")
        }
        _ => error.into(),
    })
}

/// Where a file is to be: no link is at that name.
struct Target {
    directory: OwnedFd,
    name: OsString,
}

/// A part that is ready to be filled.
struct Prepared<'a> {
    part: Part<'a>,
    place: Place,
}

impl Target {
    /// Where a plain open would write: a link at the end is followed, also one that leads nowhere.
    fn find(path: &Path) -> Result<Self, Failure> {
        let path = follow(path)?;
        let directory = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Err(Failure::is_directory()),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory, flags, Mode::empty())?;
        let name = path.file_name().ok_or_else(Failure::is_directory)?;
        Ok(Self { directory, name: name.to_owned() })
    }

    /// Makes a part for what is there; `None` if that has to be written in place.
    fn prepare(&self) -> Result<Option<Prepared<'_>>, Failure> {
        let directory = self.directory.as_fd();
        let old = match rustix::fs::statat(directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(old) => old,
            Err(Errno::NOENT) => {
                let part = Part::make(directory, NEW)?;
                return Ok(Some(Prepared { part, place: Place::Free }));
            }
            Err(errno) => return Err(errno.into()),
        };
        // A new file would stand for one that must not be written.
        rustix::fs::accessat(directory, &self.name, Access::WRITE_OK, AtFlags::empty())?;
        if !self.can_be_replaced(&old) {
            return Ok(None);
        }
        let part = Part::make(directory, Mode::RUSR | Mode::WUSR);
        let part = part.ok().filter(|part| take_after(part, &old).is_ok());
        Ok(part.map(|part| Prepared { part, place: Place::Taken }))
    }

    fn can_be_replaced(&self, old: &Stat) -> bool {
        let regular = FileType::from_raw_mode(old.st_mode) == FileType::RegularFile;
        regular && old.st_nlink == 1 && !self.has_attributes()
    }

    /// Whether there is an access list or the like. What security modules keep comes with a new file.
    fn has_attributes(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty()) else {
            // It cannot be read, so it cannot be looked at either.
            return true;
        };
        let mut names = [0; 4 << 10];
        match rustix::fs::flistxattr(&file, &mut names[..]) {
            Ok(length) => names[..length]
                .split(|byte| *byte == 0)
                .any(|name| !name.is_empty() && !name.starts_with(b"security.")),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => false,
            Err(_) => true,
        }
    }

    fn open_in_place(&self) -> Result<File, Failure> {
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOCTTY | OFlags::CLOEXEC;
        let name: &OsStr = &self.name;
        Ok(rustix::fs::openat(&self.directory, name, flags, Mode::empty())?.into())
    }
}

/// Gives a part the owner and the mode of the file that it is to replace.
fn take_after(part: &Part<'_>, old: &Stat) -> Result<(), Errno> {
    let own = rustix::fs::fstat(&part.file)?;
    if (own.st_uid, own.st_gid) != (old.st_uid, old.st_gid) {
        let (uid, gid) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
        rustix::fs::fchown(&part.file, Some(uid), Some(gid))?;
    }
    rustix::fs::fchmod(&part.file, Mode::from_raw_mode(old.st_mode & 0o1777))
}

fn follow(path: &Path) -> Result<PathBuf, Failure> {
    let mut path = path.to_owned();
    for _ in 0..ROOTED_LINKS_MAX {
        match fs::read_link(&path) {
            Ok(link) => path = path.parent().map_or_else(|| link.clone(), |at| at.join(&link)),
            Err(error) => {
                return match error.raw_os_error().map(Errno::from_raw_os_error) {
                    // No link, or nothing at all.
                    Some(Errno::INVAL | Errno::NOENT) => Ok(path),
                    Some(_) | None => Err(error.into()),
                };
            }
        }
    }
    Err(Errno::LOOP.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn put(path: &Path, text: &str) -> Result<(), Kind> {
        write(path, &mut text.as_bytes(), 10).map_err(|failure| failure.kind)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    /// An input that breaks after some bytes.
    struct Broken(usize);

    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.min(buffer.len());
            self.0 -= count;
            if count == 0 { Err(io::Error::other("cut")) } else { Ok(count) }
        }
    }

    #[test]
    fn files_are_made_with_their_directories_and_replaced_with_their_mode() {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join(path);
        assert_eq!(put(&at("a/b/file"), "one"), Ok(()));
        let first = fs::metadata(at("a/b/file")).unwrap();
        fs::set_permissions(at("a/b/file"), PermissionsExt::from_mode(0o4640)).unwrap();
        assert_eq!(put(&at("a/b/file"), "2"), Ok(()));
        assert_eq!(fs::read_to_string(at("a/b/file")).unwrap(), "2");
        assert_eq!(mode(&at("a/b/file")), 0o640);
        assert_ne!(fs::metadata(at("a/b/file")).unwrap().ino(), first.ino());
        assert_eq!(put(&at("empty"), ""), Ok(()));
        assert_eq!(fs::read(at("empty")).unwrap(), b"");
        assert_eq!(
            mode(&at("empty")),
            mode(&{
                fs::write(at("plain"), "").unwrap();
                at("plain")
            })
        );
    }

    #[test]
    fn links_are_written_through() {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join(path);
        fs::create_dir(at("dir")).unwrap();
        fs::write(at("dir/file"), "old").unwrap();
        for (link, to) in
            [("one", "dir/file"), ("two", "one"), ("free", "dir/new"), ("lost", "no/x")]
        {
            symlink(to, at(link)).unwrap();
        }
        symlink("loop", at("loop")).unwrap();
        assert_eq!(put(&at("two"), "through"), Ok(()));
        assert_eq!(fs::read_to_string(at("dir/file")).unwrap(), "through");
        assert_eq!(put(&at("free"), "made"), Ok(()));
        assert_eq!(fs::read_to_string(at("dir/new")).unwrap(), "made");
        assert!(at("two").is_symlink() && at("free").is_symlink());
        assert_eq!(put(&at("lost"), "x"), Err(Kind::NotFound));
        assert_eq!(put(&at("loop"), "x"), Err(Kind::Io));
    }

    #[test]
    fn what_must_stay_itself_is_written_in_place() {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join(path);
        fs::write(at("file"), "longer").unwrap();
        fs::hard_link(at("file"), at("second")).unwrap();
        assert_eq!(put(&at("file"), "both"), Ok(()));
        assert_eq!(fs::read_to_string(at("second")).unwrap(), "both");
        fs::write(at("marked"), "longer").unwrap();
        let before = fs::metadata(at("marked")).unwrap().ino();
        let file = File::open(at("marked")).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        if rustix::fs::fsetxattr(&file, "user.mark", b"x", flags).is_ok() {
            assert_eq!(put(&at("marked"), "m"), Ok(()));
            assert_eq!(fs::metadata(at("marked")).unwrap().ino(), before);
            assert_eq!(fs::read_to_string(at("marked")).unwrap(), "m");
        }
        assert_eq!(put(Path::new("/dev/null"), "nothing"), Ok(()));
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join(path);
        fs::write(at("file"), "old").unwrap();
        fs::create_dir(at("dir")).unwrap();
        for path in ["file", "new"] {
            assert_eq!(put(&at(path), "12345678901"), Err(Kind::FileTooLarge));
            let failure = write(&at(path), &mut Broken(5), 10).unwrap_err();
            assert_eq!(failure.kind, Kind::Io);
        }
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "old");
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 2, "something was left");
        assert_eq!(put(&at("file"), "1234567890"), Ok(()));
        for (path, kind) in [
            ("dir", Kind::IsDirectory),
            ("dir/new/", Kind::IsDirectory),
            ("file/in", Kind::AlreadyExists),
            ("file/in/it", Kind::NotDirectory),
        ] {
            assert_eq!(put(&at(path), ""), Err(kind), "{path}");
        }
    }
}
