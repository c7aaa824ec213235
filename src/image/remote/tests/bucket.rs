//! A real bucket: s3s-fs.

use super::{
    Cutter, Local, Options, Way, named, noise, open, options,
    servers::{KEY, SECRET, Server},
    wanted,
};
use crate::{
    core::image::Ttl,
    image::{
        remote::{Kind, Meter, Name, RemoteError, bucket::Record, http::LinkError},
        store::tests::{at, skip, tar},
    },
};

/// More than one part, and the last one shorter.
const LAYER: usize = 20 << 20;

/// A server with an empty bucket.
fn server(test: &str) -> Option<Server> {
    Server::bucket().map_err(|why| skip(test, &why)).ok()
}

fn keys(port: u16, secret: &str) -> Options {
    let endpoint = format!("http://127.0.0.1:{port}");
    options(&[
        ("AWS_ENDPOINT_URL", &endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", secret),
    ])
}

#[tokio::test]
async fn an_image_goes_through_a_bucket() {
    let Some(server) = server("remote::bucket") else { return };
    let (here, there) = (Local::new(), Local::new());
    let layer = noise(LAYER);
    let id = here.add(&[&layer, &tar("second", b"2")]);
    let remote = open("s3://bucket/some/images", &keys(server.port, SECRET)).await;
    assert_eq!(remote.find(&named(&id)).await.unwrap(), None);
    assert!(remote.list().await.unwrap().is_empty());

    let pushed = here.push(&remote, &id).await.unwrap();
    assert!(pushed.bytes > layer.len() as u64);
    assert_eq!(remote.find(&named(&id)).await.unwrap(), Some(pushed.manifest));
    assert_eq!(remote.list().await.unwrap(), [id.to_string()]);
    assert_eq!(here.push(&remote, &id).await.unwrap().bytes, 0);
    let second = here.add(&[&layer, &tar("other", b"3")]);
    let other = here.push(&remote, &second).await.unwrap();
    assert!(other.bytes > 0 && other.bytes < layer.len() as u64);
    // As in a layout.
    let blob = format!("bucket/some/images/blobs/sha256/{}", pushed.manifest.hex());
    assert!(server.path(&blob).exists());

    let pulled = there.pull(&remote, named(&id)).await.unwrap();
    assert_eq!((pulled.hold.id(), pulled.hold.manifest()), (&id, pushed.manifest));
    assert_eq!(pulled.bytes, pushed.bytes);
    assert!(there.is_whole(&id));

    remote.remove(&named(&id)).await.unwrap();
    assert_eq!(remote.list().await.unwrap(), [second.to_string()]);
    let error = remote.remove(&named(&id)).await.unwrap_err();
    assert!(matches!(error, RemoteError::NotFound { .. }), "{error}");
    let error = here.push_as(&remote, &id, Name::Digest(pushed.manifest)).await.unwrap_err();
    assert!(matches!(error, RemoteError::Unsupported { .. }), "{error}");
}

#[tokio::test]
async fn an_id_is_never_written_over() {
    let Some(server) = server("remote::bucket::taken") else { return };
    let here = Local::new();
    let (one, other) = (here.add(&[&tar("a", b"1")]), here.add(&[&tar("a", b"2")]));
    let remote = open("s3://bucket", &keys(server.port, SECRET)).await;
    let ours = here.push(&remote, &one).await.unwrap().manifest;
    let error = here.push_as(&remote, &other, named(&one)).await.unwrap_err();
    assert!(matches!(error, RemoteError::Taken { theirs, .. } if theirs == ours), "{error}");
    // Also where two look at the same time and both find nothing: the bucket decides.
    let Kind::Bucket(bucket) = &*remote.kind else { panic!("it is a bucket") };
    let record = bucket.record(&named(&one)).await.unwrap();
    bucket.publish(&named(&one), &record).await.unwrap();
    let mut others = record.manifest.clone();
    others.digest = crate::core::image::Digest::of(b"");
    let error = bucket.publish(&named(&one), &Record::new(others, None)).await.unwrap_err();
    assert!(matches!(error, RemoteError::Taken { theirs, .. } if theirs == ours), "{error}");
}

#[tokio::test]
async fn what_was_to_end_ends_everywhere() {
    let Some(server) = server("remote::bucket::until") else { return };
    let (here, there) = (Local::new(), Local::new());
    let id = here.place.add(&[&tar("a", b"1")], Ttl::Until(at(100)), at(1));
    let remote = open("s3://bucket", &keys(server.port, SECRET)).await;
    here.push(&remote, &id).await.unwrap();
    let mut late = wanted(named(&id));
    late.now = at(100);
    let error = remote.pull(&there.store, late, &Meter::silent()).await.unwrap_err();
    assert!(matches!(error, RemoteError::NotFound { .. }), "{error}");
    let pulled = there.pull(&remote, named(&id)).await.unwrap();
    assert_eq!(pulled.hold.image().ttl, Ttl::Until(at(100)));
}

#[tokio::test]
async fn what_is_damaged_here_does_not_get_there() {
    let Some(server) = server("remote::bucket::damage") else { return };
    let remote = open("s3://bucket", &keys(server.port, SECRET)).await;
    for size in [LAYER, 1000] {
        let here = Local::new();
        let layer = noise(size);
        let id = here.add(&[&layer]);
        let path = here.place.blob_path(&crate::core::image::Digest::of(&layer));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[size / 2] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = here.push(&remote, &id).await.unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
        assert_eq!(remote.find(&named(&id)).await.unwrap(), None);
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(!server.path(&format!("bucket/blobs/sha256/{name}")).exists());
    }
}

#[tokio::test]
async fn a_pull_goes_on_where_it_was_cut() {
    let Some(server) = server("remote::bucket::breaks") else { return };
    let (here, there) = (Local::new(), Local::new());
    let id = here.add(&[&noise(LAYER)]);
    here.push(&open("s3://bucket", &keys(server.port, SECRET)).await, &id).await.unwrap();
    let cutter = Cutter::new(server.port, Way::Down, 4_000_000, 4).await;
    let remote = open("s3://bucket", &keys(cutter.port, SECRET)).await;
    there.pull(&remote, named(&id)).await.unwrap();
    assert!(there.is_whole(&id));
    let moved = cutter.moved(Way::Down);
    assert_eq!(cutter.cut(), 4);
    assert!(moved < LAYER as u64 * 3 / 2, "{moved} bytes for {LAYER}");
}

#[tokio::test]
async fn a_push_that_was_cut_is_finished() {
    let Some(server) = server("remote::bucket::push") else { return };
    let (here, there) = (Local::new(), Local::new());
    let id = here.add(&[&noise(LAYER)]);
    let cutter = Cutter::new(server.port, Way::Up, 3_000_000, 3).await;
    let remote = open("s3://bucket", &keys(cutter.port, SECRET)).await;
    here.push(&remote, &id).await.unwrap();
    assert_eq!(cutter.cut(), 3);
    there.pull(&remote, named(&id)).await.unwrap();
    assert!(there.is_whole(&id));
}

#[tokio::test]
async fn refusals_are_told_without_secrets() {
    let Some(server) = server("remote::bucket::refusals") else { return };
    let here = Local::new();
    let id = here.add(&[&tar("a", b"1")]);
    let wrong = open("s3://bucket", &keys(server.port, "wr0ng")).await;
    let error = here.push(&wrong, &id).await.unwrap_err();
    let text = format!("{error} {error:?} {wrong:?} {:?}", keys(server.port, "wr0ng"));
    assert!(matches!(error, RemoteError::Unauthorized { .. }), "{text}");
    assert!(text.contains("s3://bucket") && !text.contains("wr0ng"), "{text}");

    let mut tls_only = keys(server.port, SECRET);
    tls_only.environment.remove("AWS_ALLOW_HTTP");
    let error = here.push(&open("s3://bucket", &tls_only).await, &id).await.unwrap_err();
    let plain = matches!(&error, RemoteError::Link { source: LinkError::Plain, .. });
    assert!(plain, "{error}");
}
