//! Serves gRPC over HTTP/2 on any number of listeners.
//!
//! A connection begins as a *stranger*: it has ten seconds for its TLS handshake and HTTP/2
//! preface, and while none of its calls was let in it may be closed to make room for a newer
//! one. Nothing of an exec hangs on a connection; a call whose connection breaks is dropped
//! wherever it awaits.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, mpsc, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use super::{
    auth::{Peer, Policy, Session},
    call::{Calls, Service},
    listen::{Listener, Socket, tune},
    preface::{self, Opened},
    strangers::{Evicted, Slot, Strangers},
    tls,
};
use crate::{
    core::limits::{
        ACCEPT_PAUSE, CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, HANDSHAKE, HEADER_LIST_BYTES_MAX,
        LOCAL_RESETS_MAX, SEND_BUFFER_BYTES, STRANGERS_MAX, STREAM_WINDOW_BYTES, STREAMS_MAX,
    },
    doors::inflight::InFlight,
};

/// What all connections of one server share.
pub struct Server<S> {
    service: S,
    policy: Arc<Policy>,
    tls: Option<TlsAcceptor>,
    in_flight: InFlight,
    strangers: Arc<Strangers>,
    /// Told when a connection has ended, for an accept loop that ran out of descriptors.
    closed: Arc<Notify>,
}

/// How far the end of the server has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// No new calls; those that run may end.
    Leaving,
    /// Everything is dropped.
    Gone,
}

/// What a connection task holds of the server's end.
#[derive(Clone)]
struct Ending {
    phase: watch::Receiver<Phase>,
    /// Dropped with the last connection; nothing is ever sent.
    _alive: mpsc::Sender<()>,
}

impl<S: Service> Server<S> {
    /// A server of `service`, which callers reach as far as `policy` lets them in. With `tls`
    /// the TCP listeners speak TLS only.
    pub fn new(
        service: S,
        policy: Arc<Policy>,
        tls: Option<Arc<tokio_rustls::rustls::ServerConfig>>,
    ) -> Self {
        Self {
            service,
            policy,
            tls: tls.map(TlsAcceptor::from),
            in_flight: InFlight::new(),
            strangers: Strangers::new(STRANGERS_MAX),
            closed: Arc::new(Notify::new()),
        }
    }

    /// Serves until `stop` is done, then takes no new connections, says GOAWAY on those that
    /// exist, waits for their calls for at most `leave`, and drops what is left.
    ///
    /// Dropping the future drops the listeners; connections end as if `leave` had passed.
    pub async fn run(
        self,
        listeners: Vec<Listener>,
        stop: impl Future<Output = ()>,
        leave: Duration,
    ) {
        let (phase, watched) = watch::channel(Phase::Serving);
        let (alive, mut all_gone) = mpsc::channel(1);
        let ending = Ending { phase: watched, _alive: alive };
        let server = Arc::new(self);
        let mut accepting = tokio::task::JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept(server.clone(), listener, ending.clone()));
        }
        drop(ending);
        stop.await;
        accepting.shutdown().await;
        phase.send_replace(Phase::Leaving);
        if timeout(leave, all_gone.recv()).await.is_err() {
            phase.send_replace(Phase::Gone);
            all_gone.recv().await;
        }
    }
}

impl Ending {
    /// Done when the server's end has come as far as `wanted`.
    async fn reached(&mut self, wanted: Phase) {
        // An error means that the server itself was dropped.
        let _ = self.phase.wait_for(|now| *now == wanted || *now == Phase::Gone).await;
    }
}

/// Accepts for ever. An error of one connection is its own; when descriptors or memory are used
/// up, accepting rests until a connection closes or a moment has passed.
async fn accept<S: Service>(server: Arc<Server<S>>, listener: Listener, ending: Ending) {
    let mut resting = false;
    loop {
        let error = match accept_one(&server, &listener, &ending).await {
            Ok(()) => {
                if resting {
                    info!(address = %listener.address(), "accepting connections again");
                    resting = false;
                }
                continue;
            }
            Err(error) => error,
        };
        if !is_exhausted(&error) {
            debug!(%error, "ignoring a connection that ended before it was accepted");
            // Some errors come back at once and for ever; they must not keep the reactor busy.
            tokio::task::yield_now().await;
            continue;
        }
        if !resting {
            warn!(%error, address = %listener.address(), "accepting no connections for now");
            resting = true;
        }
        let _ = timeout(ACCEPT_PAUSE, server.closed.notified()).await;
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    let used_up = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    error.raw_os_error().is_some_and(|errno| used_up.contains(&errno))
}

async fn accept_one<S: Service>(
    server: &Arc<Server<S>>,
    listener: &Listener,
    ending: &Ending,
) -> io::Result<()> {
    match &listener.socket {
        Socket::Tcp(socket) => {
            let (stream, address) = socket.accept().await?;
            if let Err(error) = tune(&stream) {
                debug!(%error, "ignoring that a connection cannot be tuned");
            }
            let peer = Peer::Tcp { address, certificate: None };
            match server.tls.clone() {
                None => begin(server, stream, peer, ending),
                Some(acceptor) => begin_tls(server, acceptor, stream, address, ending),
            }
        }
        Socket::Unix(_, socket) => {
            let (stream, _) = socket.accept().await?;
            let uid = stream.peer_cred()?.uid();
            begin(server, stream, Peer::Unix { uid }, ending);
        }
    }
    Ok(())
}

fn begin<S, I>(server: &Arc<Server<S>>, stream: I, peer: Peer, ending: &Ending)
where
    S: Service,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (slot, evicted) = server.strangers.enter();
    let opening = async { preface::read(stream).await.map(|opened| (opened, peer)) };
    tokio::spawn(connection(server.clone(), opening, slot, evicted, ending.clone()));
}

fn begin_tls<S: Service>(
    server: &Arc<Server<S>>,
    acceptor: TlsAcceptor,
    stream: tokio::net::TcpStream,
    address: std::net::SocketAddr,
    ending: &Ending,
) {
    let (slot, evicted) = server.strangers.enter();
    let opening = async move {
        let stream = acceptor.accept(stream).await?;
        let certificate = tls::peer_name(stream.get_ref().1);
        let opened = preface::read(stream).await?;
        Ok((opened, Peer::Tcp { address, certificate }))
    };
    tokio::spawn(connection(server.clone(), opening, slot, evicted, ending.clone()));
}

/// One connection, from its first byte to its last.
async fn connection<S, I, F>(
    server: Arc<Server<S>>,
    opening: F,
    slot: Slot,
    evicted: Evicted,
    mut ending: Ending,
) where
    S: Service,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = io::Result<(Opened<I>, Peer)>> + Send,
{
    let _told = TellClosed(server.closed.clone());
    let mut evicted = pin!(evicted.wait());
    let mut leaving = ending.clone();
    let opened = tokio::select! {
        opened = timeout(HANDSHAKE, opening) => opened,
        () = &mut evicted => return debug!("closed a stranger to make room"),
        () = leaving.reached(Phase::Leaving) => return,
    };
    let (stream, peer) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return debug!(%error, "closed a connection that is no gRPC client's"),
        Err(_) => return debug!("closed a connection that took too long to open"),
    };
    let session = Session::new(server.policy.clone(), peer);
    let calls = Calls::new(server.service.clone(), session, server.in_flight.clone(), slot);
    let mut http = pin!(builder().serve_connection(TokioIo::new(stream), calls));
    let served = tokio::select! {
        served = &mut http => served,
        () = &mut evicted => return debug!("closed a stranger to make room"),
        () = leaving.reached(Phase::Leaving) => {
            http.as_mut().graceful_shutdown();
            tokio::select! {
                served = &mut http => served,
                () = ending.reached(Phase::Gone) => return,
            }
        }
    };
    if let Err(error) = served {
        debug!(%error, "a connection broke");
    }
}

fn builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let streams = usize::try_from(STREAMS_MAX).unwrap_or(usize::MAX);
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(streams)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .auto_date_header(false);
    builder
}

struct TellClosed(Arc<Notify>);

impl Drop for TellClosed {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
