//! Token services: what they are asked, and who is told a password.

use std::sync::atomic::{AtomicU32, Ordering};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{
    Options,
    fake::{Answer, Fake, Seen, answer},
    open, options,
};
use crate::image::remote::{Location, Name, Remote, RemoteError, RemoteTag};

fn latest() -> Name {
    Name::Tag(RemoteTag::latest())
}

/// Options with one entry for a registry.
fn with_entry(directory: &tempfile::TempDir, port: u16, entry: serde_json::Value) -> Options {
    let host = format!("127.0.0.1:{port}");
    let path = directory.path().join(format!("{port}.json"));
    std::fs::write(&path, json!({"auths": {host: entry}}).to_string()).unwrap();
    options(&[("REGISTRY_AUTH_FILE", path.to_str().unwrap())])
}

/// A registry whose token service is itself. Its tokens are t1, t2, …; the first is soon too old.
fn guarded(tokens: &AtomicU32, seen: &Seen) -> Answer {
    let host = seen.header("host").unwrap();
    if seen.path.starts_with("/token") {
        let count = tokens.fetch_add(1, Ordering::SeqCst) + 1;
        return answer(200, &[], json!({"token": format!("t{count}")}).to_string());
    }
    let good = format!("Bearer t{}", tokens.load(Ordering::SeqCst));
    if seen.header("authorization") != Some(&good) {
        let scope = "repository:a:pull";
        let asked = format!(r#"Bearer realm="http://{host}/token",service="s",scope="{scope}""#);
        return answer(401, &[("www-authenticate", &asked)], "");
    }
    answer(200, &[], r#"{"tags": ["one", "two"]}"#)
}

#[tokio::test]
async fn a_token_is_got_with_the_password_and_got_again_when_it_is_too_old() {
    let tokens = std::sync::Arc::new(AtomicU32::new(0));
    let shared = tokens.clone();
    let fake = Fake::new(move |seen| guarded(&shared, seen)).await;
    let directory = tempfile::tempdir().unwrap();
    let entry = json!({"auth": STANDARD.encode("me:s3cret")});
    let options = with_entry(&directory, fake.port, entry);
    let remote = open(&format!("oci+http://127.0.0.1:{}/a", fake.port), &options).await;
    assert_eq!(remote.list().await.unwrap(), ["one", "two"]);
    let seen = fake.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[1].path, "/token?service=s&scope=repository%3Aa%3Apull");
    let basic = format!("Basic {}", STANDARD.encode("me:s3cret"));
    assert_eq!(seen[1].header("authorization"), Some(&basic[..]));
    // The token is kept …
    remote.list().await.unwrap();
    assert_eq!(fake.seen().len(), 4);
    // … until it is refused.
    tokens.fetch_add(1, Ordering::SeqCst);
    remote.list().await.unwrap();
    assert_eq!(fake.seen().len(), 7);
    // All that over one connection.
    assert_eq!(fake.links(), 1);
}

#[tokio::test]
async fn an_identity_token_is_not_put_into_an_address() {
    let tokens = AtomicU32::new(0);
    let fake = Fake::new(move |seen| guarded(&tokens, seen)).await;
    let directory = tempfile::tempdir().unwrap();
    let options = with_entry(&directory, fake.port, json!({"identitytoken": "s3cret"}));
    let remote = open(&format!("oci+http://127.0.0.1:{}/a", fake.port), &options).await;
    remote.list().await.unwrap();
    let asked = &fake.seen()[1];
    assert_eq!((asked.method.as_str(), &asked.path[..]), ("POST", "/token"));
    let form = String::from_utf8(asked.body.to_vec()).unwrap();
    for part in ["grant_type=refresh_token", "refresh_token=s3cret", "service=s"] {
        assert!(form.contains(part), "{form}");
    }
}

#[tokio::test]
async fn who_keeps_its_password_with_a_program_is_told_so() {
    let asked = [("www-authenticate", "Basic realm=x")];
    let fake = Fake::new(move |_| answer(401, &asked, "")).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    std::fs::write(&path, r#"{"auths": {}, "credsStore": "desktop"}"#).unwrap();
    let options = options(&[("DOCKER_CONFIG", directory.path().to_str().unwrap())]);
    let remote = open(&format!("oci+http://127.0.0.1:{}/a", fake.port), &options).await;
    let error = remote.list().await.unwrap_err();
    assert!(error.to_string().contains("docker-credential-desktop"), "{error}");
}

#[tokio::test]
async fn on_loopback_without_tls_nobody_is_told_anything() {
    let asked = [("www-authenticate", "Basic realm=x")];
    let fake = Fake::new(move |_| answer(401, &asked, "")).await;
    let directory = tempfile::tempdir().unwrap();
    let entry = json!({"username": "me", "password": "s3cret"});
    let options = with_entry(&directory, fake.port, entry);
    let remote = open(&format!("oci://127.0.0.1:{}/a", fake.port), &options).await;
    let error = remote.find(&latest()).await.unwrap_err();
    assert!(matches!(error, RemoteError::Unauthorized { .. }), "{error}");
    let seen = fake.seen();
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.header("authorization").is_none()));
}

#[tokio::test]
async fn another_host_is_not_told_what_proves_who_we_are() {
    let elsewhere = Fake::new(|_| answer(404, &[], "")).await;
    let target = format!("http://127.0.0.1:{}/blob", elsewhere.port);
    let fake = Fake::new(move |seen| match seen.header("authorization") {
        None => answer(401, &[("www-authenticate", "Basic realm=x")], ""),
        Some(_) => answer(307, &[("location", &target)], ""),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let entry = json!({"username": "me", "password": "s3cret"});
    let options = with_entry(&directory, fake.port, entry);
    let remote = open(&format!("oci+http://127.0.0.1:{}/a", fake.port), &options).await;
    assert_eq!(remote.find(&latest()).await.unwrap(), None);
    let seen = elsewhere.seen();
    assert_eq!((seen.len(), seen[0].header("authorization")), (1, None));
}

#[tokio::test]
async fn files_that_are_of_no_use_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    std::fs::write(&path, "{").unwrap();
    let text = path.to_str().unwrap();
    let location = Location::parse("oci://r.example/a").unwrap();
    let broken = options(&[("REGISTRY_AUTH_FILE", text)]);
    let mut no_certificate = options(&[]);
    no_certificate.ca = Some(path.clone());
    for options in [broken, no_certificate] {
        let error = Remote::open(&location, &options).await.unwrap_err();
        assert!(matches!(error, RemoteError::Setting { .. }), "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
}
