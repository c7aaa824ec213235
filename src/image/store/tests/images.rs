//! Images made, found, named, held and removed.

use super::*;
use crate::image::store::{StoreError, Which};

#[test]
fn an_image_is_there_for_everybody_who_opens_the_directory() {
    let place = Place::new();
    let layer = tar("a", b"1");
    let id = place.add(&[&layer], Ttl::Never, at(1));
    let image = place.store.find(&by_id(&id), at(2)).unwrap();
    assert_eq!((&image.id, image.created, image.last_used), (&id, at(1), at(1)));
    assert_eq!(place.names("blobs/sha256").len(), 3);
    assert_eq!(read_json(&place.path("oci-layout")), json!({"imageLayoutVersion": "1.0.0"}));
    let index = read_json(&place.path("index.json"));
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    let name = &index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"];
    assert_eq!(name, id.as_str());

    let (other, repaired) = place.again(at(3));
    assert_eq!(repaired, Repaired::default());
    assert_eq!(other.list(at(3)).unwrap(), [image]);
    assert_eq!(other.read_verified(&Digest::of(&layer), 1 << 20).unwrap(), layer);
}

#[test]
fn what_is_dropped_leaves_nothing() {
    let place = Place::new();
    let mut writer = place.store.writer().unwrap();
    writer.write_all(b"half").unwrap();
    assert_eq!(writer.bytes(), 4);
    drop(writer);
    drop(blob(&place.store, b"whole"));
    let session = place.names("doorward/tmp").pop().unwrap();
    assert_eq!(place.names(&format!("doorward/tmp/{session}")), ["lock"]);
    assert_eq!(place.names("blobs/sha256"), [""; 0]);
}

#[test]
fn what_was_announced_must_come() {
    let place = Place::new();
    let mut writer = place.store.writer().unwrap();
    writer.write_all(b"this").unwrap();
    let refused = writer.finish_expecting(Digest::of(b"that"));
    assert!(matches!(refused.err(), Some(StoreError::Mismatch { .. })));
    let mut writer = place.store.writer().unwrap().hashed_by_caller();
    writer.write_all(b"this").unwrap();
    let taken = writer.finish_as(Digest::of(b"this")).unwrap();
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut taken.open().unwrap(), &mut read).unwrap();
    assert_eq!((taken.size(), read.as_slice()), (4, &b"this"[..]));
}

#[test]
fn an_image_is_whole_or_not_there() {
    let place = Place::new();
    let (one, two) = (tar("a", b"1"), tar("b", b"2"));
    let mut missing = image(&place.store, &[&one, &two], Ttl::Never);
    missing.blobs.remove(1);
    let refused = place.store.add_image(missing, at(1));
    assert!(
        matches!(refused, Err(StoreError::Missing { digest }) if digest == Digest::of(&two)),
        "{refused:?}"
    );
    let mut index = image(&place.store, &[], Ttl::Never);
    index.manifest = br#"{"schemaVersion": 2, "manifests": []}"#.to_vec();
    assert!(matches!(place.store.add_image(index, at(1)), Err(StoreError::Manifest(_))));
    assert_eq!(place.store.list(at(1)).unwrap(), []);
    assert_eq!(place.names("blobs/sha256"), [""; 0]);
    assert_eq!(place.names("doorward/records"), [""; 0]);
    assert_eq!(place.names("doorward/holds"), [""; 0]);

    // A blob of another size than the manifest says is not the one that is meant.
    let mut lying = image(&place.store, &[&one], Ttl::Never);
    let mut manifest: Value = serde_json::from_slice(&lying.manifest).unwrap();
    manifest["layers"][0]["size"] = json!(7);
    lying.manifest = serde_json::to_vec(&manifest).unwrap();
    assert!(matches!(place.store.add_image(lying, at(1)), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_snapshot_is_made_once() {
    let place = Place::new();
    let (other, _) = place.again(at(0));
    let add = |store: &Store, content: &[u8], now| {
        let layer = tar("a", content);
        let snapshot_id = Some("snapshot".to_owned());
        let new = NewImage { snapshot_id, ..image(store, &[&layer], Ttl::Until(at(10))) };
        store.add_image(new, now).unwrap().id().clone()
    };
    let first = add(&place.store, b"1", at(1));
    assert_eq!(add(&place.store, b"1", at(2)), first);
    assert_eq!(add(&other, b"changed", at(3)), first);
    assert_eq!(place.names("blobs/sha256").len(), 3);
    let found = place.store.by_snapshot_id("snapshot", at(4)).unwrap().unwrap();
    assert_eq!(found.id, first);
    assert_eq!(place.store.by_snapshot_id("other", at(4)).unwrap(), None);
    // Its time is over, and with it the memory of it.
    assert_eq!(place.store.by_snapshot_id("snapshot", at(10)).unwrap(), None);
    assert_ne!(add(&place.store, b"1", at(10)), first);
}

#[test]
fn a_tag_names_one_image_at_a_time_and_goes_with_it() {
    let place = Place::new();
    let store = &place.store;
    let layer = tar("a", b"1");
    let one = place.add(&[&layer], Ttl::Never, at(1));
    let two = {
        let tag = Some(Tag::parse("team/app:v2").unwrap());
        let new = NewImage { tag, ..image(store, &[&tar("b", b"2")], Ttl::Never) };
        store.add_image(new, at(2)).unwrap().id().clone()
    };
    let tag = Tag::parse("latest").unwrap();
    assert!(store.find(&by_tag("latest"), at(3)).is_err());
    store.tag(&one, &tag, at(3)).unwrap();
    assert_eq!(store.find(&by_tag("latest"), at(3)).unwrap().id, one);
    store.tag(&two, &tag, at(3)).unwrap();
    let found = store.find(&by_tag("latest"), at(3)).unwrap();
    let tags: Vec<&str> = found.tags.iter().map(Tag::as_str).collect();
    assert_eq!((found.id, tags), (two.clone(), vec!["latest", "team/app:v2"]));
    store.untag(&tag).unwrap();
    assert!(matches!(store.untag(&tag), Err(StoreError::NotFound { .. })));
    store.remove(&two, at(4)).unwrap();
    assert!(store.find(&by_tag("team/app:v2"), at(4)).is_err());
    let unknown = ImageId::parse("im-unknown").unwrap();
    assert!(matches!(store.tag(&unknown, &tag, at(5)), Err(StoreError::NotFound { .. })));
    assert!(matches!(store.remove(&unknown, at(5)), Err(StoreError::NotFound { .. })));
}

#[test]
fn removing_takes_only_what_no_other_image_needs() {
    let place = Place::new();
    let (shared, alone) = (tar("shared", b"1"), tar("alone", b"2"));
    let one = place.add(&[&shared], Ttl::Never, at(1));
    let two = place.add(&[&shared, &alone], Ttl::Never, at(1));
    let removed = place.store.remove(&two, at(2)).unwrap();
    assert_eq!((removed.images, removed.blobs), (vec![two], 3));
    assert!(place.blob_path(&Digest::of(&shared)).exists());
    assert!(!place.blob_path(&Digest::of(&alone)).exists());
    place.store.remove(&one, at(3)).unwrap();
    assert_eq!(place.names("blobs/sha256"), [""; 0]);
    assert_eq!(place.names("doorward/records"), [""; 0]);
    assert_eq!(place.names("doorward/holds"), [""; 0]);
}

#[test]
fn what_is_held_stays_whoever_wants_to_remove_it() {
    let place = Place::new();
    let (other, _) = place.again(at(0));
    let id = place.add(&[&tar("a", b"1")], Ttl::Until(at(10)), at(1));
    let hold = place.store.hold(&id, at(2)).unwrap();
    let second = other.hold(&id, at(3)).unwrap();
    assert_eq!((hold.id(), hold.manifest()), (&id, second.manifest()));
    assert!(matches!(other.remove(&id, at(4)), Err(StoreError::Held { .. })));
    assert_eq!(other.collect(at(20), 0).unwrap().images, []);
    drop(hold);
    assert!(matches!(place.store.remove(&id, at(4)), Err(StoreError::Held { .. })));
    // Its time is over for who comes now, although its blobs are there for who came before.
    assert!(matches!(other.hold(&id, at(10)), Err(StoreError::NotFound { .. })));
    drop(second);
    assert_eq!(place.store.collect(at(20), u64::MAX).unwrap().images, [id]);
}

#[test]
fn a_pinned_blob_is_there_for_the_next_image_although_its_own_goes() {
    let place = Place::new();
    let layer = tar("a", b"1");
    let id = place.add(&[&layer], Ttl::Never, at(1));
    let pinned = place.store.pin(&Digest::of(&layer)).unwrap();
    assert!(place.store.pin(&Digest::of(b"unknown")).is_none());
    place.store.remove(&id, at(2)).unwrap();
    assert!(!place.blob_path(&Digest::of(&layer)).exists());
    let mut new = image(&place.store, &[&layer], Ttl::Never);
    new.blobs[0] = pinned;
    let id = place.store.add_image(new, at(3)).unwrap().id().clone();
    assert_eq!(place.store.verify(&crate::image::store::Which::All, at(3), &|| false).unwrap(), []);
    // One that is pinned and stays has two names for a while, and one afterwards.
    let mut new = image(&place.store, &[&layer], Ttl::Never);
    new.blobs[0] = place.store.pin(&Digest::of(&layer)).unwrap();
    place.store.add_image(new, at(4)).unwrap();
    place.store.remove(&id, at(5)).unwrap();
    let session = place.names("doorward/tmp").pop().unwrap();
    assert_eq!(place.names(&format!("doorward/tmp/{session}")), ["lock"]);
    assert!(place.blob_path(&Digest::of(&layer)).exists());
}

#[test]
fn an_image_of_another_store_keeps_its_id() {
    let place = Place::new();
    let id = ImageId::parse("im-other").unwrap();
    let (layer, second) = (tar("a", b"1"), tar("b", b"2"));
    let add = |layers: &[&[u8]], ttl, now| {
        let new = image(&place.store, layers, ttl);
        place.store.add_image_as(id.clone(), new, now).map(|hold| hold.image().clone())
    };
    let made = add(&[&layer], Ttl::Until(at(10)), at(1)).unwrap();
    assert_eq!((&made.id, made.created), (&id, at(1)));
    // What is there stays, whatever comes.
    assert_eq!(add(&[&second], Ttl::Never, at(2)).unwrap().manifest, made.manifest);
    // It has expired; while somebody uses it, it does not make room.
    let hold = place.store.hold(&id, at(3)).unwrap();
    assert!(matches!(add(&[&second], Ttl::Never, at(10)), Err(StoreError::Held { .. })));
    drop(hold);
    let other = add(&[&second], Ttl::Never, at(10)).unwrap();
    assert_eq!((&other.id, other.created), (&id, at(10)));
    assert_ne!(other.manifest, made.manifest);
    assert!(!place.blob_path(&Digest::of(&layer)).exists());
    assert_eq!(place.store.verify(&Which::All, at(11), &|| false).unwrap(), []);
}
