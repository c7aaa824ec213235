//! Makes the trees that mounts of one image need.

use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use super::{ImagesError, engine::Engine, source::Source, tell::Teller};
use crate::{
    core::{failure::Kind, image::ImageId},
    image::{
        mounts::{self, Taken, TreeError, TreeProvider, WantedTree},
        snapshot::{Compression, Devices, SnapshotSpec, record_tree},
        store::Which,
        unpack::{Layer, Origin, UnpackSpec, Unpacked, unpack_layers, unpack_recorded},
    },
};

/// The trees of one image, whose documents were read.
pub(super) struct Trees<'a> {
    pub(super) engine: &'a Engine,
    pub(super) id: &'a ImageId,
    pub(super) source: &'a Source,
    pub(super) teller: Teller,
}

/// Who makes trees for a mount of nothing: nobody is asked for one.
pub(super) struct NoTrees;

impl TreeProvider for Trees<'_> {
    fn private_tree(&self, wanted: WantedTree<'_>) -> Result<(), TreeError> {
        match self.spare(wanted) {
            Ok(Taken::Moved | Taken::Cloned) => return Ok(()),
            Ok(Taken::None) => {}
            Err(error) => {
                tracing::warn!("ignoring a spare tree that could not be taken: {error}");
                mounts::remove(wanted.into)?;
            }
        }
        Ok(self.recorded(wanted)?)
    }

    fn shared_tree(&self, key: &str) -> Result<Option<PathBuf>, TreeError> {
        if self.source.is_sealed() {
            return Ok(None);
        }
        let tree = self.engine.copies.shared(key, |wanted| self.plain(wanted).map_err(Whole))?;
        Ok(Some(tree))
    }
}

impl Trees<'_> {
    /// Takes a spare tree. A clone gets a record here, because it has none.
    fn spare(&self, wanted: WantedTree<'_>) -> io::Result<Taken> {
        let Some(spares) = &self.engine.copies.spares else { return Ok(Taken::None) };
        let taken = spares.take(wanted)?;
        if taken == Taken::Cloned {
            write_record(wanted.into, wanted.record, &self.engine.stop)?;
        }
        Ok(taken)
    }

    /// Unpacks the image and records what came of it.
    pub(super) fn recorded(&self, wanted: WantedTree<'_>) -> Result<(), ImagesError> {
        let (layers, spec) = self.begin(wanted)?;
        match unpack_recorded(layers, wanted.into, &spec, &self.engine.stop) {
            Ok((counts, record)) => {
                self.tell(&counts);
                let bytes = record.map(|record| record.to_bytes());
                let written = bytes.map_or(Ok(()), |bytes| fs::write(wanted.record, bytes));
                written.map_err(|error| ImagesError::io("record a tree", &error))
            }
            Err(error) => Err(self.blame(error.into())),
        }
    }

    /// Unpacks the image into a tree that nobody changes: it can be recorded at any time.
    fn plain(&self, wanted: WantedTree<'_>) -> Result<(), ImagesError> {
        let (layers, spec) = self.begin(wanted)?;
        match unpack_layers(layers, wanted.into, &spec, &self.engine.stop) {
            Ok(counts) => {
                self.tell(&counts);
                Ok(())
            }
            Err(error) => Err(self.blame(error.into())),
        }
    }

    fn begin(
        &self,
        wanted: WantedTree<'_>,
    ) -> Result<(impl Iterator<Item = io::Result<Layer<'_>>>, UnpackSpec), ImagesError> {
        fs::create_dir(wanted.into)
            .map_err(|error| ImagesError::io("make a tree of the image", &error))?;
        let origin = if self.engine.is_own(self.id) { Origin::Ours } else { Origin::Foreign };
        Ok((self.source.layers(&self.engine.store, &self.teller), UnpackSpec::of(origin)))
    }

    /// An image that cannot be unpacked may be one that was damaged here.
    fn blame(&self, error: ImagesError) -> ImagesError {
        if error.kind != Kind::Refused {
            return error;
        }
        let which = Which::One(self.id.clone());
        let stopped = || self.engine.stopped();
        match self.engine.store.verify(&which, std::time::SystemTime::now(), &stopped) {
            Ok(faults) => match faults.first() {
                Some(fault) => {
                    let (text, digest, what) = (error.text, fault.digest, &fault.what);
                    ImagesError::damaged(format!("{text}; blob {digest}: {what}"))
                }
                None => error,
            },
            Err(_) => error,
        }
    }

    fn tell(&self, counts: &Unpacked) {
        self.teller.end(counts.entries);
        let name = &self.source.name;
        for (count, what) in [
            (counts.devices, "devices were left out"),
            (counts.unknown, "entries of kinds that are not known were left out"),
            (counts.not_given, "entries could not be given to their owners"),
            (counts.xattrs, "extended attributes could not be set"),
        ] {
            if count > 0 {
                tracing::info!("{name}: {count} {what}");
                self.teller.notice(format!("{name}: {count} {what}"));
            }
        }
    }
}

impl TreeProvider for NoTrees {
    fn private_tree(&self, wanted: WantedTree<'_>) -> Result<(), TreeError> {
        Ok(fs::create_dir(wanted.into)?)
    }

    fn shared_tree(&self, _key: &str) -> Result<Option<PathBuf>, TreeError> {
        Ok(None)
    }
}

/// An error that a tree's makers hand on whole.
#[derive(Debug)]
pub(super) struct Whole(pub(super) ImagesError);

impl From<io::Error> for Whole {
    fn from(error: io::Error) -> Self {
        Self(ImagesError::io("make a tree of the image", &error))
    }
}

impl From<Whole> for TreeError {
    fn from(error: Whole) -> Self {
        Box::new(error.0)
    }
}

/// A tree of which everything is recorded.
const WHOLE: SnapshotSpec<'static> = SnapshotSpec {
    compression: Compression::Plain,
    devices: Devices::Packed,
    left_out: &[],
    own_mounts: &[],
    base: None,
    threads: 1,
};

/// Records a tree as it is. One that is too large for a record has none.
pub(super) fn write_record(tree: &Path, record: &Path, stop: &AtomicBool) -> io::Result<()> {
    let tree = fs::File::open(tree)?;
    match record_tree(tree.as_fd(), &WHOLE, stop).map_err(io::Error::other)? {
        (Some(taken), _) => fs::write(record, taken.to_bytes()),
        (None, _) => Ok(()),
    }
}
