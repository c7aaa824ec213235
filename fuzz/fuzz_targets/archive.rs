//! Archives, which either side of a copy may have made: nothing outside the destination is touched.

#![no_main]

use std::{fs, path::Path};

use doorward::archive::{Destination, Layout, Owners, Tally, Unpack, Watch, unpack};
use libfuzzer_sys::fuzz_target;

/// Listens to nothing.
struct Deaf;

impl Watch for Deaf {
    fn problem(&mut self, _: String) {}
    fn notice(&mut self, _: String) {}
    fn copied(&mut self, _: &Tally) {}
}

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
    let top = std::env::temp_dir().join(format!("doorward-fuzz-{}", std::process::id()));
    let _ = fs::remove_dir_all(&top);
    let (inside, outside) = (top.join("inside"), top.join("outside"));
    for directory in [&inside, &outside] {
        fs::create_dir_all(directory).expect("a temporary directory can be made");
    }
    fs::write(outside.join("file"), "good").expect("it can be written");
    let to = Destination::find(&inside, Layout::Many).expect("it is there");
    let how = Unpack { to, owners: Owners::Own };
    let _ = unpack(&with_checksums(data)[..], &how, &mut Deaf);
    let names = |directory: &Path| fs::read_dir(directory).expect("it is there").count();
    assert_eq!((names(&top), names(&outside)), (2, 1));
    assert_eq!(fs::read(outside.join("file")).expect("it is there"), b"good");
});
