//! Images in use: each appears at a path, whole, writable and its own, and hides what was there.
//!
//! [`Mounts`] is the table of them, kept on disk so that it outlives the agent. How a tree comes to its
//! path ([`Way`](crate::core::mounts::Way)) is chosen by trying: an overlay over a tree that all mounts of the image share, a
//! bind mount of a private copy, and, without the right to mount, the same by renaming and moving.
//! All behave alike.
//!
//! - `record` is what is written down of one mount, with its journal; `steps` does and undoes what the
//!   journal says; `attach`, `swap` and `entries` are how.
//! - A path is resolved once, when it is mounted at; what its links lead to later changes nothing.
//! - Beneath the state directory: `mounts/lock`, held by the agent that they are the mounts of, and
//!   `mounts/<id>/` for each: `record`, and what is private to it. `mounts/gone/` holds what is to be removed.
//! - Where nothing can be mounted there are, beside a path, `.doorward-aside-<id>` with what was there and,
//!   for a moment, `.doorward-tree-<id>`. Whoever packs what is around asks a [`View`] for their names.
//!
//! Killed at any moment, the next [`Mounts::open`] finds each path either as it was before or as the image
//! has it, and loses nothing of what was there.

mod attach;
mod attributes;
mod clone;
mod entries;
mod error;
mod inside;
mod mover;
mod point;
mod record;
mod recover;
mod remove;
mod resolve;
mod spares;
mod steps;
mod swap;
mod table;
mod times;
mod view;

use std::{
    error::Error,
    path::{Path, PathBuf},
};

pub use clone::{Cloned, clone_tree};
pub use error::{Kind, MountError};
pub use inside::Inside;
pub use record::record_beside;
pub(in crate::image) use remove::remove;
pub use spares::{Spares, Taken};
pub use table::{Listed, Mounted, Mounts};
pub use view::{InUse, View};

/// Why there is no tree of an image, in the words of who makes them.
pub type TreeError = Box<dyn Error + Send + Sync>;

/// Whoever makes trees of images.
pub trait TreeProvider {
    /// Makes a tree of an image. The tree is the mount's own: no file in it is, or becomes, a name of a
    /// file elsewhere. What was made of it when this fails is removed by the caller.
    fn private_tree(&self, wanted: WantedTree<'_>) -> Result<(), TreeError>;

    /// A tree of the image that nobody ever changes and that stays as long as the image is mounted
    /// ([`Mounts::list`]), with its record beside it ([`record_beside`]), if it has one; `None` if there
    /// is no such tree, and an overlay is not worth making one.
    fn shared_tree(&self, key: &str) -> Result<Option<PathBuf>, TreeError>;
}

/// A tree that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct WantedTree<'a> {
    /// What names the image; never empty.
    pub key: &'a str,
    /// Where the tree is made: a path that is not there, in a directory that is. It is moved afterwards.
    pub into: &'a Path,
    /// Where it may be written down, in a file, what the tree is like. The file stays there as long as the image is
    /// mounted ([`View::mounted`]), and is nothing but a help.
    pub record: &'a Path,
}

#[cfg(test)]
pub(in crate::image) mod tests;
