//! Server reflection, v1 and v1alpha: what the agent serves, for tools without our protos.

use tonic_reflection::server::{Builder, v1, v1alpha};

use crate::wire::DESCRIPTORS;

/// The service in its current version.
pub fn v1() -> v1::ServerReflectionServer<impl v1::ServerReflection> {
    builder().build_v1().expect(DECODED)
}

/// The service as older tools ask for it.
pub fn v1alpha() -> v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection> {
    builder().build_v1alpha().expect(DECODED)
}

const DECODED: &str = "the descriptors were encoded at build time, and a test decodes them";

fn builder() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_descriptors_are_whole() {
        super::v1();
        super::v1alpha();
    }
}
