//! Layers of images, which anybody may have made: nothing outside the directory is touched, and after an
//! error nothing is in it.

#![no_main]

use std::{fs, path::Path, sync::atomic::AtomicBool};

use doorward::image::unpack::{Compression, Layer, Origin, UnpackSpec, unpack_layers};
use libfuzzer_sys::fuzz_target;

/// Makes the checksum of each block right: no fuzzer would find it.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut archive = data.to_vec();
    archive.resize(data.len().next_multiple_of(512) + 1024, 0);
    for block in archive.chunks_exact_mut(512).filter(|block| block.iter().any(|byte| *byte > 0)) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    archive
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let top = std::env::temp_dir().join(format!("doorward-fuzz-unpack-{}", std::process::id()));
    let _ = fs::remove_dir_all(&top);
    let (inside, outside) = (top.join("inside"), top.join("outside"));
    for directory in [&inside, &outside] {
        fs::create_dir_all(directory).expect("a temporary directory can be made");
    }
    fs::write(outside.join("file"), "good").expect("it can be written");
    // The upper six bits are the block at which the second layer begins.
    let cut = usize::from(choice >> 2) * 512;
    let (lower, upper) = data.split_at(cut.min(data.len()));
    let (compression, layers) = match choice & 3 {
        0 => (Compression::Gzip, vec![data.to_vec()]),
        1 => (Compression::Zstd, vec![data.to_vec()]),
        _ => (Compression::None, vec![with_checksums(lower), with_checksums(upper)]),
    };
    let layers = layers.iter().map(|layer| {
        Ok(Layer { from: Box::new(&layer[..]), compression, diff_id: None, blob: None })
    });
    let mut spec = UnpackSpec::of(Origin::Foreign);
    spec.bounds.bytes = 1 << 22;
    let made = unpack_layers(layers, &inside, &spec, &AtomicBool::new(false));
    let names = |directory: &Path| fs::read_dir(directory).expect("it is there").count();
    assert_eq!((names(&top), names(&outside)), (2, 1));
    assert_eq!(fs::read(outside.join("file")).expect("it is there"), b"good");
    assert!(made.is_ok() || names(&inside) == 0);
});
