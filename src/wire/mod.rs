//! The wire types, as generated from `proto/`, and how their bytes become values.
//!
//! Both sides stand on this: the doors, the client library and the command line. It has no
//! meaning of its own; what a field means is in the comments of the proto files.

mod codec;
pub mod unknown;

pub use codec::CheckedCodec;

/// The generated modules, nested as the proto packages are.
#[allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::all)]
pub mod modal {
    /// The messages that several services share.
    pub mod client {
        tonic::include_proto!("modal.client");
    }
    /// The service and its own messages.
    pub mod task_command_router {
        tonic::include_proto!("modal.task_command_router");
    }
}

/// The generated modules of our own packages.
#[allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::all)]
pub mod doorward {
    /// The services Control and Images, and their messages.
    pub mod v1 {
        tonic::include_proto!("doorward.v1");
    }
}

/// The descriptors of all of it, encoded as a `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The Any type URL of a message begins with this; public clients look for it.
pub const TYPE_URL_PREFIX: &str = "type.modal.com/";
