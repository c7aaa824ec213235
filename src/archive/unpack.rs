//! Makes what an archive says, beneath one directory and nowhere else.
//!
//! An existing file is replaced, never written into; an existing directory is kept as it is. A large
//! file is written under another name and gets its own when it is whole; a small one is written at
//! once. Directories get their modes and times at the end, because what is made in them would
//! change the one and be refused by the other.

use std::{
    ffi::OsStr,
    io::{self, BufReader, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{fs::FileType, io::Errno};

use super::{
    Owners,
    attributes::{Attributes, Given},
    beneath::{Beneath, Missing, components},
    decode::{Member, Stream, StreamError},
    destination::{Destination, Naming},
    entry::{Entry, Kind},
    extended,
    make::{At, FileError},
    report::{Tally, Watch},
};
use crate::core::limits::{ARCHIVE_DIRECTORIES_MAX, CHUNK_BYTES};

/// How an archive is unpacked.
#[derive(Debug, Clone)]
pub struct Unpack {
    /// Where it goes.
    pub to: Destination,
    /// Whose the files will be.
    pub owners: Owners,
}

/// Why unpacking ended before the end.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Stopped(String);

/// Why one entry was not made.
enum Trouble {
    /// The kernel did not let us do this.
    Refused(&'static str, io::Error),
    /// The archive asks for what is not done.
    Nonsense(&'static str),
    /// A device, which is not made here; that is no failure.
    Device,
    /// The archive cannot be read on.
    Stream(StreamError),
}

struct Unpacking<'a, R> {
    stream: Stream<BufReader<R>>,
    beneath: Beneath,
    to: &'a Destination,
    owners: Owners,
    watch: &'a mut dyn Watch,
    tally: Tally,
    /// Directories that we made, by their components, and what they will be.
    made: Vec<(Vec<u8>, Attributes)>,
    buffer: Vec<u8>,
    /// Entries that could not be given to whom they belong.
    not_given: u64,
    /// Extended attributes that could not be given, and which was the first and why.
    not_extended: (u64, String),
}

/// Unpacks all of `from`, and returns what was made. What goes wrong with one entry is told to `watch`,
/// and the rest goes on; an error is what ends all of it.
pub fn unpack(from: impl Read, how: &Unpack, watch: &mut dyn Watch) -> Result<Tally, Stopped> {
    let directory = &how.to.directory;
    let beneath = Beneath::open(directory)
        .map_err(|error| Stopped(format!("open {}: {error}", directory.display())))?;
    let mut unpacking = Unpacking {
        stream: Stream::new(from),
        beneath,
        to: &how.to,
        owners: how.owners,
        watch,
        tally: Tally::default(),
        made: Vec::new(),
        buffer: vec![0; CHUNK_BYTES],
        not_given: 0,
        not_extended: (0, String::new()),
    };
    let ended = unpacking.all();
    // Also after a failure: what was made shall not stay closed to its users.
    unpacking.finish_directories();
    ended?;
    if unpacking.not_given > 0 {
        let count = unpacking.not_given;
        unpacking.problem(format!("give {count} files to their owners: only root may"));
    }
    // Most often a whole file system does not know them: one line for all.
    if let (count @ 1.., first) = &unpacking.not_extended {
        let text = format!("{count} extended attributes are left out, the first {first}");
        unpacking.watch.notice(text);
    }
    Ok(unpacking.tally)
}

/// Gives a directory that was just made its extended attributes; those that it did not get.
fn extended_directory<'a>(at: At<'_>, entry: &'a Entry, owners: Owners) -> Vec<(&'a [u8], Errno)> {
    let Some((first, _)) = entry.xattrs.first() else { return Vec::new() };
    match at.open_directory() {
        Ok(directory) => extended::give(directory, &entry.xattrs, owners),
        Err(errno) => vec![(first, errno)],
    }
}

/// Makes a link, fifo or device.
fn without_data(at: At<'_>, kind: &Kind, attributes: &Attributes) -> rustix::io::Result<Given> {
    let node = |kind, numbers| at.node(kind, attributes.mode, numbers);
    match kind {
        Kind::Symlink(target) => at.symlink(target)?,
        Kind::Fifo => node(FileType::Fifo, (0, 0))?,
        Kind::CharacterDevice(major, minor) => node(FileType::CharacterDevice, (*major, *minor))?,
        Kind::BlockDevice(major, minor) => node(FileType::BlockDevice, (*major, *minor))?,
        Kind::File(_) | Kind::Directory | Kind::Hardlink(_) => return Err(Errno::INVAL),
    }
    attributes.give_name(at.parent, at.name)
}

impl<R: Read> Unpacking<'_, R> {
    fn all(&mut self) -> Result<(), Stopped> {
        let stopped = |error: StreamError| Stopped(error.to_string());
        while let Some(member) = self.stream.next().map_err(stopped)? {
            match member {
                Member::Entry(entry) if entry.sparse.is_some() => {
                    self.left_out(&entry.path, "a sparse file in GNU's way");
                }
                Member::Entry(entry) => self.member(&entry)?,
                Member::Unknown(path, what) => self.left_out(&path, what),
            }
        }
        self.stream.drain().map_err(stopped)
    }

    fn left_out(&mut self, path: &[u8], what: &str) {
        let path = String::from_utf8_lossy(path);
        self.problem(format!("make {path}: it is {what}"));
    }

    fn member(&mut self, entry: &Entry) -> Result<(), Stopped> {
        let to = self.to;
        let Some(path) = components(&entry.path).map(|path| to.naming.apply(path)) else {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            self.problem(format!("make {path}: it would lead out of the destination"));
            return Ok(());
        };
        let bytes = entry.kind.bytes();
        match self.make(&path, entry) {
            Ok(given) => {
                self.tally.entries += 1;
                self.tally.bytes += bytes;
                self.not_given += u64::from(given == Given::NotAllowed);
                self.watch.copied(&self.tally);
            }
            Err(Trouble::Stream(error)) => return Err(Stopped(error.to_string())),
            Err(Trouble::Device) => {
                self.tally.skipped += 1;
                self.watch.notice(format!("{}: left out: it is a device", self.shown(&path)));
            }
            Err(Trouble::Nonsense(what)) => {
                self.problem(format!("make {}: {what}", self.shown(&path)));
            }
            Err(Trouble::Refused(act, error)) => {
                let text = format!("{act} {}: {error}", self.shown(&path));
                // Nothing that follows could be made either.
                if is_final(&error) || (path.len() == 1 && to.naming != Naming::Kept) {
                    return Err(Stopped(text));
                }
                self.problem(text);
            }
        }
        Ok(())
    }

    fn make(&mut self, path: &[&[u8]], entry: &Entry) -> Result<Given, Trouble> {
        let attributes = Attributes::of(entry, self.owners);
        let devices = self.owners == Owners::Kept && rustix::process::geteuid().is_root();
        let Some((name, above)) = path.split_last() else {
            return match entry.kind {
                // The destination itself, which is there.
                Kind::Directory => Ok(Given::Yes),
                _ => Err(Trouble::Nonsense("it has no name")),
            };
        };
        let made = |errno: Errno| Trouble::Refused("make", errno.into());
        if self.to.only_directory && above.is_empty() && entry.kind != Kind::Directory {
            return Err(made(Errno::NOTDIR));
        }
        let linked = match &entry.kind {
            Kind::Hardlink(target) => self.link_target(target, path)?,
            _ => None,
        };
        let parent = self.beneath.enter(above.iter().copied(), Missing::Made);
        let parent = parent.map_err(|error| Trouble::Refused("enter the directory of", error))?;
        let at = At { parent, name };
        match &entry.kind {
            Kind::File(_) => {
                let (mut refused, owners) = (Vec::new(), self.owners);
                let finish = |file: BorrowedFd<'_>| {
                    attributes.give_file(file, |given| {
                        refused = extended::give(file, &entry.xattrs, given.limits(owners));
                    })
                };
                let made = at.file(&mut self.stream, &mut self.buffer, finish);
                self.refuses(path, &refused);
                made.map_err(Trouble::from)
            }
            Kind::Directory => {
                if at.directory().map_err(made)? {
                    let refused = extended_directory(at, entry, self.owners);
                    self.refuses(path, &refused);
                    self.remember(path, attributes);
                }
                Ok(Given::Yes)
            }
            // It has the attributes of the file that it is another name of.
            Kind::Hardlink(_) => {
                if let Some((directory, target)) = &linked {
                    let target = At { parent: directory.as_fd(), name: target };
                    at.hardlink(target).map_err(made)?;
                }
                Ok(Given::Yes)
            }
            Kind::CharacterDevice(..) | Kind::BlockDevice(..) if !devices => Err(Trouble::Device),
            Kind::Symlink(_) | Kind::Fifo | Kind::CharacterDevice(..) | Kind::BlockDevice(..) => {
                without_data(at, &entry.kind, &attributes).map_err(made)
            }
        }
    }

    /// The directory and the name of what a hard link leads to; `None` if that is the link itself.
    fn link_target(
        &mut self,
        target: &[u8],
        path: &[&[u8]],
    ) -> Result<Option<(OwnedFd, Vec<u8>)>, Trouble> {
        let to = self.to;
        let target = components(target).map(|target| to.naming.apply(target));
        let target = target.ok_or(Trouble::Nonsense("its target is out of the destination"))?;
        let Some((name, above)) = target.split_last() else {
            return Err(Trouble::Nonsense("its target is a directory"));
        };
        if target == path {
            return Ok(None);
        }
        let directory = self.beneath.enter(above.iter().copied(), Missing::Refused);
        let directory = directory.and_then(|directory| directory.try_clone_to_owned());
        let directory = directory.map_err(|error| Trouble::Refused("find the target of", error))?;
        Ok(Some((directory, name.to_vec())))
    }

    fn remember(&mut self, path: &[&[u8]], attributes: Attributes) {
        if self.made.len() == ARCHIVE_DIRECTORIES_MAX {
            self.finish_directories();
        }
        self.made.push((path.join(&b'/'), attributes));
    }

    /// Gives the directories that we made what they shall have; those within others first.
    fn finish_directories(&mut self) {
        for (path, attributes) in std::mem::take(&mut self.made).into_iter().rev() {
            let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
            let directory = self.beneath.enter(parts.iter().copied(), Missing::Refused);
            let given = directory.and_then(|directory| Ok(attributes.give_directory(directory)?));
            match given {
                Ok(given) => self.not_given += u64::from(given == Given::NotAllowed),
                Err(error) => self.problem(format!("finish {}: {error}", self.shown(&parts))),
            }
        }
    }

    /// Counts extended attributes that something did not get, and remembers the first.
    fn refuses(&mut self, path: &[&[u8]], refused: &[(&[u8], Errno)]) {
        let Some((name, errno)) = refused.first() else { return };
        self.not_extended.0 += refused.len() as u64;
        if self.not_extended.1.is_empty() {
            let (name, error) = (String::from_utf8_lossy(name), io::Error::from(*errno));
            self.not_extended.1 = format!("{name} of {}: {error}", self.shown(path));
        }
    }

    /// A path beneath the destination, for people.
    fn shown(&self, path: &[&[u8]]) -> String {
        let mut shown = self.to.directory.clone();
        if shown == Path::new(".") {
            shown = PathBuf::new();
        }
        shown.extend(path.iter().map(|part| OsStr::from_bytes(part)));
        shown.display().to_string()
    }

    fn problem(&mut self, text: String) {
        self.tally.problems += 1;
        self.watch.problem(text);
    }
}

impl From<FileError> for Trouble {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Stream(error) => Self::Stream(error),
            FileError::Errno(errno) => Self::Refused("write", errno.into()),
        }
    }
}

/// Whether every further entry would meet the same.
fn is_final(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| {
        [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::IO, Errno::MFILE, Errno::NFILE]
            .contains(&errno)
    })
}
