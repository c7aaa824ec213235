//! The real public clients, as they are published, against the built binary.

use std::fs;

use crate::{
    proxy::Proxy,
    support::{
        clients::{Client, GO, JAVASCRIPT, PYTHON, setup},
        is_root, skip,
    },
};

mod python {
    use super::*;

    #[tokio::test]
    async fn sandbox() {
        plain(&PYTHON, "sandbox").await;
    }

    #[tokio::test]
    async fn files() {
        files_of(&PYTHON).await;
    }

    #[tokio::test]
    async fn tokens() {
        plain(&PYTHON, "tokens").await;
    }

    #[tokio::test]
    async fn entrypoint() {
        entrypoint_of(&PYTHON).await;
    }

    #[tokio::test]
    async fn cuts() {
        cuts_of(&PYTHON).await;
    }

    #[tokio::test]
    async fn patience() {
        plain(&PYTHON, "patience").await;
    }

    #[tokio::test]
    async fn denied() {
        if !is_root() {
            return skip("files of another user in python", "not root");
        }
        if PYTHON.ready() {
            let agent = setup().flags(["--user", "nobody", "--workdir", "/"]).start().await;
            PYTHON.cases("denied", &agent, agent.host_and_port()).await;
        }
    }
}

mod javascript {
    use super::*;

    #[tokio::test]
    async fn sandbox() {
        plain(&JAVASCRIPT, "sandbox").await;
    }

    #[tokio::test]
    async fn files() {
        files_of(&JAVASCRIPT).await;
    }

    #[tokio::test]
    async fn tokens() {
        plain(&JAVASCRIPT, "tokens").await;
    }

    #[tokio::test]
    async fn entrypoint() {
        entrypoint_of(&JAVASCRIPT).await;
    }

    #[tokio::test]
    async fn cuts() {
        cuts_of(&JAVASCRIPT).await;
    }

    #[tokio::test]
    async fn tls() {
        tls_of(&JAVASCRIPT).await;
    }
}

mod go {
    use super::*;

    #[tokio::test]
    async fn sandbox() {
        plain(&GO, "sandbox").await;
    }

    #[tokio::test]
    async fn files() {
        files_of(&GO).await;
    }

    #[tokio::test]
    async fn tokens() {
        plain(&GO, "tokens").await;
    }

    #[tokio::test]
    async fn entrypoint() {
        entrypoint_of(&GO).await;
    }

    #[tokio::test]
    async fn cuts() {
        cuts_of(&GO).await;
    }

    #[tokio::test]
    async fn tls() {
        tls_of(&GO).await;
    }
}

/// Cases that want nothing special of their agent.
async fn plain(client: &Client, subject: &str) {
    if client.ready() {
        let agent = setup().start().await;
        client.cases(subject, &agent, agent.host_and_port()).await;
    }
}

async fn files_of(client: &Client) {
    if client.ready() {
        let setup = setup();
        let place = setup.dir.path().to_str().unwrap().to_string();
        // What the cases leave goes with it.
        let agent = setup.env("TMPDIR", &place).start().await;
        client.cases("files", &agent, agent.host_and_port()).await;
    }
}

async fn entrypoint_of(client: &Client) {
    if client.ready() {
        let script = "echo begin; echo words >&2; cat; echo end";
        let setup = setup().flags(["--entrypoint-stdin", "rpc", "--keep"]);
        let agent = setup.entrypoint(["sh", "-c", script]).start().await;
        client.cases("entrypoint", &agent, agent.host_and_port()).await;
    }
}

async fn cuts_of(client: &Client) {
    if client.ready() {
        let agent = setup().start().await;
        // The client resumes a stream of input nine times and no more.
        let proxy = Proxy::with_allowance(agent.host_and_port(), 7, 700_000).await;
        client.cases("cuts", &agent, &proxy.host_and_port).await;
        assert!(proxy.resets() > 10, "only {} resets", proxy.resets());
    }
}

/// Where the control plane is elsewhere, the client wants TLS, with a certificate that it trusts.
async fn tls_of(client: &Client) {
    if client.ready() {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_string()]).unwrap();
        let setup = setup();
        let [certificate, key] = ["certificate", "key"].map(|name| setup.path(name));
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let setup = setup.flags(["--tls-cert", &certificate, "--tls-key", &key]);
        let agent = setup.start().await;
        let variables = [
            ("DOORWARD_CONTROL_PLANE", "https://control.invalid"),
            ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", &certificate),
            ("SSL_CERT_FILE", &certificate),
        ];
        client.cases_with("tokens", &agent, agent.host_and_port(), &variables).await;
    }
}
