//! The one connection of a client: opened when it is needed, and again after it broke.

use std::{
    future::Future,
    hint::black_box,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    pin::Pin,
    sync::{
        Arc, Once,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
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
        CLIENT_AT_ONCE_BYTES, CLIENT_CONNECT, CLIENT_FRAME_BYTES, CLIENT_HEAP_PIECE_BYTES,
        CLIENT_PING, CLIENT_PING_ANSWER, CLIENT_STREAM_WINDOW_BYTES,
        CLIENT_STREAM_WINDOW_BYTES_MIN, CLIENT_UNSTEADY, CLIENT_WINDOW_BYTES, CLIENT_WINDOW_PART,
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
    /// The newest connection. Held while one is opened, so that only one is.
    connection: Mutex<Option<Connection>>,
}

/// A connection, open or broken.
struct Connection {
    sender: SendRequest<Body>,
    opened: Instant,
    /// Bytes that came over it.
    received: Arc<AtomicU64>,
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
            connection: Mutex::new(None),
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
        let mut place = self.0.connection.lock().await;
        if let Some(connection) = &*place
            && !connection.sender.is_closed()
        {
            return Ok(connection.sender.clone());
        }
        let window = place.as_ref().map_or(CLIENT_STREAM_WINDOW_BYTES, Connection::next_window);
        if window < CLIENT_STREAM_WINDOW_BYTES {
            keep_memory();
        }
        let opened = timeout(CLIENT_CONNECT, self.0.open(window)).await;
        let connection = opened.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let sender = connection.sender.clone();
        *place = Some(connection);
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
    async fn open(&self, window: u32) -> io::Result<Connection> {
        let socket = self.socket().await?;
        let received = Arc::default();
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(window)
            .initial_connection_window_size(CLIENT_WINDOW_BYTES)
            .max_frame_size(CLIENT_FRAME_BYTES)
            .keep_alive_interval(CLIENT_PING)
            .keep_alive_timeout(CLIENT_PING_ANSWER)
            .handshake(TokioIo::new(Gather::new(socket, Arc::clone(&received))))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(async move {
            // What ended it reaches every call that was under way.
            let _ = connection.await;
        });
        Ok(Connection { sender, opened: Instant::now(), received })
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

impl Connection {
    /// How much may be under way on each stream of the connection that comes after this one. What is
    /// under way when a link breaks is lost and sent again; on one that breaks all the time that must
    /// stay a small part of what gets through.
    fn next_window(&self) -> u32 {
        window_after(self.received.load(Ordering::Relaxed), self.opened.elapsed())
    }
}

fn window_after(received: u64, lasted: Duration) -> u32 {
    // One that lasted broke for a reason of its own, and of one that carried nothing nothing is known.
    if lasted >= CLIENT_UNSTEADY || received < CLIENT_AT_ONCE_BYTES {
        return CLIENT_STREAM_WINDOW_BYTES;
    }
    let part = u32::try_from(received / CLIENT_WINDOW_PART).unwrap_or(u32::MAX);
    part.clamp(CLIENT_STREAM_WINDOW_BYTES_MIN, CLIENT_STREAM_WINDOW_BYTES)
}

/// Has the heap keep what becomes free, up to some megabytes. After each break everything is free for a
/// moment, and glibc would give it back and have the kernel clear it again: a fifth of the time of a
/// reader whose link breaks all the time. That a large piece came and went is how a heap is told so
/// without a setting of the whole process (mallopt(3), M_MMAP_THRESHOLD). Where memory is never given back
/// like that it does nothing.
fn keep_memory() {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| drop(black_box(Vec::<u8>::with_capacity(CLIENT_HEAP_PIECE_BYTES))));
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
    fn what_may_be_under_way_is_little_where_the_link_breaks_all_the_time() {
        let (soon, late) = (Duration::from_millis(2), CLIENT_UNSTEADY);
        assert_eq!(window_after(2 << 20, soon), 1 << 20);
        assert_eq!(window_after(CLIENT_AT_ONCE_BYTES, soon), CLIENT_STREAM_WINDOW_BYTES_MIN);
        assert_eq!(window_after(u64::MAX, soon), CLIENT_STREAM_WINDOW_BYTES);
        assert_eq!(window_after(CLIENT_AT_ONCE_BYTES - 1, soon), CLIENT_STREAM_WINDOW_BYTES);
        assert_eq!(window_after(2 << 20, late), CLIENT_STREAM_WINDOW_BYTES);
    }

    #[test]
    fn literals_and_localhost_need_nobody() {
        assert_eq!(resolve("::1", 5).unwrap(), ["[::1]:5".parse().unwrap()]);
        assert_eq!(resolve("localhost", 5).unwrap()[0], "127.0.0.1:5".parse().unwrap());
    }
}
