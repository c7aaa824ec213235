//! Follows the entries of layers, one after the other.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, Scope},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, openat, statat},
    io::Errno,
};

use super::{
    Layer, Origin, UnpackError, UnpackSpec, Unpacked,
    directories::Directories,
    error::{Place, shown},
    fill::Filling,
    give::{Gift, Withheld},
    make::At,
    remove::Hiding,
    source::{Circumstances, Source},
    tree::{Missing, Tree},
    whiteout::Mark,
    writers::{Batch, Closing, Failed, Small, Writers},
};
use crate::{
    archive::{
        components,
        decode::{Member, Stream},
        entry::{Entry, Kind},
    },
    core::limits::{IMAGE_LAYERS_MAX, IMAGE_SMALL_FILE_BYTES_MAX},
};

/// An image being unpacked.
pub(super) struct Application<'a> {
    tree: &'a mut Tree,
    spec: &'a UnpackSpec,
    stop: &'a AtomicBool,
    /// The layer that is applied, counted from 1.
    layer: usize,
    /// The paths that it made, as hashes that nobody outside can foresee. The lowest layer has nothing
    /// beneath it to hide.
    made: Option<HashSet<u64>>,
    hasher: RandomState,
    directories: Directories,
    counts: Unpacked,
    withheld: Withheld,
    /// Small files that no writer has.
    batch: Batch,
}

/// Why an entry was not made.
enum Trouble {
    /// It asks for what is not done.
    Refused(&'static str),
    /// The kernel did not let us.
    Made(io::Error),
    /// Something that has been said already.
    Ended(UnpackError),
    /// A writer met an error, which it has kept.
    Failed,
}

type Made = Result<(), Trouble>;

/// The entry at hand, and where its data comes from and goes.
struct Item<'a, 'w> {
    /// Its name in the archive.
    path: &'a [u8],
    entry: &'a mut Entry,
    stream: &'a mut Stream<Source>,
    writers: &'w Writers,
}

/// What a hard link leads to.
struct Target {
    directory: Arc<OwnedFd>,
    name: Vec<u8>,
    /// Its path without links.
    path: Vec<u8>,
}

impl<'a> Application<'a> {
    pub(super) fn new(tree: &'a mut Tree, spec: &'a UnpackSpec, stop: &'a AtomicBool) -> Self {
        Self {
            tree,
            spec,
            stop,
            layer: 0,
            made: None,
            hasher: RandomState::new(),
            directories: Directories::new(),
            counts: Unpacked::default(),
            withheld: Withheld::default(),
            batch: Batch::default(),
        }
    }

    /// Applies all layers.
    pub(super) fn run<'l>(
        mut self,
        layers: impl Iterator<Item = io::Result<Layer<'l>>>,
    ) -> Result<Unpacked, UnpackError> {
        let (writers, bytes) = (Writers::default(), AtomicU64::new(0));
        thread::scope(|scope| {
            let closing = Closing(&writers);
            for _ in 0..self.spec.writers.max(1) {
                scope.spawn(|| writers.run());
            }
            let (spec, stop) = (self.spec, self.stop);
            let circumstances = Circumstances { spec, stop, bytes: &bytes };
            for layer in layers {
                self.layer += 1;
                let layer =
                    layer.map_err(|error| UnpackError::Open { layer: self.layer, error })?;
                match self.layer(scope, layer, circumstances, &writers) {
                    Ok(()) => {}
                    Err(Some(error)) => return Err(error),
                    // A writer has the error.
                    Err(None) => break,
                }
            }
            // If one has failed, that is what the end says.
            let _ = writers.take(&mut self.batch);
            self.withheld.add(writers.finish()?);
            drop(closing);
            self.finish_directories()?;
            self.counts.layers = self.layer as u64;
            self.counts.not_given = self.withheld.owners;
            self.counts.xattrs = self.withheld.xattrs;
            Ok(self.counts)
        })
    }

    /// Applies one layer. `None` is the error of a writer.
    fn layer<'scope, 'env>(
        &mut self,
        scope: &'scope Scope<'scope, 'env>,
        layer: Layer<'scope>,
        circumstances: Circumstances<'scope>,
        writers: &Writers,
    ) -> Result<(), Option<UnpackError>> {
        if self.layer > IMAGE_LAYERS_MAX {
            return Err(Some(UnpackError::Layers(IMAGE_LAYERS_MAX)));
        }
        self.made = (self.layer > 1).then(HashSet::new);
        let mut stream = Stream::over(Source::start(scope, layer, circumstances));
        let (mut last, number) = (None::<Vec<u8>>, self.layer);
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Some(UnpackError::Stopped));
            }
            let member = stream.next().map_err(|error| {
                let place = last.as_deref().map(shown).map_or(Place::Beginning, Place::Entry);
                UnpackError::stream(number, place, error)
            })?;
            match member {
                None => break,
                Some(Member::Entry(mut entry)) => {
                    let path = last.insert(entry.path.clone());
                    let item = Item { path, entry: &mut entry, stream: &mut stream, writers };
                    self.entry(item).map_err(|trouble| self.told(path, trouble))?;
                }
                Some(Member::Unknown(path, _)) => {
                    self.counts.unknown += 1;
                    last = Some(path);
                }
            }
        }
        stream.drain().map_err(|error| UnpackError::stream(number, Place::End, error))?;
        Ok(())
    }

    fn told(&self, path: &[u8], trouble: Trouble) -> Option<UnpackError> {
        let (layer, path) = (self.layer, shown(path));
        match trouble {
            Trouble::Refused(what) => Some(UnpackError::Refused { layer, path, what }),
            Trouble::Made(error) => Some(UnpackError::Make { layer, path, error }),
            Trouble::Ended(error) => Some(error),
            Trouble::Failed => None,
        }
    }

    fn entry(&mut self, item: Item<'_, '_>) -> Made {
        self.counts.entries += 1;
        if self.counts.entries > self.spec.bounds.entries {
            return Err(Trouble::Refused("the image has more entries than are taken"));
        }
        let parts = parts(item.path)?;
        match Mark::of(&parts).map_err(Trouble::Refused)? {
            Mark::Nothing => self.make(&parts, item),
            Mark::Ignored => {
                self.counts.unknown += 1;
                Ok(())
            }
            Mark::Hides(name) => self.hide(&parts[..parts.len() - 1], Some(name)),
            Mark::Opaque => self.hide(&parts[..parts.len() - 1], None),
        }
    }

    /// Hides what lower layers have in a directory: one name, or all.
    fn hide(&mut self, above: &[&[u8]], name: Option<&[u8]>) -> Made {
        self.counts.whiteouts += 1;
        let Self { tree, made: Some(made), hasher, directories, .. } = self else {
            return Ok(());
        };
        match tree.enter(above, Missing::Refused) {
            // Nothing is there that could be hidden.
            Err(error) if is_absence(&error) => return Ok(()),
            entered => entered?,
        }
        let mut hiding = Hiding {
            kept: &|path| made.contains(&hasher.hash_one(path)),
            gone: &mut |path| directories.forget(path),
        };
        let hidden = match name {
            Some(name) => hiding.name(tree.here(), name, &tree.path(name)),
            None => hiding.contents(tree.here(), &tree.path_here()),
        };
        match hidden {
            Err(Errno::NOENT) => Ok(()),
            hidden => Ok(hidden?),
        }
    }

    fn make(&mut self, parts: &[&[u8]], item: Item<'_, '_>) -> Made {
        let (gift, withheld) = Gift::of(item.entry);
        self.withheld.add(withheld);
        let Some((name, above)) = parts.split_last() else {
            if item.entry.kind != Kind::Directory {
                return Err(Trouble::Refused("it has no name"));
            }
            self.directories.set(Vec::new(), gift);
            return Ok(());
        };
        let linked = match &item.entry.kind {
            Kind::Hardlink(target) => match self.link_target(target)? {
                Some(linked) => Some(linked),
                None => return Ok(()),
            },
            _ => None,
        };
        let directories = &mut self.directories;
        let mut implied = |path: &[u8]| directories.set(path.to_vec(), Gift::implied());
        self.tree.enter(above, Missing::Made(&mut implied))?;
        let path = self.tree.path(name);
        self.remember(&path);
        if self.directories.are_too_many() {
            self.finish_directories().map_err(Trouble::Ended)?;
            // Where we were before.
            self.tree.enter(above, Missing::Refused)?;
        }
        match linked {
            Some(target) => self.link(name, &path, &target),
            None => self.kind(name, path, gift, item),
        }
    }

    /// Makes what is no hard link, where we are.
    fn kind(&mut self, name: &[u8], path: Vec<u8>, gift: Gift, item: Item<'_, '_>) -> Made {
        let Self { tree, directories, .. } = self;
        let mut gone = || directories.forget(&path);
        let parent = tree.here();
        let place = At { parent, name, gone: &mut gone };
        let withheld = match &item.entry.kind {
            Kind::File(_) => return self.file(name, &path, gift, item),
            Kind::Directory => {
                place.directory()?;
                self.directories.set(path, gift);
                return Ok(());
            }
            Kind::Symlink(target) => {
                place.symlink(target)?;
                gift.give_link(parent, name)?
            }
            Kind::Fifo => {
                place.node(FileType::Fifo, (0, 0))?;
                gift.give_node(parent, name)?
            }
            Kind::CharacterDevice(major, minor) | Kind::BlockDevice(major, minor) => {
                let numbers = (*major, *minor);
                // To overlayfs, the device 0/0 is a whiteout.
                if self.spec.origin == Origin::Foreign || numbers == (0, 0) {
                    self.counts.devices += 1;
                    return Ok(());
                }
                let kind = match item.entry.kind {
                    Kind::BlockDevice(..) => FileType::BlockDevice,
                    _ => FileType::CharacterDevice,
                };
                match place.node(kind, numbers) {
                    Err(Errno::PERM) => {
                        self.counts.devices += 1;
                        return Ok(());
                    }
                    made => made?,
                }
                gift.give_node(parent, name)?
            }
            Kind::Hardlink(_) => return Err(Trouble::Refused("its target is not there")),
        };
        self.withheld.add(withheld);
        Ok(())
    }

    fn file(&mut self, name: &[u8], path: &[u8], gift: Gift, item: Item<'_, '_>) -> Made {
        let Item { path: named, entry, stream, writers } = item;
        let sparse = entry.sparse.take();
        let size = sparse.as_ref().map_or(entry.kind.bytes(), |sparse| sparse.size);
        if size > self.spec.bounds.file_bytes {
            return Err(Trouble::Refused("it is larger than is taken"));
        }
        let directories = &mut self.directories;
        let mut gone = || directories.forget(path);
        let place = At { parent: self.tree.here(), name, gone: &mut gone };
        let file = place.file(gift.first_mode())?;
        self.counts.bytes += entry.kind.bytes();
        let cut = |error| {
            let place = Place::Entry(shown(named));
            Trouble::Ended(UnpackError::stream(self.layer, place, error))
        };
        if let Ok(length @ 0..=IMAGE_SMALL_FILE_BYTES_MAX) = usize::try_from(stream.data_left()) {
            let start = self.batch.data.len();
            while self.batch.data.len() < start + length {
                let piece = stream.data().map_err(cut)?;
                self.batch.data.extend_from_slice(piece);
                let count = piece.len();
                stream.consume(count);
            }
            let (data, path, layer) = (start..start + length, named.to_vec(), self.layer);
            self.batch.add(Small { file, data, sparse, gift, path, layer });
            if self.batch.is_full() {
                writers.take(&mut self.batch)?;
            }
            return Ok(());
        }
        // They have something to do meanwhile.
        writers.take(&mut self.batch)?;
        let mut filling = Filling::new(&file, sparse.as_ref());
        loop {
            let piece = stream.data().map_err(cut)?;
            if piece.is_empty() {
                break;
            }
            filling.add(piece)?;
            let count = piece.len();
            stream.consume(count);
            if self.stop.load(Ordering::Relaxed) {
                return Err(Trouble::Ended(UnpackError::Stopped));
            }
        }
        self.withheld.add(gift.give_filled(filling)?);
        Ok(())
    }

    /// Finds what a hard link leads to; `None` if it was left out.
    fn link_target(&mut self, target: &[u8]) -> Result<Option<Target>, Trouble> {
        let target =
            parts(target).map_err(|_| Trouble::Refused("its target leads out of the image"))?;
        let Some((name, above)) = target.split_last() else {
            return Err(Trouble::Refused("its target is a directory"));
        };
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let found = self
            .tree
            .enter(above, Missing::Refused)
            .and_then(|()| Ok(statat(self.tree.here(), *name, flags)?));
        match found {
            Ok(_) => Ok(Some(Target {
                directory: self.tree.kept(),
                name: name.to_vec(),
                path: self.tree.path(name),
            })),
            Err(error) if is_absence(&error) && self.counts.devices > 0 => {
                // As far as can be known it is one of them.
                self.counts.devices += 1;
                Ok(None)
            }
            Err(error) if is_absence(&error) => Err(Trouble::Refused("its target is not there")),
            Err(error) => Err(error.into()),
        }
    }

    fn link(&mut self, name: &[u8], path: &[u8], target: &Target) -> Made {
        // It is its own target, perhaps by another way.
        if path == target.path {
            return Ok(());
        }
        let mut gone = || self.directories.forget(path);
        let place = At { parent: self.tree.here(), name, gone: &mut gone };
        match place.hardlink(target.directory.as_fd(), &target.name) {
            Err(Errno::PERM) => Err(Trouble::Refused("its target can have no other name")),
            // It was in a directory that had the name.
            Err(Errno::NOENT) => Err(Trouble::Refused("its target is not there")),
            made => Ok(made?),
        }
    }

    /// Remembers that this layer made what has this path, and so all directories above it.
    fn remember(&mut self, path: &[u8]) {
        let Some(made) = &mut self.made else { return };
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for end in slashes.map(|(at, _)| at).chain([path.len()]) {
            made.insert(self.hasher.hash_one(&path[..end]));
        }
    }

    /// Gives the directories that were made what they shall have.
    fn finish_directories(&mut self) -> Result<(), UnpackError> {
        for (path, gift) in self.directories.take() {
            let withheld = self.finish_directory(&path, &gift).map_err(|error| {
                UnpackError::Make { layer: self.layer, path: shown(&path), error }
            })?;
            self.withheld.add(withheld);
        }
        Ok(())
    }

    fn finish_directory(&mut self, path: &[u8], gift: &Gift) -> io::Result<Withheld> {
        let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
        self.tree.enter(&parts.collect::<Vec<_>>(), Missing::Refused)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(self.tree.here(), c".", flags, Mode::empty())?;
        Ok(gift.give(directory.as_fd())?)
    }
}

/// The components of a path of an image.
fn parts(path: &[u8]) -> Result<Vec<&[u8]>, Trouble> {
    if path.contains(&0) {
        return Err(Trouble::Refused("its name has a NUL"));
    }
    components(path).ok_or(Trouble::Refused("it leads out of the image"))
}

/// Whether a path leads to nothing.
fn is_absence(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR))
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Made(error)
    }
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Self {
        Self::Made(errno.into())
    }
}

impl From<Failed> for Trouble {
    fn from(_: Failed) -> Self {
        Self::Failed
    }
}
