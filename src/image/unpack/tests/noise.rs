//! Whatever layers hold, nothing outside is touched, and after an error nothing is left.

use proptest::prelude::*;

use super::*;

const PATHS: [&str; 17] = [
    "a",
    "b",
    "a/b",
    "a/b/c",
    "b/a",
    "out",
    "out/file",
    "out/inner/file",
    "a/out",
    "a/out/file",
    ".wh.a",
    "a/.wh.b",
    ".wh.out",
    ".wh..wh..opq",
    "a/.wh..wh..opq",
    "out/.wh.file",
    "../outside/x",
];

const TARGETS: [&str; 12] = [
    "a",
    "b",
    "a/b",
    ".",
    "..",
    "/",
    "../outside",
    "../../outside",
    "../outside/file",
    "out",
    "out/file",
    "a/../../outside",
];

fn blocks() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop_oneof![
        4 => Just(EntryType::Regular),
        3 => Just(EntryType::Directory),
        3 => Just(EntryType::Symlink),
        2 => Just(EntryType::Link),
        1 => Just(EntryType::Fifo),
        1 => Just(EntryType::Char),
        1 => Just(EntryType::GNUSparse),
    ];
    let path = prop::sample::select(&PATHS[..]);
    let target = prop::sample::select(&TARGETS[..]);
    (kinds, path, target, any::<bool>()).prop_map(|(kind, path, target, large)| {
        let length = match kind {
            EntryType::Regular if large => IMAGE_SMALL_FILE_BYTES_MAX + 1,
            EntryType::Regular => 3,
            _ => 0,
        };
        member(kind, path, (target, &vec![b'x'; length]), |_| ())
    })
}

/// Makes the checksum of each block right that is no zeros.
fn with_checksums(archive: &mut [u8]) {
    for block in archive.chunks_exact_mut(512).filter(|block| block.iter().any(|byte| *byte > 0)) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn of_entries(layers in prop::collection::vec(prop::collection::vec(blocks(), 0..12), 1..4)) {
        // With a way out to begin with, or hardly any would have one.
        let out = [vec![symlink("out", "../outside")]];
        let layers = out.iter().chain(&layers).map(|members| archive(members));
        let layers: Vec<Vec<u8>> = layers.collect();
        // It looks whatever comes of it.
        let _ = Place::new().unpack(&layers);
        let _ = Place::new().unpack_as(&layers, &UnpackSpec::of(Origin::Ours));
    }

    #[test]
    fn of_bytes(
        members in prop::collection::vec(blocks(), 1..6),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut changed = archive(&members);
        for (at, byte) in changes {
            // Most of what matters stands in headers.
            let at = at.index(changed.len());
            changed[at - at % 512 + at % 160] = byte;
        }
        with_checksums(&mut changed);
        let mut spec = UnpackSpec::of(Origin::Foreign);
        spec.bounds.bytes = 1 << 24;
        let _ = Place::new().unpack_as(&[changed], &spec);
    }
}
