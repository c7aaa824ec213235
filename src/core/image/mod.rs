//! What images are called, and how long they are kept.

mod digest;
mod id;
mod reference;
mod ttl;

pub use digest::{Digest, DigestError};
pub use id::{ImageId, ImageIdError};
pub use reference::{Reference, ReferenceError, Remote, Tag};
pub use ttl::{Ttl, TtlError};
