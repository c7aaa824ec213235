//! The one connection of a client: opened when it is needed, and again after it broke.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{
    HeaderValue, Request, Response, Uri,
    header::{AUTHORIZATION, USER_AGENT},
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::RwLock;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::Mutex,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tonic::{Status, body::Body};
use tower_service::Service;

use super::{Address, gather::Gather};
use crate::core::{
    hosts::{HOSTS_FILE, addresses},
    limits::{
        CLIENT_CONNECT, CLIENT_FRAME_BYTES, CLIENT_PING, CLIENT_PING_ANSWER,
        CLIENT_STREAM_WINDOW_BYTES, CLIENT_WINDOW_BYTES,
    },
};

/// A connection to one agent; clones share it.
#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

struct Inner {
    address: Address,
    authority: Authority,
    tls: Option<Arc<ClientConfig>>,
    /// What proves who we are, sent with every call.
    authorization: RwLock<Option<HeaderValue>>,
    /// The open connection. Held while one is opened, so that only one is.
    sender: Mutex<Option<SendRequest<Body>>>,
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

impl Link {
    /// A link that is not open yet.
    pub(super) fn new(address: Address, tls: Option<Arc<ClientConfig>>) -> Self {
        let authority = match &address {
            Address::Unix(_) => "localhost".to_string(),
            Address::Tcp { host, port } | Address::Tls { host, port } if host.contains(':') => {
                // A zone has a meaning only on this side.
                let host = host.split('%').next().unwrap_or_default();
                format!("[{host}]:{port}")
            }
            Address::Tcp { host, port } | Address::Tls { host, port } => format!("{host}:{port}"),
        };
        let authority =
            Authority::try_from(authority).unwrap_or_else(|_| Authority::from_static("localhost"));
        Self(Arc::new(Inner {
            address,
            authority,
            tls,
            authorization: RwLock::new(None),
            sender: Mutex::new(None),
        }))
    }

    /// Sets what proves who we are; it goes with the next call.
    pub(super) fn authorize(&self, value: Option<HeaderValue>) {
        *self.0.authorization.write() = value;
    }

    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        self.0.authorization.read().clone()
    }

    /// Opens the connection if it is not open.
    pub(super) async fn open(&self) -> io::Result<SendRequest<Body>> {
        let mut place = self.0.sender.lock().await;
        if let Some(sender) = &*place
            && !sender.is_closed()
        {
            return Ok(sender.clone());
        }
        let opened = timeout(CLIENT_CONNECT, self.0.open()).await;
        let sender = opened.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        *place = Some(sender.clone());
        Ok(sender)
    }

    /// Opens the connection if it is not open; a failure is one that may pass.
    pub(super) async fn ready(&self) -> Result<(), Status> {
        self.sender().await.map(|_| ())
    }

    async fn sender(&self) -> Result<SendRequest<Body>, Status> {
        let unavailable =
            |error| Status::unavailable(format!("connect to {}: {error}", self.0.address));
        self.open().await.map_err(unavailable)
    }

    /// Sends a request; the answer is there when its headers are.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, Status> {
        let mut sender = self.sender().await?;
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(if self.0.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(self.0.authority.clone());
        parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from_parts(parts).expect("scheme, authority and path are there");
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(authorization) = self.authorization() {
            headers.insert(AUTHORIZATION, authorization);
        }
        sender.send_request(request).await.map_err(|error| Status::from_error(error.into()))
    }
}

const AGENT: &str = concat!("doorward/", env!("CARGO_PKG_VERSION"));

impl Service<Request<Body>> for Link {
    type Response = Response<Incoming>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Status>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let link = self.clone();
        Box::pin(async move { link.send(request).await })
    }
}

impl Inner {
    async fn open(&self) -> io::Result<SendRequest<Body>> {
        let socket = self.socket().await?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(CLIENT_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CLIENT_WINDOW_BYTES)
            .max_frame_size(CLIENT_FRAME_BYTES)
            .keep_alive_interval(CLIENT_PING)
            .keep_alive_timeout(CLIENT_PING_ANSWER)
            .handshake(TokioIo::new(Gather::new(socket)))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(async move {
            // What ended it reaches every call that was under way.
            let _ = connection.await;
        });
        Ok(sender)
    }

    async fn socket(&self) -> io::Result<Box<dyn Socket>> {
        match &self.address {
            Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Address::Tcp { host, port } => Ok(Box::new(tcp(host, *port).await?)),
            Address::Tls { host, port } => {
                let socket = tcp(host, *port).await?;
                let tls = self.tls.clone().ok_or(io::ErrorKind::Unsupported)?;
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                Ok(Box::new(TlsConnector::from(tls).connect(name, socket).await?))
            }
        }
    }
}

/// Connects to the first address of `host` that answers.
async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = match host.parse::<IpAddr>() {
        // Nothing is to be looked up, and so no thread to be waited for.
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => {
            let name = host.to_string();
            let resolved = tokio::task::spawn_blocking(move || resolve(&name, port)).await;
            resolved.map_err(io::Error::other)??
        }
    };
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The addresses of `host`. A static binary has no name service but /etc/hosts to rely on, so
/// that the C library is asked last.
fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    // Without the file there are still literals, `localhost` and the C library.
    let hosts = std::fs::read(HOSTS_FILE).unwrap_or_default();
    let known = addresses(host, &hosts);
    match known.is_empty() {
        true => Ok((host, port).to_socket_addrs()?.collect()),
        false => Ok(known.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_localhost_need_nobody() {
        assert_eq!(resolve("::1", 5).unwrap(), ["[::1]:5".parse().unwrap()]);
        assert_eq!(resolve("localhost", 5).unwrap()[0], "127.0.0.1:5".parse().unwrap());
    }
}
