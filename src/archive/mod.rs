//! Files and directories as tar streams: packed from disk, and unpacked to it.
//!
//! Both sides of `doorward cp` use it: the client for its own files, and the agent's binary, run as
//! an ordinary exec (`doorward archive`, [`tool`]), for the container's. Neither side trusts what
//! the other one made: an unpacked stream touches nothing outside its destination, whatever its
//! names and links say, and every buffer that a stream can fill has a bound.
//!
//! It speaks to the kernel through directory descriptors only: each component of a path is opened
//! by itself and never through a link, so that a tree that is changed meanwhile leads nowhere else.

mod attached;
mod attributes;
mod beneath;
pub(crate) mod decode;
mod destination;
pub(crate) mod encode;
pub(crate) mod entry;
pub(crate) mod extended;
mod file;
mod holes;
mod make;
mod outlet;
mod pack;
pub(crate) mod pax;
mod report;
mod source;
mod sparse;
pub mod tool;
mod unpack;

pub(crate) use beneath::components;
pub use destination::{Destination, Layout};
pub use outlet::Pieces;
pub use pack::{Devices, Links, Packing, pack};
pub use report::{GREETING, Report, Tally, Watch};
pub use source::{Name, Source, from_argument, to_argument};
pub use unpack::{Stopped, Unpack, unpack};

/// Whose files they are on the side that unpacks, and whether devices are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Those of whoever unpacks; no devices, no set-user-id or set-group-id bits, and no capabilities.
    Own,
    /// Those that the stream names, by their numbers.
    Kept,
}

#[cfg(test)]
mod decode_tests;
#[cfg(test)]
mod tests;
