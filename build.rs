//! Compiles `proto/` with protox, a pure-Rust compiler, so that no protoc need be installed.

use std::{env, error::Error, fs, path::PathBuf};

use protox::prost::Message;

const PROTOS: [&str; 4] = [
    "modal/client.proto",
    "modal/task_command_router.proto",
    "doorward/v1/control.proto",
    "doorward/v1/images.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);

    // These feed server reflection and the scan for unknown fields; neither needs the comments.
    let mut bare = descriptors.clone();
    for file in &mut bare.file {
        file.source_code_info = None;
    }
    fs::write(out.join("descriptors.bin"), bare.encode_to_vec())?;

    let mut config = tonic_prost_build::Config::new();
    // The scan finds a message's descriptor by its name.
    config.enable_type_names();
    tonic_prost_build::configure()
        .bytes(".")
        // A sorted map makes two encodings of one request equal, whatever order the client sent.
        .btree_map(".")
        .codec_path("crate::wire::CheckedCodec")
        .emit_rerun_if_changed(false)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
