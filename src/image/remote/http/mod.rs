//! One HTTP/1.1 client for registries and buckets.
//!
//! It keeps a few connections, resolves names without the C library, gives up on silence instead of on
//! long transfers, and follows no redirection: whoever asks decides whom a password is told. `reqwest`
//! would be most of a megabyte for the same.

mod body;
mod connect;
mod names;

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{
    HeaderValue, Request, Response, Uri,
    header::{HOST, USER_AGENT},
    uri::PathAndQuery,
};
use hyper::{body::Body as _, client::conn::http1::SendRequest};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::ClientConfig;

pub(super) use body::{Download, Payload, read_all};
pub(super) use connect::tls_config;

use crate::{
    core::limits::{REMOTE_ANSWER, REMOTE_LINK_IDLE, REMOTE_LINKS_IDLE_MAX, REMOTE_SILENCE},
    os::work::Work,
};

/// Connections to whoever is asked.
pub(super) struct Http {
    tls: Arc<ClientConfig>,
    work: Work,
    /// Connections that wait for the next request, the newest last.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    origin: Origin,
    sender: SendRequest<Payload>,
    since: Instant,
}

/// Whom a connection is to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) tls: Security,
    pub(super) host: String,
    pub(super) port: u16,
}

/// Whether a connection is in TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    Tls,
    Plain,
}

/// Why a request had no answer. The texts are fit for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkError {
    /// What was to be asked is no `http://` or `https://` address.
    Address,
    /// It would not be in TLS.
    Plain,
    /// There is no such host, or it has no address.
    Unknown(String),
    /// Nobody could say which address a name has.
    Name {
        /// The name.
        host: String,
        /// Why.
        why: String,
    },
    /// Nobody took the connection.
    Connect(String),
    /// The other side speaks no TLS.
    NotTls,
    /// The other side's certificate is not one to trust.
    Untrusted(String),
    /// The TLS handshake failed in another way.
    Tls(String),
    /// Nothing moved for so long.
    Silence(Duration),
    /// The connection broke, or what came was no HTTP.
    Broken(String),
}

const AGENT: &str = concat!("doorward/", env!("CARGO_PKG_VERSION"));

impl Http {
    pub(super) fn new(tls: Arc<ClientConfig>, work: Work) -> Self {
        Self { tls, work, idle: Mutex::new(Vec::new()) }
    }

    /// Sends a request, whose address is whole; the answer is there when its headers are. Dropped, it
    /// ends the connection.
    pub(super) async fn send(
        &self,
        mut request: Request<Payload>,
    ) -> Result<Response<Download>, LinkError> {
        let origin = Origin::of(request.uri())?;
        dress(&mut request);
        let sent = request.body().sent();
        let size = request.body().size_hint().exact();
        // One that was kept may have ended just now; then what was not sent comes back.
        while let Some(mut sender) = self.kept(&origin) {
            let answer = watched(sender.try_send_request(request), &sent, size).await?;
            match answer {
                Ok(answer) => return Ok(self.keep(origin, sender, answer)),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(broken(failed.error())),
                },
            }
        }
        let mut sender = self.connect(&origin).await?;
        let answer = watched(sender.send_request(request), &sent, size).await?;
        answer.map(|answer| self.keep(origin, sender, answer)).map_err(|error| broken(&error))
    }

    /// A connection that was kept and is ready.
    fn kept(&self, origin: &Origin) -> Option<SendRequest<Payload>> {
        let mut idle = self.idle.lock();
        idle.retain(|kept| !kept.sender.is_closed() && kept.since.elapsed() < REMOTE_LINK_IDLE);
        let ready = |kept: &Idle| kept.origin == *origin && kept.sender.is_ready();
        let at = idle.iter().rposition(ready)?;
        Some(idle.remove(at).sender)
    }

    /// Keeps a connection for the time when its answer has been read.
    fn keep(
        &self,
        origin: Origin,
        sender: SendRequest<Payload>,
        answer: Response<hyper::body::Incoming>,
    ) -> Response<Download> {
        let mut idle = self.idle.lock();
        if idle.len() >= REMOTE_LINKS_IDLE_MAX {
            idle.remove(0);
        }
        idle.push(Idle { origin, sender, since: Instant::now() });
        answer.map(Download::new)
    }
}

/// Headers that every request has, and the form that a server wants its address in.
fn dress(request: &mut Request<Payload>) {
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let host = HeaderValue::try_from(authority.unwrap_or_default());
    let host = host.expect("an authority is visible ASCII");
    let path = request.uri().path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
}

/// Waits for an answer as long as something moves.
async fn watched<T>(
    answer: impl Future<Output = T>,
    sent: &AtomicU64,
    size: Option<u64>,
) -> Result<T, LinkError> {
    let mut answer = pin!(answer);
    let mut before = sent.load(Ordering::Relaxed);
    loop {
        let all_sent = before > 0 && Some(before) == size;
        let patience = if all_sent { REMOTE_ANSWER } else { REMOTE_SILENCE };
        if let Ok(answer) = timeout(patience, &mut answer).await {
            return Ok(answer);
        }
        let now = sent.load(Ordering::Relaxed);
        if now == before {
            return Err(LinkError::Silence(patience));
        }
        before = now;
    }
}

fn broken(error: &hyper::Error) -> LinkError {
    use std::error::Error;
    let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    LinkError::Broken(format!("{error}{cause}"))
}

impl Origin {
    fn of(uri: &Uri) -> Result<Self, LinkError> {
        let (tls, port) = match uri.scheme_str() {
            Some("https") => (Security::Tls, 443),
            Some("http") => (Security::Plain, 80),
            _ => return Err(LinkError::Address),
        };
        let host = uri.host().ok_or(LinkError::Address)?;
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = literal.unwrap_or(host).to_owned();
        Ok(Self { tls, host, port: uri.port_u16().unwrap_or(port) })
    }
}

impl LinkError {
    /// Whether the same may succeed in a moment.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Address | Self::Plain | Self::Unknown(_) | Self::NotTls | Self::Untrusted(_) => {
                false
            }
            Self::Name { .. }
            | Self::Connect(_)
            | Self::Tls(_)
            | Self::Silence(_)
            | Self::Broken(_) => true,
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("it leads to what is no http:// or https:// address"),
            Self::Plain => f.write_str("it leads out of TLS, which is not allowed there"),
            Self::Unknown(host) => write!(f, "there is no host {host}"),
            Self::Name { host, why } => write!(f, "find the address of {host}: {why}"),
            Self::Connect(why) => write!(f, "connect: {why}"),
            Self::NotTls => f.write_str("the other side speaks no TLS"),
            Self::Untrusted(why) => write!(f, "its certificate is not trusted: {why}"),
            Self::Tls(why) => write!(f, "begin TLS: {why}"),
            Self::Silence(time) => write!(f, "nothing came for {} s", time.as_secs()),
            Self::Broken(why) => write!(f, "the link broke: {why}"),
        }
    }
}

impl std::error::Error for LinkError {}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}
