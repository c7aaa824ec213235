//! `images push` and `images pull`.

use doorward::wire::doorward::v1::{PullImageRequest, PushImageRequest};

use crate::support::Server;

#[test]
fn a_push_prints_the_digest() {
    let server = Server::start();
    let to = "oci://localhost:5000/team/x:1";
    server.run(&["images", "push", "base", to]).is(0, "sha256:feed\n", "");
    let json = server.json(&["images", "push", "--plain-http", "base", to]);
    assert_eq!(json["id"], "im-abc");
    let asked = server.seen::<PushImageRequest>();
    assert_eq!((&asked[0].image[..], &asked[0].to[..], asked[0].plain_http), ("base", to, false));
    assert!(asked[1].plain_http);
    let said = format!("doorward: failed to push nobody to {to}: no image nobody here\n");
    server.run(&["images", "push", "nobody", to]).is(1, "", &said);
}

#[test]
fn a_pull_prints_the_id() {
    let server = Server::start();
    let from = "oci://registry.example/x@sha256:00";
    let args = ["images", "pull", "--ttl", "60", "--tag", "x", from];
    server.run(&args).is(0, "im-abc\n", "");
    let asked = PullImageRequest {
        task_id: "ours".into(),
        from: from.into(),
        plain_http: false,
        ttl_seconds: Some(60),
        tag: "x".into(),
    };
    assert_eq!(server.seen::<PullImageRequest>(), [asked]);
    assert_eq!(server.json(&["images", "pull", from])["layers"][1]["digest"], "sha256:1b");
    let said = "doorward: failed to pull oci://forbidden/x: it was not started with --allow-remote-images\n";
    server.run(&["images", "pull", "oci://forbidden/x"]).is(1, "", said);
}
