//! Tests of the server over real sockets, with the health service as what is served.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    task::{Context, Poll},
};

use http::uri::PathAndQuery;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    },
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Uri},
};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

use super::*;
use crate::core::limits::{OPEN_CALLS_MAX, OPEN_REQUEST_BYTES_MAX};
use crate::doors::{
    address::Address,
    auth::{Certificates, static_tokens::StaticTokens, token::Tokens},
    listen::Reach,
};

const LEAVE: Duration = Duration::from_secs(5);

struct Running {
    address: Address,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Running {
    fn socket(&self) -> SocketAddr {
        match &self.address {
            Address::Tcp(socket) => *socket,
            Address::Unix(path) => panic!("a Unix socket: {}", path.display()),
        }
    }

    async fn channel(&self) -> Channel {
        let target = match &self.address {
            Address::Tcp(socket) => format!("http://{socket}"),
            Address::Unix(path) => format!("unix://{}", path.display()),
        };
        Endpoint::from_shared(target).unwrap().connect().await.unwrap()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap();
    }
}

/// What a test's server has that the plain one has not.
struct Setup {
    address: Address,
    tokens: &'static str,
    tls: Option<ServerConfig>,
    strangers: usize,
}

impl Default for Setup {
    fn default() -> Self {
        let address = Address::parse("tcp://127.0.0.1:0", b"").unwrap();
        Self { address, tokens: "", tls: None, strangers: STRANGERS_MAX }
    }
}

fn start(setup: Setup) -> Running {
    let (_, health) = tonic_health::server::health_reporter();
    let listener = Listener::bind(&setup.address, Reach::Own).unwrap();
    let address = listener.address().clone();
    let fixed = StaticTokens::parse(setup.tokens.as_bytes()).unwrap_or_default();
    let tokens = Tokens::new(Vec::new(), fixed, None);
    let own = rustix::process::geteuid().as_raw();
    let policy = Policy::new(tokens, Certificates::NotAsked, BTreeSet::from([own]));
    let mut server = Server::new(health, Arc::new(policy), setup.tls.map(Arc::new));
    server.strangers = Strangers::new(setup.strangers);
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { stopped.await.unwrap_or_default() };
    let ended = tokio::spawn(server.run(vec![listener], stopped, LEAVE));
    Running { address, stop, ended }
}

fn request() -> HealthCheckRequest {
    HealthCheckRequest { service: String::new() }
}

async fn check(channel: Channel) -> Result<i32, Status> {
    Ok(HealthClient::new(channel).check(request()).await?.into_inner().status)
}

/// A call of something that is not open to everybody and not there either.
async fn call(channel: Channel, token: Option<&str>) -> Code {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let mut request = tonic::Request::new(request());
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", token.parse().unwrap());
    }
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let path = PathAndQuery::from_static("/no.Such/Method");
    grpc.unary(request, path, codec).await.unwrap_err().code()
}

/// Reads until the other side closes.
async fn closed(mut stream: TcpStream) -> usize {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap_or_default()
}

#[tokio::test]
async fn health_over_tcp_and_unix() {
    let directory = tempfile::tempdir().unwrap();
    let unix = Address::unix(&directory.path().join("s")).unwrap();
    for address in [Setup::default().address, unix.clone()] {
        let running = start(Setup { address, ..Setup::default() });
        assert_eq!(check(running.channel().await).await.unwrap(), 1);
        running.stop().await;
    }
    assert!(Listener::bind(&unix, Reach::Own).is_ok(), "the socket is gone");
}

#[tokio::test]
async fn only_health_needs_no_token() {
    let running = start(Setup { tokens: "secret", ..Setup::default() });
    let channel = running.channel().await;
    assert_eq!(check(channel.clone()).await.unwrap(), 1);
    for (token, code) in [
        (None, Code::Unauthenticated),
        (Some("Bearer wrong"), Code::Unauthenticated),
        (Some("Bearer secret"), Code::Unimplemented),
    ] {
        assert_eq!(call(channel.clone(), token).await, code, "{token:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn calls_without_authentication_are_few_and_small() {
    let running = start(Setup { tokens: "secret", ..Setup::default() });
    let channel = running.channel().await;
    let mut client = HealthClient::new(channel.clone());
    let large = HealthCheckRequest { service: "x".repeat(OPEN_REQUEST_BYTES_MAX) };
    assert!(client.check(large).await.is_err());
    let mut watches = Vec::new();
    for _ in 0..OPEN_CALLS_MAX {
        watches.push(client.watch(request()).await.unwrap().into_inner());
    }
    let refused = client.check(request()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(call(channel, Some("Bearer secret")).await, Code::Unimplemented);
    watches.clear();
    while client.check(request()).await.is_err() {}
    running.stop().await;
}

#[tokio::test]
async fn an_upload_that_is_refused_gets_its_status() {
    let running = start(Setup { tokens: "secret", ..Setup::default() });
    let mut grpc = tonic::client::Grpc::new(running.channel().await);
    for _ in 0..20 {
        grpc.ready().await.unwrap();
        let large = HealthCheckRequest { service: "x".repeat(1 << 20) };
        let stream = tokio_stream::iter(std::iter::repeat_n(large, 8));
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
        let path = PathAndQuery::from_static("/no.Such/Method");
        let answer = grpc.client_streaming(tonic::Request::new(stream), path, codec).await;
        assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated);
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_or_something_else_is_closed() {
    let running = start(Setup::default());
    let begun = tokio::time::Instant::now();
    let silent = TcpStream::connect(running.socket()).await.unwrap();
    assert_eq!(closed(silent).await, 0);
    assert!(begun.elapsed() >= HANDSHAKE, "{:?}", begun.elapsed());
    let mut http1 = TcpStream::connect(running.socket()).await.unwrap();
    http1.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(closed(http1).await > 0);
    running.stop().await;
}

#[tokio::test]
async fn a_full_house_of_strangers_closes_the_oldest() {
    let running = start(Setup { tokens: "secret", strangers: 2, ..Setup::default() });
    let known = running.channel().await;
    assert_eq!(call(known.clone(), Some("Bearer secret")).await, Code::Unimplemented);
    // Health alone makes nobody known.
    let probe = running.channel().await;
    assert_eq!(check(probe.clone()).await.unwrap(), 1);
    let first = TcpStream::connect(running.socket()).await.unwrap();
    let newcomer = running.channel().await;
    assert_eq!(call(newcomer, Some("Bearer secret")).await, Code::Unimplemented);
    let _second = TcpStream::connect(running.socket()).await.unwrap();
    let _third = TcpStream::connect(running.socket()).await.unwrap();
    assert_eq!(closed(first).await, 0);
    assert_eq!(call(known, Some("Bearer secret")).await, Code::Unimplemented);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_calls_but_not_for_ever() {
    let running = start(Setup::default());
    let socket = running.socket();
    let mut client = HealthClient::new(running.channel().await);
    let mut watch = client.watch(request()).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let begun = tokio::time::Instant::now();
    running.stop().await;
    assert!(begun.elapsed() >= LEAVE && begun.elapsed() < LEAVE * 2, "{:?}", begun.elapsed());
    assert!(watch.message().await.is_err());
    assert!(TcpStream::connect(socket).await.is_err(), "nobody listens");
}

#[tokio::test(start_paused = true)]
async fn the_end_is_at_once_when_nothing_runs() {
    let running = start(Setup::default());
    let channel = running.channel().await;
    assert_eq!(check(channel).await.unwrap(), 1);
    let _silent = TcpStream::connect(running.socket()).await.unwrap();
    let begun = tokio::time::Instant::now();
    running.stop().await;
    assert!(begun.elapsed() < LEAVE, "{:?}", begun.elapsed());
}

/// A certificate for `localhost`, its PEM and its key's.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_string()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// Connects with TLS and hands tonic the stream.
#[derive(Clone)]
struct Connector(TlsConnector, SocketAddr);

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<tokio_rustls::client::TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self(connector, address) = self.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from("localhost").unwrap();
            Ok(TokioIo::new(connector.connect(name, stream).await?))
        })
    }
}

/// A health check over TLS; `own` is the client's certificate and key.
async fn check_tls(
    running: &Running,
    trusted: &str,
    own: Option<&(String, String)>,
) -> Result<i32, String> {
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = Connector(TlsConnector::from(Arc::new(config)), running.socket());
    let endpoint = Endpoint::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(connector).await;
    check(channel.map_err(|e| format!("{e:?}"))?).await.map_err(|e| e.to_string())
}

#[tokio::test]
async fn tls_and_client_certificates() {
    let (own, other) = (certificate(), certificate());
    let plain = tls::server_config(own.0.as_bytes(), own.1.as_bytes(), None).unwrap();
    let running = start(Setup { tls: Some(plain), ..Setup::default() });
    assert_eq!(check_tls(&running, &own.0, None).await, Ok(1));
    let target = format!("http://{}", running.socket());
    let channel = Endpoint::from_shared(target).unwrap().connect_lazy();
    assert!(check(channel).await.is_err(), "plaintext");
    running.stop().await;

    let authority = Some(other.0.as_bytes());
    let mutual = tls::server_config(own.0.as_bytes(), own.1.as_bytes(), authority).unwrap();
    let running = start(Setup { tls: Some(mutual), ..Setup::default() });
    assert_eq!(check_tls(&running, &own.0, Some(&other)).await, Ok(1));
    assert!(check_tls(&running, &own.0, None).await.is_err(), "no certificate");
    assert!(check_tls(&running, &own.0, Some(&own)).await.is_err(), "a stranger's certificate");
    running.stop().await;
}

#[test]
fn tls_files_that_do_not_work() {
    let (own, other) = (certificate(), certificate());
    for (chain, key, authority, why) in [
        ("", &*own.1, None, "--tls-cert"),
        (&*own.0, "", None, "--tls-key"),
        (&*own.0, &*other.1, None, "do not work"),
        (&*own.0, &*own.1, Some("nothing"), "--client-ca"),
    ] {
        let authority = authority.map(str::as_bytes);
        let error = tls::server_config(chain.as_bytes(), key.as_bytes(), authority).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}

const CHILD: &str = "DOORWARD_TEST_DESCRIPTORS";

/// Descriptors are the whole process's, so the test runs in a process of its own.
#[test]
fn without_descriptors_it_stops_accepting_and_keeps_serving() {
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        return runtime.unwrap().block_on(run_out_of_descriptors());
    }
    let name = "doors::serve::tests::without_descriptors_it_stops_accepting_and_keeps_serving";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
}

async fn run_out_of_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let running = start(Setup::default());
    let channel = running.channel().await;
    assert_eq!(check(channel.clone()).await.unwrap(), 1);
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let limit = Rlimit { current: u64::try_from(open + 8).ok(), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut clients = Vec::new();
    let error = loop {
        match TcpStream::connect(running.socket()).await {
            Ok(client) => clients.push(client),
            Err(error) => break error,
        }
        assert!(clients.len() < 100);
    };
    assert!(is_exhausted(&error), "{error}");
    assert_eq!(check(channel.clone()).await.unwrap(), 1, "while nothing can be accepted");
    drop(clients);
    let other = Endpoint::from_shared(format!("http://{}", running.socket())).unwrap();
    let mut connected = other.connect().await;
    while connected.is_err() {
        tokio::task::yield_now().await;
        connected = other.connect().await;
    }
    assert_eq!(check(connected.unwrap()).await.unwrap(), 1, "once there is room again");
    assert_eq!(check(channel).await.unwrap(), 1);
    running.stop().await;
}
