//! What images are called, where they may be, and how long they are kept.

mod digest;
mod id;
mod location;
mod reference;
mod ttl;

pub use digest::{Digest, DigestError};
pub use id::{ImageId, ImageIdError};
pub use location::{
    BucketPlace, Location, LocationError, Name, RegistryPlace, RemoteTag, Transport,
};
pub use reference::{Reference, ReferenceError, Remote, Tag};
pub use ttl::{Ttl, TtlError};
