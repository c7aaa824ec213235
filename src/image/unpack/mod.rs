//! Makes a tree of the layers of an image, beneath one directory and nowhere else.
//!
//! Layers are strangers' bytes. A name in them is never a path: each component is opened by itself
//! beneath the directory's descriptor, and a link on the way leads as it would if the directory were the
//! root, as other runtimes do it. What an entry asks for that is not done ends all of it, with the
//! entry's name; devices are left out and counted unless the image is ours.
//!
//! One thread reads, decompresses and finds out the digest of the bytes, a second one that of what they
//! become, a third (the caller's) follows the entries, and makes and removes names, in the order of the
//! layers; small files are filled by writers. As a file's name exists before it is filled, only the caller's thread
//! ever depends on what was made before. Directories get their modes and times at the very end.
//!
//! Later layers change what earlier ones made: `.wh.NAME` hides NAME, `.wh..wh..opq` all that the
//! directory had; neither touches what its own layer makes, wherever in the layer it stands.
//!
//! Either all of it is made, and every digest was right, or the directory is empty again. Nothing is
//! synced: whoever wants the tree to survive a crash does that.

mod apply;
mod directories;
mod error;
mod fill;
mod give;
mod hash;
mod make;
mod remove;
mod source;
mod tree;
mod view;
mod whiteout;
mod writers;

use std::{
    io::{self, Read},
    path::Path,
    sync::atomic::AtomicBool,
};

pub use error::{Kind, UnpackError};
pub(super) use view::{Seen, view_layers};

use self::{apply::Application, tree::Tree};
pub use super::manifest::Compression;
use super::{
    record::TreeRecord,
    snapshot::{self, Devices, SnapshotSpec, record_tree},
};
use crate::core::{
    image::Digest,
    limits::{
        IMAGE_BYTES_MAX, IMAGE_ENTRIES_MAX, IMAGE_FILE_BYTES_MAX, IMAGE_LAYERS_MAX,
        IMAGE_RATIO_FREE_BYTES, IMAGE_WRITERS,
    },
};

/// A layer, and what it has to be.
pub struct Layer<'a> {
    /// Its bytes as they are stored, or as they were before they were sealed.
    pub from: Box<dyn Read + Send + 'a>,
    /// How they are compressed.
    pub compression: Compression,
    /// The digest of the archive in it, if it is known.
    pub diff_id: Option<Digest>,
    /// What comes of `from`, if it is known.
    pub blob: Option<Blob>,
}

/// Bytes that are known by their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// Their digest.
    pub digest: Digest,
    /// How many there are.
    pub size: u64,
}

/// How an image is unpacked.
#[derive(Debug, Clone, Copy)]
pub struct UnpackSpec {
    /// Who made it.
    pub origin: Origin,
    /// What it may come to.
    pub bounds: Bounds,
    /// Threads that write small files; at least one.
    pub writers: usize,
}

/// Who made an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// We did: devices are made where we may, and nothing is too well compressed.
    Ours,
    /// Anybody.
    Foreign,
}

/// What an image may come to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Entries of all layers.
    pub entries: u64,
    /// Bytes of all layers, decompressed.
    pub bytes: u64,
    /// Bytes of one file, with its holes.
    pub file_bytes: u64,
    /// Bytes that one layer of somebody else may become however well it is compressed.
    pub ratio_free_bytes: u64,
}

/// What came of unpacking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Layers that were applied.
    pub layers: u64,
    /// Entries that were made, also those that a later layer replaced or hid.
    pub entries: u64,
    /// Whiteouts and opaque directories that were followed.
    pub whiteouts: u64,
    /// Bytes of files that were written, without holes.
    pub bytes: u64,
    /// Devices that were left out.
    pub devices: u64,
    /// Entries of kinds that are not known, or meant for another tool, which were left out.
    pub unknown: u64,
    /// Entries that could not be given to whom they belong.
    pub not_given: u64,
    /// Extended attributes that were left out or could not be set.
    pub xattrs: u64,
}

impl Bounds {
    /// What any image may come to.
    pub const DEFAULT: Self = Self {
        entries: IMAGE_ENTRIES_MAX,
        bytes: IMAGE_BYTES_MAX,
        file_bytes: IMAGE_FILE_BYTES_MAX,
        ratio_free_bytes: IMAGE_RATIO_FREE_BYTES,
    };
}

impl UnpackSpec {
    /// For an image of this origin, with what any image may come to.
    pub fn of(origin: Origin) -> Self {
        Self { origin, bounds: Bounds::DEFAULT, writers: IMAGE_WRITERS }
    }
}

/// Makes all that `layers` hold, the lowest first, in the empty directory `into`, unless `stop` becomes
/// true. After an error the directory is empty again, as far as the kernel lets us.
///
/// It blocks: run it where that is allowed.
pub fn unpack_layers<'a>(
    layers: impl IntoIterator<Item = io::Result<Layer<'a>>>,
    into: &Path,
    spec: &UnpackSpec,
    stop: &AtomicBool,
) -> Result<Unpacked, UnpackError> {
    let refused = |error| UnpackError::Into { path: into.into(), error };
    let mut tree = Tree::open(into).map_err(refused)?;
    if !remove::is_empty(tree.root()).map_err(refused)? {
        return Err(UnpackError::NotEmpty(into.into()));
    }
    let made =
        Application::new(&mut tree, spec, stop).run(layers.into_iter().take(IMAGE_LAYERS_MAX + 1));
    if made.is_err() {
        // The first error is the one to tell; what is left behind is for whoever made the directory.
        let _ = remove::contents(tree.root());
    }
    made
}

/// Does what [`unpack_layers`] does and records what was made, so that a later snapshot of the tree knows what
/// has not changed. The record is `None` if the tree has more names than one can hold.
///
/// For the record, all that was made within the last two seconds is read once more. Who keeps the tree to itself
/// for a while does better with [`record_tree`] at the end of it, for which nothing but names is read then.
pub fn unpack_recorded<'a>(
    layers: impl IntoIterator<Item = io::Result<Layer<'a>>>,
    into: &Path,
    spec: &UnpackSpec,
    stop: &AtomicBool,
) -> Result<(Unpacked, Option<TreeRecord>), UnpackError> {
    let unpacked = unpack_layers(layers, into, spec, stop)?;
    let tree = Tree::open(into).map_err(|error| UnpackError::Into { path: into.into(), error })?;
    let whole = SnapshotSpec {
        compression: snapshot::Compression::Plain,
        devices: Devices::Packed,
        left_out: &[],
        own_mounts: &[],
        base: None,
        threads: 1,
    };
    match record_tree(tree.root(), &whole, stop) {
        Ok((record, _)) => Ok((unpacked, record)),
        Err(error) => {
            let _ = remove::contents(tree.root());
            Err(UnpackError::recorded(error))
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
