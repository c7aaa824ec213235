//! What an image consists of: manifests and configurations of OCI and Docker images.
//!
//! It reads what others made (OCI image manifests and indexes, Docker's schema 2) and makes OCI image
//! manifests. The types are our own, because they must keep what they do not know, refuse what
//! cannot be checked (digests other than SHA-256) and read `null` where Go writes it.

mod build;
mod document;
mod layer;
pub mod media;
mod read;

pub use build::{Draft, NewLayer};
pub use document::{Config, Descriptor, History, Index, Manifest, Platform, RootFs};
pub use layer::{Compression, LayerMedia};
pub use read::{Document, ManifestError, parse, parse_config};

/// Annotation of a sealed blob's descriptor: the salt of its key.
pub const SALT_ANNOTATION: &str = "doorward.salt";
/// Annotation of a manifest: when the image is to be there no more, in RFC 3339.
pub const EXPIRES_ANNOTATION: &str = "doorward.expires";
/// What the history of an image says of a layer that we made.
pub const SNAPSHOT_HISTORY: &str = "doorward snapshot";

#[cfg(test)]
mod tests;
