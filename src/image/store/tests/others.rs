//! Other programs that read and write the same directory.

use super::*;
use crate::image::store::Which;

#[test]
fn skopeo_reads_and_copies_what_the_store_holds() {
    let place = Place::new();
    let layer = tar("hello", b"world");
    let id = place.add(&[&layer], Ttl::Never, at(0));
    place.store.tag(&id, &Tag::parse("team/app:v1").unwrap(), at(0)).unwrap();
    let manifest = place.store.find(&by_id(&id), at(0)).unwrap().manifest;
    let path = place.store.path().to_str().unwrap();
    for name in [id.as_str(), "team/app:v1"] {
        let source = format!("oci:{path}:{name}");
        let Some(text) = skopeo("store::skopeo", &["inspect", &source]) else { return };
        let shown: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(shown["Digest"], manifest.to_string());
        assert_eq!(shown["Layers"], json!([Digest::of(&layer).to_string()]));
        let copy = tempfile::tempdir().unwrap();
        let target = format!("dir:{}", copy.path().display());
        skopeo("store::skopeo", &["copy", "--preserve-digests", &source, &target]).unwrap();
        let copied = std::fs::read(copy.path().join(Digest::of(&layer).hex())).unwrap();
        assert_eq!(copied, layer);
    }
}

#[test]
fn what_skopeo_puts_into_the_directory_becomes_an_image() {
    let source = Place::new();
    let id = source.add(&[&tar("hello", b"world")], Ttl::Never, at(0));
    let place = Place::new();
    let ours = place.add(&[&tar("ours", b"1")], Ttl::Never, at(0));
    let from = format!("oci:{}:{id}", source.store.path().display());
    let to = format!("oci:{}:foreign", place.store.path().display());
    if skopeo("store::skopeo", &["copy", &from, &to]).is_none() {
        return;
    }
    // A collection comes before the next start: it must not take it for nobody's.
    assert_eq!(place.store.collect(at(1), u64::MAX).unwrap().blobs, 0);
    let found = place.store.find(&by_tag("foreign"), at(1)).unwrap();
    assert_ne!(found.id, ours);
    let (other, repaired) = place.again(at(2));
    assert_eq!(repaired, Repaired::default());
    assert_eq!(other.find(&by_id(&found.id), at(2)).unwrap(), found);
    assert_eq!(other.list(at(2)).unwrap().len(), 2);
    assert_eq!(other.verify(&Which::All, at(2), &|| false).unwrap(), []);
}

#[test]
fn entries_without_a_name_or_for_many_machines_become_images_and_the_rest_is_kept() {
    let place = Place::new();
    let id = place.add(&[&tar("a", b"1")], Ttl::Never, at(0));
    let mut index = read_json(&place.path("index.json"));
    let mut entry = index["manifests"][0].clone();
    entry.as_object_mut().unwrap().remove("annotations");
    let mut here = entry.clone();
    here["platform"] = serde_json::to_value(Platform::here()).unwrap();
    let list = serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": media::INDEX,
        "manifests": [here]}))
    .unwrap();
    std::fs::write(place.blob_path(&Digest::of(&list)), &list).unwrap();
    let named = |name: &str| json!({"org.opencontainers.image.ref.name": name});
    let sha512 = json!({"mediaType": "x", "digest": format!("sha512:{}", "0".repeat(128)),
        "size": 1});
    let mut many = entry.clone();
    many["mediaType"] = media::INDEX.into();
    many["digest"] = json!(Digest::of(&list));
    many["size"] = json!(list.len());
    many["annotations"] = named("many");
    index["manifests"].as_array_mut().unwrap().extend([entry, many, sha512.clone()]);
    index["x"] = json!("kept");
    std::fs::write(place.path("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();

    let (store, repaired) = place.again(at(1));
    assert_eq!((repaired.adopted.len(), repaired.lost.len()), (2, 0));
    // The list itself is needed no more.
    assert_eq!(repaired.swept.blobs, 1);
    let images = store.list(at(1)).unwrap();
    assert_eq!(images.len(), 3);
    let manifest = store.find(&by_id(&id), at(1)).unwrap().manifest;
    assert!(images.iter().all(|image| image.manifest == manifest));
    assert!(store.find(&by_tag("many"), at(1)).is_ok());
    let index = read_json(&place.path("index.json"));
    assert_eq!(index["x"], "kept");
    assert!(index["manifests"].as_array().unwrap().contains(&sha512));
    let (_, repaired) = place.again(at(2));
    assert_eq!(repaired, Repaired::default());
}
