//! What is asked of the images, and what is answered.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::ImagesError;
use crate::{
    core::{
        image::{Digest, ImageId, Reference, Remote, Tag, Ttl},
        mounts::Way,
    },
    image::{crypt::Key, store},
};

/// How something goes on, told while it does. Called from any thread; must not block.
pub type Told = Arc<dyn Fn(Event) + Send + Sync>;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// How far it is; at most ten a second.
    Progress(Progress),
    /// What was left out, or could not be kept as it was: text for people.
    Notice(String),
}

/// How far something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// `reading`, `unpacking`, `pushing`, `pulling` or `checking`.
    pub step: &'static str,
    /// Bytes done.
    pub done_bytes: u64,
    /// Of how many, where that is known.
    pub total_bytes: Option<u64>,
    /// Entries done.
    pub entries: u64,
}

/// What becomes an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A directory, by its absolute path.
    Directory(Vec<u8>),
    /// All but pseudo file systems, the agent's state and foreign mounts.
    Filesystem,
}

/// A request for an image of something.
pub struct Snapshot {
    /// Of what.
    pub subject: Subject,
    /// What a repeat has in common with this one, if there may be one.
    pub snapshot_id: Option<String>,
    /// How long it is kept.
    pub ttl: Ttl,
    /// What it is sealed with.
    pub key: Option<Key>,
    /// How its layer is compressed, if not as the agent's settings say.
    pub compression: Option<Packing>,
    /// A name for it.
    pub tag: Option<Tag>,
}

/// A request for an image to be in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The image.
    pub image: Reference,
    /// Where it is to be, and what it is to be called there: `latest` if that does not say.
    pub to: Remote,
    /// Whether that is to be spoken to without TLS.
    pub plain: Plain,
}

/// A request for an image of a registry to be here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// The image.
    pub from: Remote,
    /// Whether its registry is to be spoken to without TLS.
    pub plain: Plain,
    /// How long it is kept.
    pub ttl: Ttl,
    /// A name for it.
    pub tag: Option<Tag>,
}

/// Whether a caller wants a registry without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// It was not asked for. Who is on this machine may be spoken to so all the same, without a password.
    NotAsked,
    /// It was; it is refused where the operator has not allowed it.
    Asked,
}

/// Whether callers may name images in registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteImages {
    /// `oci://…` names one in any registry.
    Allowed,
    /// Only in the repository that is the shared store.
    Refused,
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// zstd, at the level that is used throughout.
    Zstd,
    /// gzip.
    Gzip,
    /// Not at all.
    Plain,
}

/// An image, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What the store says of it.
    pub image: store::Image,
    /// When it will be gone as things are; `None`: never.
    pub expires: Option<SystemTime>,
    /// Its layers, the lowest first.
    pub layers: Vec<KeptLayer>,
    /// Where it is mounted.
    pub mounted_at: Vec<Vec<u8>>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLayer {
    /// Of its blob.
    pub digest: Digest,
    /// As the manifest has it.
    pub media_type: String,
    /// Of its blob.
    pub size_bytes: u64,
    /// Of its uncompressed archive; `None` for a sealed image.
    pub diff_id: Option<Digest>,
}

/// An image with its documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The image.
    pub kept: Kept,
    /// Its manifest as JSON.
    pub manifest: String,
    /// Its configuration as JSON; `None` for a sealed image.
    pub config: Option<String>,
}

/// An image in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Where, as it was asked for.
    pub path: Vec<u8>,
    /// The image's id; `None` for an empty directory.
    pub image: Option<ImageId>,
    /// How it is done; `None` while it is being done.
    pub way: Option<Way>,
    /// Since when, where that is known.
    pub since: Option<SystemTime>,
}

/// The form of an archive of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An archive of an OCI layout.
    Oci,
    /// What `docker save` writes.
    Docker,
}

/// An image on its way out as an archive: its pieces in order, and an error as the last one if it is
/// not whole. Dropping it stops the work.
pub type Archive = mpsc::Receiver<Result<Bytes, ImagesError>>;

/// One difference between two images' trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Of what.
    pub path: Vec<u8>,
    /// What happened on the way from the first image to the second.
    pub change: Change,
    /// What is different of an entry that both have: `kind`, `mode`, `owner`, `size`, `content`,
    /// `target`, `time`, `attributes`.
    pub aspects: Vec<&'static str>,
}

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Only the second image has it.
    Added,
    /// Only the first image has it.
    Removed,
    /// Both have it, and it is not the same.
    Changed,
}

/// Whether anything is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// It is.
    Now,
    /// It is only said what would be.
    Dry,
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// Blobs that were read.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong.
    pub faults: Vec<store::Fault>,
}
