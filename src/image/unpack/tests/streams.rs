//! Layers as they are stored: compressed, cut, changed.

use std::{io, sync::atomic::Ordering};

use super::*;

/// A layer with all that is known of it.
fn known<'a>(stored: &'a [u8], compression: Compression, archive: &[u8]) -> Layer<'a> {
    Layer {
        from: Box::new(stored),
        compression,
        diff_id: Some(Digest::of(archive)),
        blob: Some(Blob { digest: Digest::of(stored), size: stored.len() as u64 }),
    }
}

fn unpack_one(place: &Place, layer: Layer<'_>) -> Result<Unpacked, UnpackError> {
    let spec = UnpackSpec::of(Origin::Foreign);
    let made = unpack_layers([Ok(layer)], &place.root(), &spec, &AtomicBool::new(false));
    place.check(&made);
    made
}

/// An archive of a small file and a large one.
fn two_files() -> Vec<u8> {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let large: Vec<u8> = (0..600_000).map(|_| noise()).collect();
    archive(&[file("small", "small"), member(EntryType::Regular, "large", ("", &large), |_| ())])
}

/// An archive in each way that it may be stored.
fn stored(archive: &[u8]) -> Vec<(&'static str, Compression, Vec<u8>)> {
    let (one, two) = archive.split_at(archive.len() / 2);
    // A frame that holds nothing of the data.
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"any"].concat();
    vec![
        ("plain", Compression::None, archive.to_vec()),
        ("gzip", Compression::Gzip, gzip(archive)),
        ("gzip members", Compression::Gzip, [gzip(one), gzip(&[]), gzip(two)].concat()),
        ("zstd", Compression::Zstd, zstd(archive)),
        ("zstd frames", Compression::Zstd, [skipped, zstd(one), zstd(two)].concat()),
    ]
}

#[test]
fn every_compression() {
    let archive = two_files();
    for (name, compression, bytes) in stored(&archive) {
        let place = Place::new();
        let counts = unpack_one(&place, known(&bytes, compression, &archive));
        let counts = counts.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((counts.layers, counts.entries, counts.bytes), (1, 2, 600_005), "{name}");
        assert_eq!(fs::read(place.at("small")).unwrap(), b"small", "{name}");
        assert_eq!(fs::read(place.at("large")).unwrap(), archive[1536..][..600_000], "{name}");
    }
}

#[test]
fn what_is_not_as_it_should_be_leaves_nothing() {
    let archive = two_files();
    for (name, compression, bytes) in stored(&archive) {
        let layer = || known(&bytes, compression, &archive);
        let other = Blob { digest: Digest::from_bytes([7; 32]), size: bytes.len() as u64 };
        let shorter = Blob { digest: Digest::of(&bytes), size: bytes.len() as u64 - 1 };
        let cases: [(Layer<'_>, &str); 3] = [
            (
                Layer { diff_id: Some(Digest::from_bytes([7; 32])), ..layer() },
                "the digest of its archive is sha256:",
            ),
            (Layer { blob: Some(other), ..layer() }, "the digest is sha256:"),
            (Layer { blob: Some(shorter), ..layer() }, "bytes, and not"),
        ];
        for (layer, words) in cases {
            let error = unpack_one(&Place::new(), layer).unwrap_err();
            assert!(error.to_string().contains(words), "{name}: {error}");
            assert_eq!(error.kind(), Kind::Image);
        }
        for at in [bytes.len() / 2, bytes.len() - 600] {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            let layer = Layer { from: Box::new(&changed[..]), ..layer() };
            let error = unpack_one(&Place::new(), layer).unwrap_err();
            assert_eq!(error.kind(), Kind::Image, "{name} changed at {at}: {error}");
        }
        let garbage = [&bytes[..], b"garbage"].concat();
        let layer = Layer { from: Box::new(&garbage[..]), diff_id: None, blob: None, compression };
        let made = unpack_one(&Place::new(), layer);
        // Behind the end of an archive anything may stand; behind what is compressed, nothing.
        assert_eq!(made.is_ok(), compression == Compression::None, "{name}: {made:?}");
        for (length, compression) in [(0, compression), (bytes.len(), others(compression))] {
            let from = Box::new(&bytes[..length]);
            let layer = Layer { from, compression, diff_id: None, blob: None };
            let error = unpack_one(&Place::new(), layer).unwrap_err();
            assert_eq!(error.kind(), Kind::Image, "{name}: {error}");
        }
    }
}

fn others(compression: Compression) -> Compression {
    match compression {
        Compression::None => Compression::Gzip,
        Compression::Gzip => Compression::Zstd,
        Compression::Zstd => Compression::None,
    }
}

#[test]
fn cut_anywhere() {
    let whole = archive(&[
        directory("d/"),
        records(&[("SCHILY.xattr.user.x", b"x"), ("mtime", b"1.5")]),
        file(&format!("d/{}", "long".repeat(30)), &"data".repeat(300)),
        symlink("d/link", "target"),
        member(EntryType::Regular, "large", ("", &vec![7; 300_000]), |_| ()),
    ]);
    let ends_at = whole.len() - 512;
    let step = |at: usize| if (8192..ends_at - 4096).contains(&at) { 16 * 512 } else { 512 };
    let mut length = 0;
    while length < whole.len() {
        let place = Place::new();
        let made = unpack_one(&place, plain(&whole[..length]));
        if length < ends_at {
            let error = made.unwrap_err();
            assert_eq!(error.kind(), Kind::Image, "{length} bytes: {error}");
            assert!(error.to_string().contains("stops before its end"), "{length}: {error}");
        } else {
            made.unwrap();
        }
        length += step(length);
    }
    for (compression, bytes) in
        [(Compression::Gzip, gzip(&whole)), (Compression::Zstd, zstd(&whole))]
    {
        for length in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
            let layer = Layer { from: Box::new(&bytes[..length]), compression, ..plain(b"") };
            let error = unpack_one(&Place::new(), layer).unwrap_err();
            assert_eq!(error.kind(), Kind::Image, "{compression:?} {length} bytes: {error}");
        }
    }
}

/// Gives some bytes and then an error.
struct Breaks<'a>(&'a [u8]);

impl io::Read for Breaks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("the disk is gone")),
            count => Ok(count),
        }
    }
}

#[test]
fn whose_fault_it_is() {
    let archive = two_files();
    for (name, compression, bytes) in stored(&archive) {
        let from = Box::new(Breaks(&bytes[..bytes.len() / 2]));
        let layer = Layer { from, compression, diff_id: None, blob: None };
        let error = unpack_one(&Place::new(), layer).unwrap_err();
        assert!(error.to_string().contains("the disk is gone"), "{name}: {error}");
        assert_eq!(error.kind(), Kind::Machine, "{name}");
    }
    let place = Place::new();
    let spec = UnpackSpec::of(Origin::Foreign);
    let layers = [Ok(plain(&archive)), Err(io::ErrorKind::PermissionDenied.into())];
    let made = unpack_layers(layers, &place.root(), &spec, &AtomicBool::new(false));
    place.check(&made);
    assert_eq!(made.unwrap_err().to_string(), "open layer 2: permission denied");
    fs::write(place.at("mine"), "mine").unwrap();
    let error = unpack_layers([], &place.root(), &spec, &AtomicBool::new(false)).unwrap_err();
    assert!(error.to_string().contains("it is not empty"), "{error}");
    assert_eq!(fs::read(place.at("mine")).unwrap(), b"mine");
    let error = unpack_layers([], &place.at("none"), &spec, &AtomicBool::new(false)).unwrap_err();
    assert_eq!(error.kind(), Kind::Machine, "{error}");
}

/// Asks to stop after some bytes.
struct Stops<'a>(&'a [u8], &'a AtomicBool);

impl io::Read for Stops<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.len() < 100_000 {
            self.1.store(true, Ordering::Relaxed);
        }
        self.0.read(buffer)
    }
}

#[test]
fn it_stops_when_asked() {
    let (place, stop) = (Place::new(), AtomicBool::new(false));
    let archive = two_files();
    let layer = Layer { from: Box::new(Stops(&archive, &stop)), ..plain(b"") };
    let spec = UnpackSpec::of(Origin::Ours);
    let made = unpack_layers([Ok(layer)], &place.root(), &spec, &stop);
    place.check(&made);
    assert_eq!(made.unwrap_err().kind(), Kind::Stopped);
}
