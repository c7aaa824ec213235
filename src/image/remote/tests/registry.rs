//! Debian's docker-registry, and skopeo beside us.

use super::{
    Guard, Local, PASSWORD, Pull, USER, docker_registry, named, noise, open, options, wanted,
};
use crate::{
    core::image::{Digest, Ttl},
    image::{
        manifest::{Descriptor, EXPIRES_ANNOTATION, Index, Manifest, Platform, media},
        remote::{Kind, Name, RemoteError, RemoteTag, http::LinkError},
        store::{
            NewImage,
            tests::{at, read_json, skopeo, tar},
        },
    },
};

fn tag(text: &str) -> Name {
    Name::Tag(RemoteTag::parse(text).unwrap())
}

#[tokio::test]
async fn an_image_goes_through_a_registry_with_tls_and_a_password() {
    let name = "remote::registry::tls";
    let Some(server) = docker_registry(name, Guard::TlsAndPassword) else { return };
    let (here, there) = (Local::new(), Local::new());
    let layer = noise(300_000);
    let id = here.add(&[&layer, &tar("second", b"2")]);
    let remote = open(&server.location("oci", "team/images"), &server.options()).await;
    assert_eq!(remote.find(&named(&id)).await.unwrap(), None);
    assert!(remote.list().await.unwrap().is_empty());

    let pushed = here.push(&remote, &id).await.unwrap();
    assert!(pushed.bytes > layer.len() as u64);
    assert_eq!(remote.find(&named(&id)).await.unwrap(), Some(pushed.manifest));
    assert_eq!(remote.list().await.unwrap(), [id.to_string()]);
    // A repeat sends nothing; an image that shares a layer sends the rest.
    assert_eq!(here.push(&remote, &id).await.unwrap().bytes, 0);
    let second = here.add(&[&layer, &tar("other", b"3")]);
    let other = here.push(&remote, &second).await.unwrap();
    assert!(other.bytes > 0 && other.bytes < layer.len() as u64);

    let pulled = there.pull(&remote, named(&id)).await.unwrap();
    assert_eq!(pulled.hold.id(), &id);
    assert_eq!((pulled.hold.manifest(), pulled.bytes), (pushed.manifest, pushed.bytes));
    assert!(there.is_whole(&id));
    assert_eq!(there.pull(&remote, named(&id)).await.unwrap().bytes, 0);
    let by_digest = there.pull(&remote, Name::Digest(other.manifest)).await.unwrap();
    assert_eq!((by_digest.hold.manifest(), by_digest.bytes), (other.manifest, other.bytes));
}

#[tokio::test]
async fn skopeo_reads_what_was_pushed_and_we_read_what_it_pushes() {
    let name = "remote::registry::skopeo";
    let Some(server) = docker_registry(name, Guard::TlsAndPassword) else { return };
    let here = Local::new();
    let id = here.add(&[&noise(50_000)]);
    let remote = open(&server.location("oci", "a"), &server.options()).await;
    let pushed = here.push(&remote, &id).await.unwrap();
    std::fs::create_dir(server.path("certs")).unwrap();
    std::fs::copy(server.path("cert.pem"), server.path("certs/ca.crt")).unwrap();
    let certs = server.path("certs").to_str().unwrap().to_owned();
    let password = format!("{USER}:{PASSWORD}");
    let docker = |name: &str| server.location("docker", name);
    let copy = format!("oci:{}", server.path("copy").display());
    let from = docker(&format!("a:{id}"));
    let arguments = ["--src-cert-dir", &certs, "--src-creds", &password, &from, &copy];
    let read = [&["copy", "--preserve-digests"][..], &arguments].concat();
    if skopeo(name, &read).is_none() {
        return;
    }
    let index = read_json(&server.path("copy/index.json"));
    assert_eq!(index["manifests"][0]["digest"], pushed.manifest.to_string());

    // In Docker's form, which has other manifests for the same layers.
    let to = docker("foreign:v2");
    let arguments = ["--dest-cert-dir", &certs, "--dest-creds", &password, &copy, &to];
    let written = [&["copy", "--format", "v2s2", "--dest-compress"][..], &arguments].concat();
    skopeo(name, &written).unwrap();
    let foreign = open(&server.location("oci", "foreign"), &server.options()).await;
    let pulled = here.pull(&foreign, tag("v2")).await.unwrap();
    assert_ne!(pulled.hold.manifest(), pushed.manifest);
    assert!(here.is_whole(pulled.hold.id()));
}

#[tokio::test]
async fn of_an_index_the_image_for_this_machine_is_taken() {
    let Some(server) = docker_registry("remote::registry::index", Guard::Open) else { return };
    let here = Local::new();
    let (ours, others) = (here.add(&[&tar("ours", b"1")]), here.add(&[&tar("others", b"2")]));
    let remote = open(&server.location("oci", "a"), &options(&[])).await;
    let (ours, others) = (
        here.push(&remote, &ours).await.unwrap().manifest,
        here.push(&remote, &others).await.unwrap().manifest,
    );
    let size = |digest: &Digest| here.store.blob(digest).unwrap().metadata().unwrap().len();
    let entry = |digest: Digest, platform: Platform| Descriptor {
        platform: Some(platform),
        ..Descriptor::new(media::MANIFEST, digest, size(&digest))
    };
    let elsewhere = Platform { architecture: "s390x".into(), ..Platform::here() };
    let manifests = vec![entry(others, elsewhere), entry(ours, Platform::here())];
    let media_type = Some(media::INDEX.to_owned());
    let index = Index { schema_version: 2, media_type, manifests, rest: Default::default() };
    let bytes = serde_json::to_vec(&index).unwrap();
    let Kind::Registry(registry) = &*remote.kind else { panic!("it is a registry") };
    registry.publish(&tag("many"), media::INDEX, &bytes).await.unwrap();
    let pulled = here.pull(&remote, tag("many")).await.unwrap();
    assert_eq!(pulled.hold.manifest(), ours);
    // By the digest of the index too.
    let pulled = here.pull(&remote, Name::Digest(Digest::of(&bytes))).await.unwrap();
    assert_eq!(pulled.hold.manifest(), ours);
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why_and_no_secret() {
    let name = "remote::registry::refusals";
    let Some(server) = docker_registry(name, Guard::TlsAndPassword) else { return };
    let here = Local::new();
    let id = here.add(&[&tar("a", b"1")]);
    let location = server.location("oci", "a");
    let wrong = open(&location, &server.options_as(&[USER, "wr0ng"])).await;
    let error = here.push(&wrong, &id).await.unwrap_err();
    let text = format!("{error} {error:?} {wrong:?} {:?}", server.options());
    assert!(matches!(error, RemoteError::Unauthorized { .. }), "{text}");
    assert!(text.contains("auth.json") && text.contains("status 401"), "{text}");
    assert!(!text.contains("wr0ng") && !text.contains("d3IwbmcK"), "{text}");

    let mut nobody = server.options();
    nobody.environment = [("HOME".to_owned(), "/nonexistent".to_owned())].into();
    let error = here.push(&open(&location, &nobody).await, &id).await.unwrap_err();
    assert!(error.to_string().contains("no password for it was found"), "{error}");
    assert!(error.to_string().contains(&location), "{error}");

    let mut stranger = server.options();
    stranger.ca = None;
    let error = here.push(&open(&location, &stranger).await, &id).await.unwrap_err();
    let untrusted = matches!(&error, RemoteError::Link { source: LinkError::Untrusted(_), .. });
    assert!(untrusted, "{error}");
}

#[tokio::test]
async fn without_tls_no_password_is_told_unless_the_operator_wrote_so() {
    let Some(server) = docker_registry("remote::registry::plain", Guard::Password) else { return };
    let here = Local::new();
    let id = here.add(&[&tar("a", b"1")]);
    let loopback = open(&server.location("oci", "a"), &server.options()).await;
    let error = here.push(&loopback, &id).await.unwrap_err();
    assert!(error.to_string().contains("oci+http://"), "{error}");
    let plain = open(&server.location("oci+http", "a"), &server.options()).await;
    here.push(&plain, &id).await.unwrap();
}

#[tokio::test]
async fn a_name_that_is_taken_stays_what_it_is_and_a_tag_moves() {
    let Some(server) = docker_registry("remote::registry::taken", Guard::Open) else { return };
    let here = Local::new();
    let (one, other) = (here.add(&[&tar("a", b"1")]), here.add(&[&tar("a", b"2")]));
    let remote = open(&server.location("oci", "a"), &options(&[])).await;
    let first = here.push(&remote, &one).await.unwrap().manifest;
    let error = here.push_as(&remote, &other, named(&one)).await.unwrap_err();
    assert!(matches!(error, RemoteError::Taken { theirs, .. } if theirs == first), "{error}");
    here.push_as(&remote, &one, tag("latest")).await.unwrap();
    let second = here.push_as(&remote, &other, tag("latest")).await.unwrap().manifest;
    assert_eq!(remote.find(&tag("latest")).await.unwrap(), Some(second));
    assert_eq!(remote.find(&named(&one)).await.unwrap(), Some(first));
}

#[tokio::test]
async fn a_tag_is_taken_away_and_never_one_beside_it() {
    let Some(server) = docker_registry("remote::registry::remove", Guard::Open) else { return };
    let here = Local::new();
    let (one, other) = (here.add(&[&tar("a", b"1")]), here.add(&[&tar("a", b"2")]));
    let remote = open(&server.location("oci", "a"), &options(&[])).await;
    here.push(&remote, &one).await.unwrap();
    here.push(&remote, &other).await.unwrap();
    here.push_as(&remote, &one, tag("again")).await.unwrap();
    // This registry removes manifests with all their tags.
    let error = remote.remove(&named(&one)).await.unwrap_err();
    assert!(error.to_string().contains("again"), "{error}");
    remote.remove(&named(&other)).await.unwrap();
    assert_eq!(remote.find(&named(&other)).await.unwrap(), None);
    assert!(remote.find(&named(&one)).await.unwrap().is_some());
    let error = remote.remove(&named(&other)).await.unwrap_err();
    assert!(matches!(error, RemoteError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn an_end_that_a_manifest_says_is_kept_to() {
    let Some(server) = docker_registry("remote::registry::until", Guard::Open) else { return };
    let (here, there, late) = (Local::new(), Local::new(), Local::new());
    let remote = open(&server.location("oci", "a"), &options(&[])).await;
    let plain = here.store.hold(&here.add(&[&tar("a", b"1")]), at(1)).unwrap();
    let path = here.place.store.path().join("blobs/sha256").join(plain.manifest().hex());
    let mut manifest: Manifest = serde_json::from_value(read_json(&path)).unwrap();
    manifest.annotations.insert(EXPIRES_ANNOTATION.into(), "2023-11-14T22:15:00Z".into());
    let blobs = manifest.blobs().map(|blob| here.store.pin(&blob.digest).unwrap()).collect();
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let (ttl, snapshot_id, tag) = (Ttl::Never, None, None);
    let new = NewImage { manifest, blobs, ttl, snapshot_id, tag };
    let id = here.store.add_image(new, at(1)).unwrap().id().clone();
    here.push(&remote, &id).await.unwrap();
    let pull = |now| Pull { now, ..wanted(named(&id)) };
    let pulled = there.pull_now(&remote, pull(at(99))).await.unwrap();
    assert_eq!(pulled.hold.image().ttl, Ttl::Until(at(100)));
    let answer = late.pull_now(&remote, pull(at(100))).await;
    assert!(matches!(answer, Err(RemoteError::NotFound { .. })), "{answer:?}");
}
