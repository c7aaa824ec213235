//! Registries that lie, lose and forget.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use super::{
    Local,
    fake::{Answer, Fake, Seen, answer},
    named, noise, open, options, wanted,
};
use crate::{
    core::{image::Digest, limits::MANIFEST_BYTES_MAX},
    image::{
        manifest::{self, Document, Manifest},
        remote::{Meter, Name, RemoteError, RemoteTag},
        store::tests::{at, tar},
    },
};

/// An image as a registry would have it.
struct Image {
    manifest: Vec<u8>,
    blobs: Vec<(Digest, Vec<u8>)>,
}

fn image(layer: &[u8]) -> Image {
    let here = Local::new();
    let id = here.add(&[layer]);
    let digest = here.store.hold(&id, at(1)).unwrap().manifest();
    let read = |digest: &Digest| here.store.read_verified(digest, u64::MAX - 1).unwrap();
    let manifest = read(&digest);
    let parsed = parsed(&manifest);
    let blobs = parsed.blobs().map(|blob| (blob.digest, read(&blob.digest))).collect();
    Image { manifest, blobs }
}

fn parsed(manifest: &[u8]) -> Manifest {
    match manifest::parse(manifest).unwrap() {
        Document::Image(manifest) => *manifest,
        Document::Index(_) => panic!("an index"),
    }
}

impl Image {
    /// What an honest registry answers that knows no ranges.
    fn answer(&self, seen: &Seen) -> Answer {
        if seen.path.contains("/manifests/") {
            return answer(200, &[], self.manifest.clone());
        }
        let blob = self.blobs.iter().find(|(digest, _)| seen.path.ends_with(&digest.to_string()));
        blob.map_or(answer(404, &[], ""), |(_, bytes)| answer(200, &[], bytes.clone()))
    }

    fn layer(&self) -> &(Digest, Vec<u8>) {
        self.blobs.last().unwrap()
    }
}

fn latest() -> Name {
    Name::Tag(RemoteTag::latest())
}

/// Pulls from a server that answers so; what comes of it, and that nothing is left if nothing does.
async fn pulled(respond: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> RemoteError {
    let fake = Fake::new(respond).await;
    let there = Local::new();
    let location = format!("oci+http://127.0.0.1:{}/a", fake.port);
    let remote = open(&location, &options(&[])).await;
    let error = there.pull(&remote, latest()).await.unwrap_err();
    assert!(there.store.list(at(3)).unwrap().is_empty());
    assert!(there.place.names("blobs/sha256").is_empty());
    error
}

#[tokio::test]
async fn bytes_that_are_not_what_they_are_called_are_refused() {
    let honest = Arc::new(image(&tar("a", b"1")));
    let shared = honest.clone();
    let (digest, bytes) = honest.layer().clone();
    let with = move |bytes: Vec<u8>| {
        let shared = shared.clone();
        move |seen: &Seen| match seen.path.contains(&digest.to_string()) {
            true => answer(200, &[], bytes.clone()),
            false => shared.answer(seen),
        }
    };
    let mut other = bytes.clone();
    other[0] ^= 1;
    let error = pulled(with.clone()(other)).await;
    assert!(matches!(error, RemoteError::Mismatch { expected, .. } if expected == digest));
    let error = pulled(with.clone()([&bytes[..], b"x"].concat())).await;
    assert!(error.to_string().contains("more than"), "{error}");
    let error = pulled(with.clone()(bytes[1..].to_vec())).await;
    assert!(error.to_string().contains("1 bytes too early"), "{error}");
    let error = pulled(with(vec![])).await;
    assert!(error.to_string().contains("too early"), "{error}");
}

#[tokio::test]
async fn manifests_that_are_not_what_they_are_called_are_refused() {
    let honest = Arc::new(image(&tar("a", b"1")));
    let lie = Digest::of(b"x").to_string();
    let shared = honest.clone();
    let error =
        pulled(move |_| answer(200, &[("docker-content-digest", &lie)], shared.manifest.clone()))
            .await;
    assert!(matches!(error, RemoteError::Mismatch { .. }), "{error}");
    let large = vec![b' '; usize::try_from(MANIFEST_BYTES_MAX).unwrap() + 1];
    let error = pulled(move |_| answer(200, &[], large.clone())).await;
    assert!(matches!(error, RemoteError::Strange { .. }), "{error}");
    for nonsense in ["", "{}", "<html>", r#"{"schemaVersion":1}"#] {
        let error = pulled(move |_| answer(200, &[], nonsense)).await;
        assert!(matches!(error, RemoteError::Manifest { .. }), "{error}");
    }
    let error = pulled(|_| answer(302, &[("location", "/v2/again")], "")).await;
    assert!(error.to_string().contains("from one place to the next"), "{error}");
    let error = pulled(|_| answer(302, &[("location", "file:///etc/passwd")], "")).await;
    assert!(matches!(error, RemoteError::Link { .. }), "{error}");
}

#[tokio::test]
async fn an_image_that_is_too_large_is_not_begun() {
    let honest = Arc::new(image(&tar("a", b"1")));
    let bytes: u64 = parsed(&honest.manifest).blobs().map(|blob| blob.size).sum();
    let fake = Fake::new(move |seen| honest.answer(seen)).await;
    let there = Local::new();
    let location = format!("oci+http://127.0.0.1:{}/a", fake.port);
    let remote = open(&location, &options(&[])).await;
    let mut pull = wanted(latest());
    pull.bytes_max = bytes - 1;
    let error = remote.pull(&there.store, pull.clone(), &Meter::silent()).await.unwrap_err();
    assert!(matches!(error, RemoteError::TooLarge { bytes: b, .. } if b == bytes), "{error}");
    assert_eq!(fake.seen().len(), 1);
    pull.bytes_max = bytes;
    remote.pull(&there.store, pull, &Meter::silent()).await.unwrap();
}

#[tokio::test]
async fn what_may_pass_is_asked_again_and_what_is_known_is_not_waited_for() {
    let honest = image(&tar("a", b"1"));
    let asked = AtomicU32::new(0);
    let fake = Fake::new(move |seen| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => answer(503, &[], ""),
        1 => answer(429, &[("retry-after", "0")], ""),
        _ => honest.answer(seen),
    })
    .await;
    let there = Local::new();
    let location = format!("oci+http://127.0.0.1:{}/a", fake.port);
    let remote = open(&location, &options(&[])).await;
    there.pull(&remote, latest()).await.unwrap();
    let refused = Fake::new(|_| {
        answer(400, &[], r#"{"errors":[{"code":"NAME_INVALID","message":"no such name"}]}"#)
    })
    .await;
    let location = format!("oci+http://127.0.0.1:{}/a", refused.port);
    let error = there.pull(&open(&location, &options(&[])).await, latest()).await.unwrap_err();
    assert!(error.to_string().contains("400: NAME_INVALID: no such name"), "{error}");
    assert_eq!(refused.seen().len(), 1);
}

/// Goes on after a break with a registry that sends everything from the begin whatever it is asked.
#[tokio::test]
async fn a_registry_without_ranges_is_read_from_the_begin() {
    let honest = Arc::new(image(&noise(3 << 20)));
    let (digest, _) = honest.layer().clone();
    let fake = Fake::new(move |seen| honest.answer(seen)).await;
    let cutter = super::Cutter::new(fake.port, super::Way::Down, 1 << 20, 1).await;
    let location = format!("oci+http://127.0.0.1:{}/a", cutter.port);
    let there = Local::new();
    let pulled = there.pull(&open(&location, &options(&[])).await, latest()).await.unwrap();
    assert!(there.is_whole(pulled.hold.id()));
    assert_eq!(cutter.cut(), 1);
    let seen = fake.seen();
    let asked: Vec<_> =
        seen.iter().filter(|seen| seen.path.contains(&digest.to_string())).collect();
    assert_eq!(asked.len(), 2);
    assert!(asked[1].header("range").unwrap().starts_with("bytes="));
}

/// An upload that the registry forgets is begun anew; one that it knows goes on.
#[tokio::test]
async fn an_upload_that_is_forgotten_begins_anew() {
    let here = Local::new();
    let id = here.add(&[&noise(40 << 20)]);
    let patches = Arc::new(AtomicU32::new(0));
    let counted = patches.clone();
    let fake = Fake::new(move |seen| match seen.method.as_str() {
        "HEAD" => answer(404, &[], ""),
        "POST" => answer(202, &[("location", "/v2/a/blobs/uploads/x?state=1")], ""),
        "PATCH" if counted.fetch_add(1, Ordering::SeqCst) == 0 => answer(404, &[], ""),
        "PATCH" => answer(202, &[("location", "/v2/a/blobs/uploads/x?state=2")], ""),
        "PUT" => answer(201, &[], ""),
        _ => answer(404, &[], ""),
    })
    .await;
    let location = format!("oci+http://127.0.0.1:{}/a", fake.port);
    let remote = open(&location, &options(&[])).await;
    here.push(&remote, &id).await.unwrap();
    assert_eq!(patches.load(Ordering::SeqCst), 2);
    let seen = fake.seen();
    let last = seen.iter().rfind(|seen| seen.path.contains("state=2")).unwrap();
    assert!(last.path.contains("digest=sha256%3A"), "{}", last.path);
    assert_eq!(last.header("content-range").unwrap().split('-').next(), Some("33554432"));
    let manifest = seen.last().unwrap();
    assert_eq!(manifest.path, format!("/v2/a/manifests/{}", named(&id)));
}
