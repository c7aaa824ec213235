//! From what the kernel says to what clients are told.
//!
//! A rename comes in two halves, one after the other: both within sight are one event with two paths;
//! a half alone is one with its path. Something may be told twice, never less than once: what was put into a new
//! directory before it was watched is found by looking, and may have been seen by the kernel too. Parts
//! of files that are being written through this API are not told.

use std::{
    ffi::{OsStr, OsString},
    mem::MaybeUninit,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::inotify::{self, ReadFlags, WatchFlags},
    io::Errno,
};
use serde::Serialize;

use super::tree::Tree;
use crate::{
    core::limits::{FILES_LISTED_MAX, WATCH_READ_BYTES},
    files::{failure::Failure, part::is_part},
};

/// What happened. The names are those of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Type {
    Unknown,
    Access,
    Create,
    Modify,
    Remove,
    Rename,
    RenameFrom,
    RenameTo,
}

/// One line for the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Event {
    #[serde(rename = "event_type")]
    kind: Type,
    paths: Vec<String>,
}

/// Which types of events are told; all of them if `None`.
#[derive(Debug, Clone)]
pub(super) struct Filter(Option<Vec<Type>>);

/// One half of a rename.
#[derive(Debug)]
struct Half {
    cookie: u32,
    path: PathBuf,
    is_directory: bool,
}

/// One event of the kernel.
struct Raw {
    watch: i32,
    flags: ReadFlags,
    cookie: u32,
    name: Option<OsString>,
}

pub(super) struct Events {
    root: PathBuf,
    /// The only name that is told of, if a file is watched.
    only: Option<OsString>,
    filter: Filter,
    /// The first half of a rename, while the second one may still come.
    half: Option<Half>,
    told: Vec<Event>,
}

impl Filter {
    const TYPES: [(&str, Type); 8] = [
        ("Unknown", Type::Unknown),
        ("Access", Type::Access),
        ("Create", Type::Create),
        ("Modify", Type::Modify),
        ("Remove", Type::Remove),
        ("Rename", Type::Rename),
        ("RenameFrom", Type::RenameFrom),
        ("RenameTo", Type::RenameTo),
    ];

    /// Takes names as a client sends them. A name that we do not know is of something that never
    /// happens.
    pub(super) fn new(names: Option<&[String]>) -> Self {
        let known = |name: &String| Self::TYPES.iter().find(|(known, _)| known == name);
        Self(names.map(|names| names.iter().filter_map(known).map(|(_, kind)| *kind).collect()))
    }

    fn wants(&self, kind: Type) -> bool {
        match &self.0 {
            None => true,
            // Something that was asked for may be among what was lost.
            Some(wanted) if kind == Type::Unknown => !wanted.is_empty(),
            Some(wanted) => wanted.contains(&kind),
        }
    }

    /// What the kernel is asked for. Names are always followed: they say what is to be watched. What
    /// is written to a file that has no name any more is nothing that happens in a directory.
    pub(super) fn mask(&self) -> WatchFlags {
        let own = WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW | WatchFlags::EXCL_UNLINK;
        let names = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE;
        let mut mask = own | names | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        if self.wants(Type::Modify) {
            mask |= WatchFlags::MODIFY | WatchFlags::ATTRIB;
        }
        if self.wants(Type::Access) {
            mask |= WatchFlags::OPEN | WatchFlags::CLOSE_WRITE;
        }
        mask
    }
}

impl Events {
    /// Tells of the directory `root`; of one name in it if `only` is given.
    pub(super) fn new(root: &Path, only: Option<OsString>, filter: Filter) -> Self {
        Self { root: root.to_owned(), only, filter, half: None, told: Vec::new() }
    }

    /// Whether the second half of a rename may still come.
    pub(super) fn is_half_told(&self) -> bool {
        self.half.is_some()
    }

    /// Takes what the kernel has, in one read.
    pub(super) fn read(&mut self, tree: &mut Tree) -> Result<Vec<Event>, Failure> {
        let mut raw = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); WATCH_READ_BYTES];
        let mut reader = inotify::Reader::new(tree.as_fd(), &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => raw.push(Raw {
                    watch: event.wd(),
                    flags: event.events(),
                    cookie: event.cookie(),
                    name: event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).into()),
                }),
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(errno) => return Err(errno.into()),
            }
            if reader.is_buffer_empty() {
                break;
            }
        }
        for event in raw {
            self.take(event, tree);
        }
        Ok(std::mem::take(&mut self.told))
    }

    /// The second half of a rename does not come: it leads out of sight.
    pub(super) fn complete(&mut self, tree: &mut Tree) -> Vec<Event> {
        self.moved_away(tree);
        std::mem::take(&mut self.told)
    }

    fn take(&mut self, raw: Raw, tree: &mut Tree) {
        let Raw { watch, flags, cookie, name } = raw;
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            return self.overflow(tree);
        }
        if flags.contains(ReadFlags::IGNORED) {
            return tree.forget(watch);
        }
        let Some(directory) = tree.path(watch) else { return };
        let Some(name) = name else {
            // Those beneath the one that was asked for are told of by their parents.
            if tree.is_root(watch) {
                self.take_own(flags);
            }
            return;
        };
        let path = directory.join(&name);
        let is_directory = flags.contains(ReadFlags::ISDIR);
        if flags.contains(ReadFlags::MOVED_TO) {
            return self.moved_to(Half { cookie, path, is_directory }, tree);
        }
        self.moved_away(tree);
        if flags.contains(ReadFlags::MOVED_FROM) {
            self.half = Some(Half { cookie, path, is_directory });
        } else if flags.contains(ReadFlags::CREATE) {
            self.tell(Type::Create, &[&path]);
            if is_directory {
                self.created(&path, tree);
            }
        } else if flags.contains(ReadFlags::DELETE) {
            self.tell(Type::Remove, &[&path]);
        } else if flags.intersects(ReadFlags::MODIFY | ReadFlags::ATTRIB) && !is_nameless(&path) {
            self.tell(Type::Modify, &[&path]);
        } else if flags.intersects(ReadFlags::OPEN | ReadFlags::CLOSE_WRITE) && !is_directory {
            // Directories are opened by our own looking, too.
            self.tell(Type::Access, &[&path]);
        }
    }

    /// Something happened to the directory itself that was asked for.
    fn take_own(&mut self, flags: ReadFlags) {
        if self.only.is_some() {
            return;
        }
        let root = self.root.clone();
        if flags.intersects(ReadFlags::DELETE_SELF | ReadFlags::UNMOUNT) {
            self.tell(Type::Remove, &[&root]);
        } else if flags.contains(ReadFlags::MOVE_SELF) {
            self.tell(Type::RenameFrom, &[&root]);
        }
    }

    fn moved_away(&mut self, tree: &mut Tree) {
        if let Some(half) = self.half.take() {
            if half.is_directory {
                tree.remove(&half.path);
            }
            self.tell(Type::RenameFrom, &[&half.path]);
        }
    }

    fn moved_to(&mut self, Half { cookie, path, is_directory }: Half, tree: &mut Tree) {
        match self.half.take_if(|half| half.cookie == cookie) {
            Some(half) => self.tell(Type::Rename, &[&half.path, &path]),
            None => {
                self.moved_away(tree);
                self.tell(Type::RenameTo, &[&path]);
            }
        }
        if is_directory {
            // Those beneath it have other paths as well.
            let added = tree.add(&path, &mut |_| {});
            if added.is_err() {
                self.tell(Type::Unknown, &[&path]);
            }
        }
    }

    fn created(&mut self, path: &Path, tree: &mut Tree) {
        let mut found: usize = 0;
        let added = tree.add(path, &mut |path| {
            found += 1;
            if found <= FILES_LISTED_MAX {
                self.tell(Type::Create, &[path]);
            }
        });
        if added.is_err() || found > FILES_LISTED_MAX {
            self.tell(Type::Unknown, &[path]);
        }
    }

    /// The kernel dropped events, among them maybe those of new directories.
    fn overflow(&mut self, tree: &mut Tree) {
        let root = self.root.clone();
        // A second lack of room is no news.
        let _ = tree.add(&root, &mut |_| {});
        self.tell(Type::Unknown, &[&root]);
    }

    /// Adds an event with those of the paths that are in sight. A rename with one of them is half of one.
    fn tell(&mut self, kind: Type, paths: &[&Path]) {
        let seen: Vec<&Path> =
            paths.iter().copied().filter(|path| kind == Type::Unknown || self.sees(path)).collect();
        let kind = match (kind, paths, &seen[..]) {
            (_, _, []) => return,
            (Type::Rename, [from, _], [one]) if from == one => Type::RenameFrom,
            (Type::Rename, _, [_]) => Type::RenameTo,
            (kind, ..) => kind,
        };
        if self.filter.wants(kind) {
            let paths = seen.iter().map(|path| path.to_string_lossy().into_owned()).collect();
            self.told.push(Event { kind, paths });
        }
    }

    fn sees(&self, path: &Path) -> bool {
        match (&self.only, path.file_name()) {
            (Some(only), name) => name == Some(only),
            (None, name) => !name.is_some_and(is_part),
        }
    }
}

/// Whether it is what the kernel calls a file that has no name (O_TMPFILE): `#` and its number.
fn is_nameless(path: &Path) -> bool {
    let name = path.file_name().map(OsStr::as_bytes).and_then(|name| name.strip_prefix(b"#"));
    let numbered = name.is_some_and(|number| number.iter().all(u8::is_ascii_digit));
    numbered && path.symlink_metadata().is_err()
}
