//! The one image engine behind every door: a directory becomes an image, and an image a directory.
//!
//! It joins the store, snapshots, unpacking, sealing, mounts and places beyond this machine. What blocks runs on
//! threads of `Share::Image`. A snapshot and a mount go on when whoever asked for them leaves; a
//! repeat joins what is under way, and what is done already is the answer.
//!
//! - `engine` is what its parts share; `snapshot`, `mount`, `keep`, `check`, `diff`, `stream` and `registry` are
//!   what is asked of it.
//! - `places` are the shared store and registries, as `registry` needs them.
//! - `source` is an image as it is in the store, `trees` makes of it what a mount needs, and `copies` are those that
//!   are kept.
//! - `house` is done without being asked for.

mod check;
mod copies;
mod diff;
mod engine;
mod error;
mod house;
mod keep;
mod mount;
#[cfg_attr(not(feature = "images"), path = "no_places.rs")]
mod places;
mod registry;
mod snapshot;
mod source;
mod stream;
mod tell;
mod trees;
mod types;

use std::sync::Arc;

pub use engine::Settings;
pub use error::ImagesError;
pub use places::Places;
pub use types::{
    Archive, Change, Checked, Described, Difference, Event, Form, Kept, KeptLayer, Mounted,
    Packing, Plain, Progress, Prune, Pull, Push, RemoteImages, Snapshot, Subject, Told,
};

/// The images of an agent; clones share them.
#[derive(Clone)]
pub struct Images(Arc<engine::Engine>);

#[cfg(all(test, feature = "images"))]
mod tests;
