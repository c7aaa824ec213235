//! Damage on disk: found, told, and never made worse.

use proptest::prelude::*;

use super::*;
use crate::image::store::{Fault, StoreError, Verified, Which};

fn faults(store: &Store) -> Vec<Fault> {
    store.verify(&Which::All, at(1), &|| false).unwrap()
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn verify_names_each_blob_that_is_damaged_and_who_needs_it() {
    let place = Place::new();
    let layers = [tar("a", b"1"), tar("b", b"2"), tar("c", b"3"), tar("d", b"4")];
    let one = place.add(&[&layers[0], &layers[1]], Ttl::Never, at(0));
    let two = place.add(&[&layers[0], &layers[2]], Ttl::Never, at(0));
    let three = place.add(&[&layers[3]], Ttl::Never, at(0));
    assert_eq!(faults(&place.store), []);
    let path = |layer: usize| place.blob_path(&Digest::of(&layers[layer]));
    flip(&path(0));
    std::fs::write(path(1), &layers[1][1..]).unwrap();
    std::fs::remove_file(path(2)).unwrap();
    let mut found = faults(&place.store);
    found.sort_by_key(|fault| layers.iter().position(|l| Digest::of(l) == fault.digest));
    let mut sorted = vec![one.clone(), two.clone()];
    sorted.sort();
    for (layer, (fault, (images, what))) in found
        .iter()
        .zip([
            (sorted, "is damaged"),
            (vec![one.clone()], "ends 1 bytes early"),
            (vec![two], "is missing"),
        ])
        .enumerate()
    {
        assert_eq!((fault.digest, &fault.images), (Digest::of(&layers[layer]), &images));
        assert!(fault.what.contains(what), "{fault:?}");
    }
    assert_eq!(found.len(), 3);
    assert_eq!(place.store.verify(&Which::One(three), at(1), &|| false).unwrap(), []);
    let stopped = place.store.verify(&Which::One(one), at(1), &|| true);
    assert!(matches!(stopped, Err(StoreError::Stopped)));
    // Writing it again mends it.
    place.add(&[&layers[0], &layers[1], &layers[2]], Ttl::Never, at(0));
    assert_eq!(faults(&place.store), []);
}

#[test]
fn what_is_damaged_is_not_read() {
    let place = Place::new();
    let layer = tar("a", b"1");
    place.add(&[&layer], Ttl::Never, at(0));
    let digest = Digest::of(&layer);
    let size = layer.len() as u64;
    assert_eq!(place.store.read_verified(&digest, size).unwrap(), layer);
    let refused = place.store.read_verified(&digest, size - 1);
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    flip(&place.blob_path(&digest));
    let refused = place.store.read_verified(&digest, size);
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })));
    let unknown = place.store.read_verified(&Digest::of(b"unknown"), size);
    assert!(matches!(unknown, Err(StoreError::Missing { .. })));
}

#[test]
fn a_damaged_record_is_made_anew_and_its_layers_stay() {
    for damage in [&b""[..], b"{", br#"{"version": 2}"#] {
        let place = Place::new();
        let id = place.add(&[&tar("a", b"1")], Ttl::Never, at(0));
        std::fs::write(place.path(&format!("doorward/records/{id}.json")), damage).unwrap();
        // Before it is made anew, nothing that it named may be taken for nobody's.
        assert_eq!(place.store.collect(at(1), u64::MAX).unwrap().blobs, 0);
        assert_eq!(place.store.find(&by_id(&id), at(1)).unwrap().id, id);
        assert_eq!(faults(&place.store), []);
    }
}

#[test]
fn an_entry_without_its_manifest_is_told_and_goes() {
    let place = Place::new();
    let id = place.add(&[&tar("a", b"1")], Ttl::Never, at(0));
    let manifest = place.store.find(&by_id(&id), at(0)).unwrap().manifest;
    flip(&place.blob_path(&manifest));
    std::fs::remove_file(place.path(&format!("doorward/records/{id}.json"))).unwrap();
    let (_, repaired) = place.again(at(1));
    assert_eq!((repaired.lost, repaired.swept.blobs), (vec![id.to_string()], 3));
}

#[test]
fn a_directory_that_is_no_store_of_ours_is_left_alone() {
    for (name, content, what) in [
        ("oci-layout", &br#"{"imageLayoutVersion": "2.0"}"#[..], "not of version 1"),
        ("oci-layout", b"x", "not of version 1"),
        ("index.json", b"x", "expected value"),
    ] {
        let place = Place::new();
        place.add(&[&tar("a", b"1")], Ttl::Never, at(0));
        std::fs::write(place.path(name), content).unwrap();
        let refused = Store::open(place.store.path(), at(0)).unwrap_err().to_string();
        assert!(refused.contains(what), "{name}: {refused}");
        assert_eq!(place.names("blobs/sha256").len(), 3);
    }
    let place = Place::new();
    place.add(&[&tar("a", b"1")], Ttl::Never, at(0));
    std::fs::remove_file(place.path("index.json")).unwrap();
    let refused = Store::open(place.store.path(), at(0)).unwrap_err().to_string();
    assert!(refused.contains("index.json is gone"), "{refused}");
}

proptest! {
    #[test]
    fn a_verified_reader_gives_the_bytes_or_an_error(
        bytes: Vec<u8>, change in 0_usize..4, at_byte: prop::sample::Index, piece in 1_usize..9,
    ) {
        let mut read_bytes = bytes.clone();
        match change {
            1 if !bytes.is_empty() => read_bytes[at_byte.index(bytes.len())] ^= 4,
            2 => { read_bytes.pop(); }
            3 => read_bytes.push(0),
            _ => {}
        }
        let same = read_bytes == bytes;
        let size = bytes.len() as u64;
        let mut reader = Verified::new(read_bytes.as_slice(), Digest::of(&bytes), size);
        let (mut read, mut buffer) = (Vec::new(), vec![0; piece]);
        let result = loop {
            match std::io::Read::read(&mut reader, &mut buffer) {
                Ok(0) => break Ok(()),
                Ok(count) => read.extend_from_slice(&buffer[..count]),
                Err(error) => break Err(error),
            }
        };
        prop_assert_eq!(result.is_ok(), same);
        prop_assert!(!same || read == bytes);
        prop_assert!(read.len() <= bytes.len());
    }
}
