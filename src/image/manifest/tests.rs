//! Documents as others write them, and ours as others must read them.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::core::{
    image::Digest,
    limits::{IMAGE_LAYERS_MAX, MANIFEST_BYTES_MAX},
};

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

fn descriptor(media_type: &str, of: &str) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(of.as_bytes()), "size": of.len()})
}

fn manifest(media_type: Option<&str>, layers: Vec<Value>) -> Value {
    let config = descriptor(media::CONFIG, "config");
    let mut value = json!({"schemaVersion": 2, "config": config, "layers": layers});
    if let Some(media_type) = media_type {
        value["mediaType"] = media_type.into();
    }
    value
}

#[test]
fn images_and_indexes_of_oci_and_docker_are_read() {
    let gzip = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    for media_type in [None, Some(media::MANIFEST), Some(media::DOCKER_MANIFEST)] {
        let value = manifest(media_type, vec![descriptor(gzip, "layer")]);
        let Document::Image(found) = parse(&bytes(&value)).unwrap() else { panic!("an index") };
        let wanted = LayerMedia { compression: Compression::Gzip, sealed: false };
        assert_eq!(found.layer_media(), Ok(vec![wanted]));
        assert_eq!(found.blobs().count(), 2);
    }
    for media_type in [media::INDEX, media::DOCKER_INDEX] {
        let value = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": null});
        assert!(matches!(parse(&bytes(&value)), Ok(Document::Index(_))));
    }
}

#[test]
fn what_is_neither_is_refused() {
    let mut both = manifest(None, vec![]);
    both["manifests"] = json!([]);
    let mut sha512 = manifest(None, vec![]);
    sha512["config"]["digest"] = format!("sha512:{}", "0".repeat(128)).into();
    let many = vec![descriptor("x", "layer"); IMAGE_LAYERS_MAX + 1];
    let schema_1 = json!({"schemaVersion": 1, "fsLayers": []});
    let list = manifest(Some(media::INDEX), vec![]);
    let negative = json!({"schemaVersion": 2, "layers": [], "config":
        {"mediaType": "x", "digest": Digest::of(b""), "size": -1}});
    for (value, error) in [
        (both, "layers and manifests at once"),
        (sha512, "is no digest"),
        (manifest(None, many), "it has 513 layers"),
        (schema_1, "schema version Some(1)"),
        (list, "which is not known here"),
        (negative, "invalid value"),
        (json!([]), "schema version None"),
        (json!({"schemaVersion": 2}), "missing field"),
    ] {
        let refused = parse(&bytes(&value)).unwrap_err().to_string();
        assert!(refused.contains(error), "{value}: {refused}");
    }
    let large = vec![b' '; usize::try_from(MANIFEST_BYTES_MAX).unwrap() + 1];
    assert!(matches!(parse(&large), Err(ManifestError::TooLarge { .. })));
    let Document::Image(odd) = parse(&bytes(&manifest(None, vec![descriptor("x", "y")]))).unwrap()
    else {
        panic!("an index")
    };
    assert!(matches!(odd.layer_media(), Err(ManifestError::Layer { .. })));
}

#[test]
fn an_index_gives_what_runs_here() {
    let entry = |name: &str, architecture: &str, variant: Option<&str>| {
        let mut value = descriptor(media::MANIFEST, name);
        value["platform"] = json!({"architecture": architecture, "os": "linux"});
        if let Some(variant) = variant {
            value["platform"]["variant"] = variant.into();
        }
        value
    };
    let index = |entries: Vec<Value>| {
        let value = json!({"schemaVersion": 2, "manifests": entries});
        match parse(&bytes(&value)).unwrap() {
            Document::Index(index) => index,
            Document::Image(_) => panic!("an image"),
        }
    };
    let platform = |architecture: &str| {
        serde_json::from_value::<Platform>(json!({"architecture": architecture, "os": "linux"}))
            .unwrap()
    };
    let attestation = entry("attestation", "unknown", None);
    let all = index(vec![
        attestation,
        entry("amd64", "amd64", None),
        entry("arm64", "arm64", Some("v8")),
        entry("second", "amd64", None),
    ]);
    assert_eq!(all.pick(&platform("amd64")).unwrap().digest, Digest::of(b"amd64"));
    assert_eq!(all.pick(&platform("arm64")).unwrap().digest, Digest::of(b"arm64"));
    assert!(matches!(all.pick(&platform("s390x")), Err(ManifestError::Platform { .. })));
    let unsaid = index(vec![descriptor(media::MANIFEST, "only")]);
    assert_eq!(unsaid.pick(&platform("s390x")).unwrap().digest, Digest::of(b"only"));
}

#[test]
fn ours_is_read_back_and_keeps_what_it_stands_on() {
    let created = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let mut draft = Draft::empty(Platform::here());
    let media = LayerMedia { compression: Compression::Zstd, sealed: false };
    let layer = |of: &[u8]| NewLayer {
        media,
        digest: Digest::of(of),
        size: 3,
        diff_id: Digest::of(b"tar"),
        salt: None,
    };
    draft.push(layer(b"one"), created);
    let config = draft.config(created);
    let described = Descriptor::new(media::CONFIG, Digest::of(&config), config.len() as u64);
    draft.expires(created + Duration::from_millis(500));
    let first = draft.manifest(described.clone());
    let Document::Image(first) = parse(&first).unwrap() else { panic!("an index") };
    assert_eq!(first.expires(), Some(created + Duration::from_millis(500)));
    let mut config = parse_config(&config, &first).unwrap();
    assert_eq!(config.created.as_deref(), Some("1970-01-01T00:00:01Z"));
    assert_eq!(config.history[0].created_by.as_deref(), Some(SNAPSHOT_HISTORY));

    config.rest.insert("config".into(), json!({"Env": ["A=b"], "X": 1.5}));
    let mut second = Draft::on(&first, config);
    second.push(NewLayer { salt: Some("salt".into()), ..layer(b"two") }, created);
    let config = second.config(created);
    let Document::Image(second) = parse(&second.manifest(described)).unwrap() else {
        panic!("an index")
    };
    assert_eq!(second.layers[0], first.layers[0]);
    assert_eq!(second.expires(), None);
    assert_eq!(second.layers[1].annotations[SALT_ANNOTATION], "salt");
    let config = parse_config(&config, &second).unwrap();
    assert_eq!(config.rest["config"], json!({"Env": ["A=b"], "X": 1.5}));
    assert_eq!(
        parse_config(&serde_json::to_vec(&config).unwrap(), &first),
        Err(ManifestError::DiffIds { layers: 1, diff_ids: 2 })
    );
}

#[test]
fn every_media_type_that_is_written_is_read() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        for sealed in [false, true] {
            let media = LayerMedia { compression, sealed };
            assert_eq!(LayerMedia::parse(media.name()), Some(media));
        }
    }
    assert_eq!(LayerMedia::parse(media::CONFIG), None);
}

#[test]
fn compressions_are_known_by_their_first_bytes() {
    for (head, compression) in [
        (&b"\x1f\x8b\x08"[..], Compression::Gzip),
        (b"\x28\xb5\x2f\xfd\0", Compression::Zstd),
        (b"\x52\x2a\x4d\x18\0", Compression::Zstd),
        (b"\x28\xb5", Compression::None),
        (b"etc/", Compression::None),
        (b"", Compression::None),
    ] {
        assert_eq!(Compression::sniff(head), compression, "{head:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read_without_a_panic(bytes: Vec<u8>) {
        let _ = parse(&bytes);
    }

    #[test]
    fn what_is_not_known_is_kept(key in "[a-z]{1,8}", text in "\\PC*") {
        let key = format!("x-{key}");
        let mut value = manifest(Some(media::MANIFEST), vec![descriptor("x", "layer")]);
        value["layers"][0][&key] = text.clone().into();
        value[&key] = text.into();
        let Document::Image(read) = parse(&bytes(&value)).unwrap() else { panic!("an index") };
        prop_assert_eq!(serde_json::to_value(read).unwrap(), value);
    }
}
