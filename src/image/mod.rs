//! Images: directories kept as OCI images.
//!
//! An image is what the rest of the container world takes it for: a manifest, a configuration and
//! layers, in an OCI image layout on disk. In use, it is a directory again: a mount.
//!
//! Everything here but [`remote`] blocks and is called on threads of the pool (`os::work`). Time is an
//! argument.
//! What is found in a store, an archive or a manifest is input, not truth: it is checked against
//! its digest before anything is made of it.

pub mod crypt;
pub mod images;
pub mod manifest;
pub mod mounts;
pub mod record;
#[cfg(feature = "images")]
pub mod remote;
pub mod snapshot;
pub mod store;
pub mod transfer;
pub mod unpack;

#[cfg(test)]
mod round_trip;
