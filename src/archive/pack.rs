//! Walks trees and writes them as one archive.
//!
//! Names are taken in the order in which the file system gives them. A link is never followed, save
//! the source itself where that was asked for. What cannot be read is told and left out; a file that
//! changes while it is read is told, and its entry keeps the size that its header says.

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat},
    io::Errno,
};

use super::{
    encode::{END, encode},
    entry::{Entry, Extended, Kind, Time},
    extended, file,
    outlet::{Outlet, Pieces},
    report::{Tally, Watch},
    source::{Name, Source},
};
use crate::core::limits::{ARCHIVE_DEPTH_MAX, ARCHIVE_LINKS_MAX};

/// How trees are packed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Packing {
    /// What is done with a source that is a link.
    pub links: Links,
    /// What is done with devices.
    pub devices: Devices,
}

/// What is done with a source that is a symbolic link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Links {
    /// The link is packed.
    #[default]
    Packed,
    /// What it leads to is packed, under the link's name.
    Followed,
}

/// What is done with devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Devices {
    /// They are left out, and counted.
    #[default]
    Skipped,
    /// They are packed.
    Packed,
}

/// An archive that is being written.
pub(super) struct Pack<'a> {
    pub(super) out: Outlet<'a>,
    pub(super) watch: &'a mut dyn Watch,
    pub(super) tally: Tally,
    packing: Packing,
    /// Where in the archive the first name of a file is that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Blocks of one entry's headers.
    blocks: Vec<u8>,
    /// The data of a small file.
    pub(super) scratch: Vec<u8>,
}

/// Where the walk is: a directory that is being read.
struct Level {
    directory: Dir,
    device: u64,
    /// Length of its path in the archive.
    path_length: usize,
}

/// Why something is not packed.
enum Miss {
    /// Nobody takes the archive any more.
    Outlet(io::Error),
    /// The kernel did not let us do this.
    Refused(&'static str, Errno),
    /// It is something that cannot be copied.
    LeftOut(&'static str),
}

/// One name in a directory that is open.
pub(super) struct Place<'a> {
    pub(super) directory: BorrowedFd<'a>,
    pub(super) name: &'a CStr,
    /// Its path in the archive.
    pub(super) path: &'a [u8],
    /// Its path for people.
    pub(super) shown: &'a Shown<'a>,
}

/// How a path in the archive is called when something is said about it.
pub(super) struct Shown<'a> {
    source: &'a Path,
    /// Bytes of a path in the archive that the source stands for.
    covered: usize,
}

/// Packs all of `sources` into one archive, and returns what was packed. An error is that of
/// `to`; everything else is told to `watch`, and the archive is whole.
pub fn pack(
    sources: &[Source],
    packing: Packing,
    to: &mut dyn Pieces,
    watch: &mut dyn Watch,
) -> io::Result<Tally> {
    let mut pack = Pack {
        out: Outlet::new(to),
        watch,
        tally: Tally::default(),
        packing,
        links: HashMap::new(),
        blocks: Vec::new(),
        scratch: Vec::new(),
    };
    for source in sources {
        pack.source(source)?;
    }
    pack.out.write(&END)?;
    pack.out.finish()?;
    Ok(pack.tally)
}

impl Pack<'_> {
    fn source(&mut self, source: &Source) -> io::Result<()> {
        let top = match &source.name {
            Name::Own(name) => name.as_bytes().to_vec(),
            Name::Contents => b".".to_vec(),
        };
        let shown = Shown { source: &source.path, covered: top.len() };
        // A path with a NUL names nothing; the kernel refuses the empty one in its place.
        let name = CString::new(source.path.as_os_str().as_bytes()).unwrap_or_default();
        let place = Place { directory: CWD, name: &name, path: &top, shown: &shown };
        let packed = self.top(&place, &source.name);
        match self.settled(&place, packed)? {
            Some(Some(level)) => self.walk(level, top.clone(), &shown),
            Some(None) | None => Ok(()),
        }
    }

    /// Packs a source itself; a directory is returned to be walked.
    fn top(&mut self, place: &Place<'_>, name: &Name) -> Result<Option<Level>, Miss> {
        let (flags, follow) = match (name, self.packing.links) {
            (Name::Own(_), Links::Packed) => (AtFlags::SYMLINK_NOFOLLOW, OFlags::NOFOLLOW),
            (Name::Contents, _) | (_, Links::Followed) => (AtFlags::empty(), OFlags::empty()),
        };
        let stat = statat(place.directory, place.name, flags);
        let stat = stat.map_err(|errno| Miss::Refused("look at", errno))?;
        match (FileType::from_raw_mode(stat.st_mode), name) {
            (FileType::Directory, _) => self.directory(place, follow).map(Some),
            (_, Name::Contents) => Err(Miss::Refused("copy the contents of", Errno::NOTDIR)),
            (FileType::RegularFile, Name::Own(_)) => self.file(place, follow).map(|()| None),
            (_, Name::Own(_)) => self.other(place, &stat).map(|()| None),
        }
    }

    /// Packs everything beneath a directory whose own entry is written. Each level has a descriptor.
    fn walk(&mut self, top: Level, mut path: Vec<u8>, shown: &Shown<'_>) -> io::Result<()> {
        let mut levels = vec![top];
        while let Some(level) = levels.last_mut() {
            path.truncate(level.path_length);
            let next = match level.directory.read() {
                None => {
                    levels.pop();
                    continue;
                }
                Some(Err(errno)) => {
                    self.problem(format_args!("read {}", shown.path(&path)), errno);
                    levels.pop();
                    continue;
                }
                Some(Ok(next)) => next,
            };
            let name = next.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            path.push(b'/');
            path.extend_from_slice(name.to_bytes());
            let (device, depth) = (level.device, levels.len());
            let directory = levels[depth - 1].directory.fd()?;
            let place = Place { directory, name, path: &path, shown };
            let packed = match next.file_type() {
                FileType::Directory if depth == ARCHIVE_DEPTH_MAX => {
                    Err(Miss::Refused("enter", Errno::NAMETOOLONG))
                }
                kind => self.one(&place, kind),
            };
            if let Some(Some(below)) = self.settled(&place, packed)?
                && (below.device == device || self.is_worth_entering(&place, &below))
            {
                levels.push(below);
            }
        }
        Ok(())
    }

    /// Packs what has this name; a directory is returned to be walked.
    fn one(&mut self, place: &Place<'_>, kind: FileType) -> Result<Option<Level>, Miss> {
        // Opened at once: it costs a system call less, and tells the same.
        match kind {
            FileType::RegularFile => return self.file(place, OFlags::NOFOLLOW).map(|()| None),
            FileType::Directory => return self.directory(place, OFlags::NOFOLLOW).map(Some),
            _ => {}
        }
        let stat = statat(place.directory, place.name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|errno| Miss::Refused("look at", errno))?;
        // Some file systems do not say at once of what kind a name is.
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.file(place, OFlags::NOFOLLOW).map(|()| None),
            FileType::Directory => self.directory(place, OFlags::NOFOLLOW).map(Some),
            _ => self.other(place, &stat).map(|()| None),
        }
    }

    /// Writes a directory's own entry and opens it.
    fn directory(&mut self, place: &Place<'_>, follow: OFlags) -> Result<Level, Miss> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | follow;
        let opened = openat(place.directory, place.name, flags, Mode::empty());
        let opened = opened.and_then(|fd| {
            let (stat, extended) = (fstat(&fd)?, extended::read(&fd));
            Ok((Dir::new(fd)?, stat, extended))
        });
        let (directory, stat, extended) = opened.map_err(|errno| Miss::Refused("read", errno))?;
        let xattrs = self.kept(place, extended);
        self.write(&Entry { xattrs, ..described(place.path, Kind::Directory, &stat) })?;
        self.counted(0);
        Ok(Level { directory, device: stat.st_dev, path_length: place.path.len() })
    }

    /// What another file system is mounted on is packed with what is in it, unless that is the kernel's
    /// view of itself: it has no end (/proc/kcore) and makes no sense elsewhere.
    fn is_worth_entering(&mut self, place: &Place<'_>, level: &Level) -> bool {
        let pseudo = level.directory.statfs().is_ok_and(|found| file::is_pseudo(found.f_type));
        if pseudo {
            self.tally.skipped += 1;
            let path = place.shown.path(place.path);
            self.watch.notice(format!("{path}: what is in it is left out: the kernel makes it"));
        }
        !pseudo
    }

    fn file(&mut self, place: &Place<'_>, follow: OFlags) -> Result<(), Miss> {
        // Not waiting for anybody, should it have become a fifo meanwhile.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | follow;
        let opened = openat(place.directory, place.name, flags, Mode::empty());
        let opened = opened.and_then(|fd| fstat(&fd).map(|stat| (fd, stat)));
        let (file, stat) = opened.map_err(|errno| Miss::Refused("open", errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Miss::Refused("open", Errno::AGAIN));
        }
        if !self.linked(place.path, &stat)? {
            self.data(place, file.as_fd(), &stat)?;
        }
        Ok(())
    }

    /// Packs a link, fifo or device; sockets are left out.
    fn other(&mut self, place: &Place<'_>, stat: &Stat) -> Result<(), Miss> {
        let numbers = || (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let devices = self.packing.devices == Devices::Packed;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let target = readlinkat(place.directory, place.name, Vec::new());
                let target = target.map_err(|errno| Miss::Refused("read the link", errno))?;
                Kind::Symlink(target.into_bytes())
            }
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice if devices => Kind::CharacterDevice(numbers().0, numbers().1),
            FileType::BlockDevice if devices => Kind::BlockDevice(numbers().0, numbers().1),
            FileType::CharacterDevice | FileType::BlockDevice => {
                return Err(Miss::LeftOut("a device"));
            }
            FileType::Socket => return Err(Miss::LeftOut("a socket")),
            _ => return Err(Miss::LeftOut("of a kind that is not known")),
        };
        if !self.linked(place.path, stat)? {
            self.entry(place.path, kind, stat)?;
            self.counted(0);
        }
        Ok(())
    }

    /// Whether a file with several names was packed under another one; then a link to that was
    /// written.
    fn linked(&mut self, path: &[u8], stat: &Stat) -> io::Result<bool> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let file = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.links.get(&file) {
            let first = first.clone();
            self.entry(path, Kind::Hardlink(first), stat)?;
            self.counted(0);
            return Ok(true);
        }
        // Beyond the bound a file with several names becomes several files.
        if self.links.len() < ARCHIVE_LINKS_MAX {
            self.links.insert(file, path.to_vec());
        }
        Ok(false)
    }

    /// Writes the headers of an entry without extended attributes.
    fn entry(&mut self, path: &[u8], kind: Kind, stat: &Stat) -> io::Result<()> {
        self.write(&described(path, kind, stat))
    }

    /// Writes the headers of an open file.
    pub(super) fn open_file(
        &mut self,
        place: &Place<'_>,
        file: BorrowedFd<'_>,
        stat: &Stat,
        size: u64,
    ) -> io::Result<()> {
        let xattrs = self.kept(place, extended::read(file));
        self.write(&Entry { xattrs, ..described(place.path, Kind::File(size), stat) })
    }

    /// Tells if extended attributes had to be left out.
    fn kept(&mut self, place: &Place<'_>, (extended, left_out): (Extended, u64)) -> Extended {
        if left_out > 0 {
            let path = place.shown.path(place.path);
            self.watch
                .notice(format!("{path}: {left_out} of its extended attributes are left out"));
        }
        extended
    }

    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        self.blocks.clear();
        encode(entry, &mut self.blocks);
        self.out.write(&self.blocks)
    }

    pub(super) fn counted(&mut self, bytes: u64) {
        self.tally.entries += 1;
        self.tally.bytes += bytes;
        self.watch.copied(&self.tally);
    }

    /// Tells why something was not packed; `None` then. Only an error of the outlet is one.
    fn settled<T>(&mut self, place: &Place<'_>, packed: Result<T, Miss>) -> io::Result<Option<T>> {
        let path = || place.shown.path(place.path);
        match packed {
            Ok(packed) => return Ok(Some(packed)),
            Err(Miss::Outlet(error)) => return Err(error),
            Err(Miss::Refused(act, errno)) => self.problem(format_args!("{act} {}", path()), errno),
            Err(Miss::LeftOut(what)) => {
                self.tally.skipped += 1;
                self.watch.notice(format!("{}: left out: it is {what}", path()));
            }
        }
        Ok(None)
    }

    fn problem(&mut self, act: std::fmt::Arguments<'_>, errno: Errno) {
        self.trouble(format!("{act}: {}", io::Error::from(errno)));
    }

    pub(super) fn trouble(&mut self, text: String) {
        self.tally.problems += 1;
        self.watch.problem(text);
    }
}

/// An entry as stat(2) describes it.
fn described(path: &[u8], kind: Kind, stat: &Stat) -> Entry {
    Entry {
        path: path.to_vec(),
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        modified: Time {
            seconds: stat.st_mtime,
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        },
        xattrs: Vec::new(),
        sparse: None,
    }
}

impl From<io::Error> for Miss {
    fn from(error: io::Error) -> Self {
        Self::Outlet(error)
    }
}

impl Shown<'_> {
    /// A path in the archive as the user knows it.
    pub(super) fn path(&self, path: &[u8]) -> String {
        let rest = path.get(self.covered..).unwrap_or_default();
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        let joined = match rest {
            [] => self.source.to_path_buf(),
            rest => self.source.join(std::ffi::OsStr::from_bytes(rest)),
        };
        joined.display().to_string()
    }
}
