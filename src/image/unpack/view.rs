//! What a tree would be like that is made of layers, without making it: each path, and what is true of it.
//!
//! Paths are taken as they stand in the layers: a link in a lower layer does not lead an entry of an upper one
//! elsewhere, as it does when a tree is made. Data is known by a digest that does not depend on where a file
//! has holes.

use std::{
    collections::BTreeMap,
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use sha2::{Digest as _, Sha256};

use super::{
    Layer, UnpackError, UnpackSpec,
    error::{Place, shown},
    source::{Circumstances, Source},
    whiteout::Mark,
};
use crate::{
    archive::{
        components,
        decode::{Member, Stream},
        entry::{Entry, Kind, Time},
    },
    core::limits::{CHUNK_BYTES, IMAGE_LAYERS_MAX, IMAGE_VIEW_ENTRIES_MAX},
    image::record::{Content, What},
};

/// Every path of a tree without its slashes at the ends; that of the tree itself is empty.
pub(in crate::image) type Tree = BTreeMap<Vec<u8>, Seen>;

/// What is true of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image) struct Seen {
    pub(in crate::image) what: What,
    pub(in crate::image) mode: u32,
    pub(in crate::image) uid: u32,
    pub(in crate::image) gid: u32,
    pub(in crate::image) modified: Time,
    /// Bytes of a file, with its holes.
    pub(in crate::image) size: u64,
    /// Of the data of a file, the target of a link, the numbers of a device.
    pub(in crate::image) content: Content,
    /// Of the extended attributes.
    pub(in crate::image) xattrs: Content,
}

/// Looks at all that `layers` hold, the lowest first, unless `stop` becomes true. Digests are checked as when
/// a tree is made.
pub(in crate::image) fn view_layers<'a>(
    layers: impl IntoIterator<Item = io::Result<Layer<'a>>>,
    spec: &UnpackSpec,
    stop: &AtomicBool,
) -> Result<Tree, UnpackError> {
    let (mut tree, bytes) = (Tree::new(), AtomicU64::new(0));
    for (index, layer) in layers.into_iter().enumerate() {
        let number = index + 1;
        if number > IMAGE_LAYERS_MAX {
            return Err(UnpackError::Layers(IMAGE_LAYERS_MAX));
        }
        let layer = layer.map_err(|error| UnpackError::Open { layer: number, error })?;
        let mut upper = Upper { lower: &tree, number, made: Tree::new(), hidden: Vec::new() };
        thread::scope(|scope| {
            let circumstances = Circumstances { spec, stop, bytes: &bytes };
            upper.read(Stream::over(Source::start(scope, layer, circumstances)), stop)
        })?;
        let Upper { made, hidden, .. } = upper;
        apply(&mut tree, made, hidden);
    }
    Ok(tree)
}

/// What a layer hides of those beneath it.
enum Hidden {
    /// A path, and all beneath it.
    Path(Vec<u8>),
    /// All that is beneath a path.
    Beneath(Vec<u8>),
}

/// A layer that is being read.
struct Upper<'a> {
    lower: &'a Tree,
    number: usize,
    made: Tree,
    hidden: Vec<Hidden>,
}

impl Upper<'_> {
    fn read(&mut self, mut stream: Stream<Source>, stop: &AtomicBool) -> Result<(), UnpackError> {
        let (mut last, layer) = (None::<Vec<u8>>, self.number);
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(UnpackError::Stopped);
            }
            let member = stream.next().map_err(|error| {
                let place = last.as_deref().map(shown).map_or(Place::Beginning, Place::Entry);
                UnpackError::stream(layer, place, error)
            })?;
            match member {
                None => break,
                Some(Member::Entry(entry)) => {
                    last = Some(entry.path.clone());
                    self.entry(entry, &mut stream)?;
                }
                Some(Member::Unknown(path, _)) => last = Some(path),
            }
        }
        stream.drain().map_err(|error| UnpackError::stream(layer, Place::End, error))
    }

    fn entry(&mut self, entry: Entry, stream: &mut Stream<Source>) -> Result<(), UnpackError> {
        let (layer, path) = (self.number, shown(&entry.path));
        let refused = |what| UnpackError::Refused { layer, path: path.clone(), what };
        let parts = components(&entry.path).ok_or_else(|| refused("it leads outside"))?;
        let above = parts.get(..parts.len().saturating_sub(1)).unwrap_or_default();
        match Mark::of(&parts).map_err(refused)? {
            Mark::Ignored => return Ok(()),
            Mark::Hides(name) => {
                let path = [above, &[name]].concat().join(&b'/');
                self.hidden.push(Hidden::Path(path));
                return Ok(());
            }
            Mark::Opaque => {
                self.hidden.push(Hidden::Beneath(above.join(&b'/')));
                return Ok(());
            }
            Mark::Nothing => {}
        }
        if self.lower.len() + self.made.len() >= IMAGE_VIEW_ENTRIES_MAX {
            return Err(refused("the image has more entries than are compared"));
        }
        let seen = match &entry.kind {
            Kind::Hardlink(target) => {
                let target = components(target).ok_or_else(|| refused("it links outside"))?;
                let target = target.join(&b'/');
                let found = self.made.get(&target).or_else(|| self.lower.get(&target));
                found.cloned().ok_or_else(|| refused("it links to nothing"))?
            }
            _ => {
                let content = content(&entry, stream).map_err(|error| {
                    UnpackError::stream(layer, Place::Entry(path.clone()), error)
                })?;
                seen(&entry, content)
            }
        };
        self.made.insert(parts.join(&b'/'), seen);
        Ok(())
    }
}

/// Puts a layer on top of a tree. What it hides is never its own.
fn apply(tree: &mut Tree, made: Tree, hidden: Vec<Hidden>) {
    for hidden in hidden {
        match hidden {
            Hidden::Path(path) => {
                remove_beneath(tree, &path);
                tree.remove(&path);
            }
            Hidden::Beneath(path) => remove_beneath(tree, &path),
        }
    }
    for (path, seen) in made {
        let replaced = tree.get(&path).is_some_and(|lower| lower.what == What::Directory);
        if replaced && seen.what != What::Directory {
            remove_beneath(tree, &path);
        }
        tree.insert(path, seen);
    }
}

fn remove_beneath(tree: &mut Tree, path: &[u8]) {
    let beneath: Vec<Vec<u8>> = match path {
        [] => tree.keys().filter(|path| !path.is_empty()).cloned().collect(),
        path => {
            // What begins with the path and a slash stands before whatever has the next byte there.
            let range = [path, b"/"].concat()..[path, b"0"].concat();
            tree.range(range).map(|(path, _)| path.clone()).collect()
        }
    };
    for path in &beneath {
        tree.remove(path);
    }
}

fn seen(entry: &Entry, content: Content) -> Seen {
    let what = match entry.kind {
        Kind::Directory => What::Directory,
        Kind::Symlink(_) => What::Symlink,
        Kind::Fifo => What::Fifo,
        Kind::CharacterDevice(..) => What::CharacterDevice,
        Kind::BlockDevice(..) => What::BlockDevice,
        Kind::File(_) | Kind::Hardlink(_) => What::File,
    };
    let size = entry.sparse.as_ref().map_or(entry.kind.bytes(), |sparse| sparse.size);
    let Entry { mode, uid, gid, modified, .. } = *entry;
    let mut sum = Sha256::new();
    for part in entry.xattrs.iter().flat_map(|(name, value)| [name, value]) {
        sum.update((part.len() as u64).to_le_bytes());
        sum.update(part);
    }
    Seen { what, mode, uid, gid, modified, size, content, xattrs: first_half(sum) }
}

/// The digest of what an entry holds.
fn content(
    entry: &Entry,
    stream: &mut Stream<Source>,
) -> Result<Content, crate::archive::decode::StreamError> {
    let mut sum = Sum::new();
    match &entry.kind {
        Kind::Symlink(target) => sum.hash.update(target),
        Kind::CharacterDevice(major, minor) | Kind::BlockDevice(major, minor) => {
            sum.hash.update(major.to_le_bytes());
            sum.hash.update(minor.to_le_bytes());
        }
        Kind::File(bytes) => {
            let whole = [(0, *bytes)];
            let extents = entry.sparse.as_ref().map_or(&whole[..], |sparse| &sparse.extents);
            let mut buffer = vec![0; CHUNK_BYTES];
            for (offset, length) in extents {
                let (mut at, mut left) = (*offset, *length);
                while left > 0 {
                    let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    match stream.read(&mut buffer[..most])? {
                        0 => break,
                        count => {
                            sum.add(at, &buffer[..count]);
                            at += count as u64;
                            left -= count as u64;
                        }
                    }
                }
            }
        }
        Kind::Directory | Kind::Fifo | Kind::Hardlink(_) => {}
    }
    Ok(sum.end())
}

const BLOCK: usize = 4096;

/// The digest of all blocks of a file that are not zeros, each with its place.
struct Sum {
    hash: Sha256,
    block: Box<[u8; BLOCK]>,
    /// Where the block begins.
    at: u64,
}

impl Sum {
    fn new() -> Self {
        Self { hash: Sha256::new(), block: Box::new([0; BLOCK]), at: 0 }
    }

    fn add(&mut self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let within = usize::try_from(offset % BLOCK as u64).expect("less than a block");
            if offset - within as u64 != self.at {
                self.block();
                self.at = offset - within as u64;
            }
            let count = bytes.len().min(BLOCK - within);
            self.block[within..within + count].copy_from_slice(&bytes[..count]);
            offset += count as u64;
            bytes = &bytes[count..];
        }
    }

    /// Ends the block.
    fn block(&mut self) {
        if self.block.iter().any(|byte| *byte != 0) {
            self.hash.update(self.at.to_le_bytes());
            self.hash.update(&self.block[..]);
            self.block.fill(0);
        }
    }

    fn end(mut self) -> Content {
        self.block();
        first_half(self.hash)
    }
}

fn first_half(sum: Sha256) -> Content {
    *sum.finalize().first_chunk().expect("it has 32 bytes")
}
