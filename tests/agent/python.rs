//! The real Python client, as it is published, against the built binary.

use crate::{
    proxy::Proxy,
    support::{
        is_root,
        python::{cases, ready, setup},
        skip,
    },
};

#[tokio::test]
async fn sandbox() {
    if ready() {
        let agent = setup().start().await;
        cases("sandbox", &agent, agent.host_and_port()).await;
    }
}

#[tokio::test]
async fn files() {
    if ready() {
        let setup = setup();
        let place = setup.dir.path().to_str().unwrap().to_string();
        // What the cases leave goes with it.
        let agent = setup.env("TMPDIR", &place).start().await;
        cases("files", &agent, agent.host_and_port()).await;
    }
}

#[tokio::test]
async fn denied() {
    if !is_root() {
        return skip("files of another user in python", "not root");
    }
    if ready() {
        let agent = setup().flags(["--user", "nobody", "--workdir", "/"]).start().await;
        cases("denied", &agent, agent.host_and_port()).await;
    }
}

#[tokio::test]
async fn tokens() {
    if ready() {
        let agent = setup().start().await;
        cases("tokens", &agent, agent.host_and_port()).await;
    }
}

#[tokio::test]
async fn entrypoint() {
    if ready() {
        let script = "echo begin; echo words >&2; cat; echo end";
        let setup = setup().flags(["--entrypoint-stdin", "rpc", "--keep"]);
        let agent = setup.entrypoint(["sh", "-c", script]).start().await;
        cases("entrypoint", &agent, agent.host_and_port()).await;
    }
}

#[tokio::test]
async fn cuts() {
    if ready() {
        let agent = setup().start().await;
        // The client resumes a stream of input nine times and no more.
        let proxy = Proxy::with_allowance(agent.host_and_port(), 7, 700_000).await;
        cases("cuts", &agent, &proxy.host_and_port).await;
        assert!(proxy.resets() > 10, "only {} resets", proxy.resets());
    }
}

#[tokio::test]
async fn patience() {
    if ready() {
        let agent = setup().start().await;
        cases("patience", &agent, agent.host_and_port()).await;
    }
}
