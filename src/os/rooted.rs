//! Opens paths beneath a directory and nowhere else.
//!
//! Links are followed as long as they stay beneath (Kubernetes makes a mounted secret of them:
//! `KEY -> ..data/KEY`, `..data -> ..2024_x/`); an absolute link, or a `..` that would leave the
//! directory, is refused with EXDEV. The kernel does it where it has openat2(2); elsewhere each
//! component is opened by itself, never following, and links are resolved here.

use std::{
    ffi::{CString, OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Component, Path},
};

use rustix::{
    fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use super::features::Features;
use crate::core::limits::{ROOTED_COMPONENTS_MAX, ROOTED_LINKS_MAX};

/// A directory that paths are opened beneath.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    way: Way,
}

/// Who resolves paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Kernel,
    Here,
}

impl Root {
    /// Opens the directory itself; its own path is trusted.
    pub fn open(path: &Path, features: &Features) -> io::Result<Self> {
        let directory = rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())?;
        let way = if features.openat2.is_there() { Way::Kernel } else { Way::Here };
        Ok(Self { directory, way })
    }

    /// Opens a directory beneath this one.
    pub fn directory(&self, path: &Path) -> io::Result<Self> {
        Ok(Self { directory: self.open_beneath(path, DIRECTORY)?, way: self.way })
    }

    /// Opens a regular file for reading. Anything else (a fifo would wait for a writer) is
    /// refused with EINVAL.
    pub fn file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = self.open_beneath(path, flags)?;
        let found = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        if found != FileType::RegularFile {
            return Err(Errno::INVAL.into());
        }
        Ok(file.into())
    }

    /// Reads a whole regular file; one of more than `bytes_max` bytes is refused with EFBIG.
    pub fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max {
            return Err(Errno::FBIG.into());
        }
        Ok(bytes)
    }

    /// The names in this directory, sorted; more than `names_max` are refused with EFBIG.
    pub fn names(&self, names_max: usize) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name == b"." || name == b".." {
                continue;
            }
            if names.len() == names_max {
                return Err(Errno::FBIG.into());
            }
            names.push(OsString::from_vec(name));
        }
        names.sort();
        Ok(names)
    }

    fn open_beneath(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        if self.way == Way::Kernel {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), resolve) {
                // Something was renamed meanwhile, and the kernel cannot vouch for a `..`.
                Err(Errno::AGAIN) => {}
                opened => return Ok(opened?),
            }
        }
        Walk { root: self.directory.as_fd(), above: Vec::new(), ahead: Vec::new(), links: 0 }
            .open(path, flags)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl From<Root> for OwnedFd {
    fn from(root: Root) -> Self {
        root.directory
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A path being resolved component by component.
struct Walk<'a> {
    root: BorrowedFd<'a>,
    /// The directories between the root and where we are; `..` goes back by one of them, not by
    /// what the kernel finds above a directory that somebody may have moved.
    above: Vec<OwnedFd>,
    /// What is still to go, the next one last.
    ahead: Vec<Step>,
    links: usize,
}

enum Step {
    Up,
    Down(CString),
}

impl Walk<'_> {
    fn open(mut self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        self.expand(path.as_os_str())?;
        while let Some(step) = self.ahead.pop() {
            let Step::Down(name) = step else {
                self.above.pop().ok_or(Errno::XDEV)?;
                continue;
            };
            match rustix::fs::readlinkat(self.here(), &name, Vec::new()) {
                Ok(target) => {
                    self.links += 1;
                    if self.links > ROOTED_LINKS_MAX {
                        return Err(Errno::LOOP.into());
                    }
                    self.expand(OsStr::from_bytes(target.as_bytes()))?;
                }
                // It is no link.
                Err(Errno::INVAL) if self.ahead.is_empty() => {
                    return self.enter(&name, flags);
                }
                Err(Errno::INVAL) => {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    let directory = self.enter(&name, flags)?;
                    self.above.push(directory);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(rustix::fs::openat(self.here(), c".", flags, Mode::empty())?)
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.above.last().map_or(self.root, AsFd::as_fd)
    }

    /// Opens what was no link a moment ago; one that has become a link is refused with ELOOP.
    fn enter(&self, name: &CString, flags: OFlags) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat(self.here(), name, flags | OFlags::NOFOLLOW, Mode::empty())?)
    }

    fn expand(&mut self, path: &OsStr) -> io::Result<()> {
        if path.is_empty() {
            return Err(Errno::NOENT.into());
        }
        for component in Path::new(path).components().rev() {
            let step = match component {
                Component::Prefix(_) | Component::RootDir => return Err(Errno::XDEV.into()),
                Component::CurDir => continue,
                Component::ParentDir => Step::Up,
                Component::Normal(name) => Step::Down(CString::new(name.as_bytes())?),
            };
            self.ahead.push(step);
        }
        if self.ahead.len() + self.above.len() > ROOTED_COMPONENTS_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// A directory to be kept within, next to something to be kept out of.
    fn tree() -> tempfile::TempDir {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join(path);
        fs::create_dir_all(at("root/..2024_x/deep")).unwrap();
        fs::write(at("outside"), "outside").unwrap();
        fs::write(at("root/..2024_x/KEY"), "value").unwrap();
        fs::write(at("root/..2024_x/deep/file"), "deep").unwrap();
        rustix::fs::mknodat(CWD, at("root/fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        for (link, target) in [
            ("root/..data", "..2024_x/"),
            ("root/KEY", "..data/KEY"),
            ("root/up", "..data/deep/../KEY"),
            ("root/out", "../outside"),
            ("root/absolute", "/etc/passwd"),
            ("root/loop", "loop"),
            ("root/..2024_x/deep/out", "../../../outside"),
        ] {
            symlink(target, at(link)).unwrap();
        }
        top
    }

    #[test]
    fn what_lies_beneath_is_read_and_nothing_else() {
        let top = tree();
        let cases: [(&str, Result<&str, Errno>); 17] = [
            ("KEY", Ok("value")),
            ("./KEY", Ok("value")),
            ("..data/KEY", Ok("value")),
            ("..2024_x/deep/file", Ok("deep")),
            ("..2024_x/deep/../../KEY", Ok("value")),
            ("up", Ok("value")),
            ("", Err(Errno::NOENT)),
            ("nothing", Err(Errno::NOENT)),
            ("KEY/x", Err(Errno::NOTDIR)),
            ("out", Err(Errno::XDEV)),
            ("..2024_x/deep/out", Err(Errno::XDEV)),
            ("../outside", Err(Errno::XDEV)),
            ("..data/../../outside", Err(Errno::XDEV)),
            ("absolute", Err(Errno::XDEV)),
            ("/etc/passwd", Err(Errno::XDEV)),
            ("loop", Err(Errno::LOOP)),
            ("fifo", Err(Errno::INVAL)),
        ];
        for features in [Features::probe("").unwrap(), Features::none("test")] {
            let root = Root::open(&top.path().join("root"), &features).unwrap();
            for (path, expected) in &cases {
                let found = root.read(Path::new(path), 5);
                let found = found.map_err(|error| Errno::from_io_error(&error).unwrap());
                let expected = expected.map(|text| text.as_bytes().to_vec());
                assert_eq!(found, expected, "{path} by {:?}", root.way);
            }
            let too_large = root.read(Path::new("KEY"), 4).unwrap_err();
            assert_eq!(Errno::from_io_error(&too_large), Some(Errno::FBIG));
        }
    }

    #[test]
    fn directories_beneath_and_their_names() {
        let top = tree();
        for features in [Features::probe("").unwrap(), Features::none("test")] {
            let root = Root::open(&top.path().join("root"), &features).unwrap();
            let inner = root.directory(Path::new("..data")).unwrap();
            assert_eq!(inner.names(2).unwrap(), ["KEY", "deep"]);
            assert!(inner.names(1).is_err());
            assert_eq!(inner.read(Path::new("KEY"), 5).unwrap(), b"value");
            // The inner directory is a root of its own.
            assert!(inner.read(Path::new("../KEY"), 5).is_err());
            assert!(root.directory(Path::new("KEY")).is_err());
            assert!(root.directory(Path::new("..")).is_err());
        }
    }
}
