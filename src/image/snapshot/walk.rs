//! Walks a tree in sorted order, beside the record of what was there before.
//!
//! What is done with each name is in [`super::pack`]. A directory about which nothing is different gets its
//! entry only when something in it does: who applies a layer would else give it a mode of his own.

use std::{
    ffi::CStr,
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    rc::Rc,
    sync::atomic::{AtomicBool, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::io::Errno;

use super::{
    Counts, SnapshotError, SnapshotSpec, changes::Base, links::Links, names::Name, tally::Told,
    tape::Tape,
};
use crate::{
    archive::{
        entry::{Entry, Kind, Time},
        pax,
    },
    core::limits::SNAPSHOT_SMALL_BYTES,
    image::record::{Known, Recorder, TreeRecord},
};

/// What stands before a name that is gone …
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// … and in a directory that is not the one that was there before.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// A walk through one tree.
pub(super) struct Walk<'a> {
    pub(super) spec: &'a SnapshotSpec<'a>,
    /// `None` if the tree is recorded only.
    pub(super) tape: Option<Tape<'a>>,
    pub(super) told: &'a Told,
    stop: &'a AtomicBool,
    pub(super) counts: Counts,
    pub(super) recorder: Recorder,
    pub(super) taken: Time,
    pub(super) base: Option<Base<'a>>,
    pub(super) links: Links,
    pub(super) levels: Vec<Level>,
    /// The path of what is looked at.
    pub(super) path: Vec<u8>,
    /// Headers of one entry.
    blocks: Vec<u8>,
    pub(super) listing: Vec<MaybeUninit<u8>>,
    pub(super) scratch: Vec<u8>,
}

/// A directory that the walk is in.
pub(super) struct Level {
    pub(super) directory: Rc<OwnedFd>,
    pub(super) names: std::vec::IntoIter<Name>,
    pub(super) path_length: usize,
    pub(super) device: (u32, u32),
    /// Its own entry, if nothing in it or about it was different so far.
    pub(super) unwritten: Option<Entry>,
    pub(super) compared: Compared,
}

/// Whether a directory is the one that the base knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    Yes,
    No,
}

/// What a walk found.
pub(super) struct Found {
    pub(super) counts: Counts,
    pub(super) record: Option<TreeRecord>,
}

/// Why a name is not packed.
pub(super) enum Miss {
    /// The walk ends.
    Ended(SnapshotError),
    /// The layer does not have it; what the base has there is gone.
    LeftOut,
    /// What the base has there stays.
    Kept,
    /// The same, because the kernel did not let us see it.
    Refused(&'static str, Errno),
}

/// One name in an open directory.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) directory: BorrowedFd<'a>,
    pub(super) name: &'a CStr,
    /// The file system that the directory is on.
    pub(super) device: (u32, u32),
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        spec: &'a SnapshotSpec<'a>,
        tape: Option<Tape<'a>>,
        told: &'a Told,
        stop: &'a AtomicBool,
    ) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let taken = Time { seconds, nanoseconds: now.subsec_nanos() };
        let small = usize::try_from(SNAPSHOT_SMALL_BYTES).expect("it is small");
        Self {
            spec,
            tape,
            told,
            stop,
            counts: Counts::default(),
            recorder: Recorder::new(taken),
            taken,
            base: spec.base.map(Base::new),
            links: Links::default(),
            levels: Vec::new(),
            path: Vec::new(),
            blocks: Vec::new(),
            listing: Vec::new(),
            scratch: vec![0; small],
        }
    }

    /// Walks all that is in `root`.
    pub(super) fn run(mut self, root: BorrowedFd<'_>) -> Result<Found, SnapshotError> {
        let known = self.base.as_mut().and_then(Base::root);
        let place = Place { directory: root, name: c".", device: (0, 0) };
        let refused = |errno: Errno| SnapshotError::Root(io::Error::from(errno));
        self.enter(place, known.as_ref()).map_err(|miss| match miss {
            Miss::Ended(error) => error,
            Miss::Refused(_, errno) => refused(errno),
            Miss::LeftOut | Miss::Kept => refused(Errno::NOENT),
        })?;
        while let Some(level) = self.levels.last_mut() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(SnapshotError::Stopped);
            }
            self.path.truncate(level.path_length);
            match level.names.next() {
                Some(name) => self.name(&name)?,
                None => self.leave()?,
            }
        }
        if let Some(tape) = self.tape {
            tape.finish()?;
        }
        Ok(Found { counts: self.counts, record: self.recorder.finish() })
    }

    /// Does what is to be done with the next name of the innermost directory.
    fn name(&mut self, name: &Name) -> Result<(), SnapshotError> {
        let level = self.levels.last().expect("its name was just taken");
        let (directory, compared) = (level.directory.clone(), level.compared);
        let place = Place { directory: directory.as_fd(), name: &name.name, device: level.device };
        let above = self.path.len();
        if above > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name.name.to_bytes());
        let known = self.known(above, compared)?;
        let depth = self.levels.len();
        let done = self.look(place, name.kind, known.as_ref());
        self.settle(done, known)?;
        if self.levels.len() == depth
            && let Some(base) = &mut self.base
        {
            base.skip_beneath(&self.path);
        }
        Ok(())
    }

    /// What the base knows of this path. Names that come before it and are gone get their whiteouts.
    fn known(&mut self, above: usize, compared: Compared) -> Result<Option<Known>, SnapshotError> {
        let (Some(base), Compared::Yes) = (&mut self.base, compared) else { return Ok(None) };
        let mut gone = Vec::new();
        let known = base.find(&self.path[..above], &self.path, &mut gone);
        self.whiteouts(&gone)?;
        Ok(known)
    }

    /// What is done about a name that was not packed.
    fn settle(
        &mut self,
        done: Result<(), Miss>,
        known: Option<Known>,
    ) -> Result<(), SnapshotError> {
        match done {
            Ok(()) => return Ok(()),
            Err(Miss::Ended(error)) => return Err(error),
            Err(Miss::LeftOut) if known.is_some() => {
                let gone = [self.path.clone()];
                return self.whiteouts(&gone);
            }
            Err(Miss::LeftOut) => return Ok(()),
            Err(Miss::Kept) => {}
            Err(Miss::Refused(act, errno)) => {
                self.counts.unreadable += 1;
                let reason = io::Error::from(errno);
                self.counts.note(&self.path, format_args!("left out: {act}: {reason}"));
            }
        }
        // It is still in the layers below, and so it has to stay in the record.
        if let (Some(base), Some(known)) = (&mut self.base, known) {
            self.recorder.push(&known);
            base.carry(&self.path, &mut self.recorder);
        }
        Ok(())
    }

    /// The walk leaves the innermost directory.
    fn leave(&mut self) -> Result<(), SnapshotError> {
        let level = self.levels.last().expect("it is in one");
        if let (Some(base), Compared::Yes) = (&mut self.base, level.compared) {
            let mut gone = Vec::new();
            base.rest(&self.path, &mut gone);
            self.whiteouts(&gone)?;
        }
        self.levels.pop();
        Ok(())
    }

    /// Writes that these paths are gone.
    fn whiteouts(&mut self, gone: &[Vec<u8>]) -> Result<(), SnapshotError> {
        for path in gone {
            let name = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
            let (directory, name) = path.split_at(name);
            self.mark([directory, WHITEOUT, name].concat())?;
            self.counts.gone += 1;
        }
        Ok(())
    }

    /// Writes that nothing in this directory is what was there before.
    pub(super) fn opaque(&mut self) -> Result<(), SnapshotError> {
        let path = match &self.path[..] {
            [] => OPAQUE.to_vec(),
            path => [path, b"/", OPAQUE].concat(),
        };
        self.mark(path)
    }

    fn mark(&mut self, path: Vec<u8>) -> Result<(), SnapshotError> {
        let kind = Kind::File(0);
        let (mode, uid, gid, modified) = (0o600, 0, 0, Time::default());
        let (xattrs, sparse) = (Vec::new(), None);
        self.write(&Entry { path, kind, mode, uid, gid, modified, xattrs, sparse })
    }

    /// Writes an entry, and before it those of the directories that it is in, if they have none yet.
    pub(super) fn write(&mut self, entry: &Entry) -> Result<(), SnapshotError> {
        let Some(tape) = &mut self.tape else { return Ok(()) };
        self.blocks.clear();
        for above in self.levels.iter_mut().filter_map(|level| level.unwritten.take()) {
            pax::encode(&above, &mut self.blocks);
        }
        pax::encode(entry, &mut self.blocks);
        tape.write(&self.blocks)
    }

    /// Whether one of these is the path that is looked at.
    pub(super) fn is_among(&self, paths: &[PathBuf]) -> bool {
        let path = Path::new(std::ffi::OsStr::from_bytes(&self.path));
        paths.iter().any(|among| among == path)
    }
}
