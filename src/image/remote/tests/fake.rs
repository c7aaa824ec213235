//! A server that does what a test says.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;

/// What came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: Method,
    /// Path and query.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The server.
pub(super) struct Fake {
    pub(super) port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    links: Arc<AtomicUsize>,
}

pub(super) type Answer = Response<Full<Bytes>>;

impl Fake {
    pub(super) async fn new(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let links: Arc<AtomicUsize> = Arc::default();
        let (shared, answer) = (seen.clone(), Arc::new(answer));
        let counted = links.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let (seen, answer) = (shared.clone(), answer.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (seen, answer) = (seen.clone(), answer.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let (method, headers) = (head.method, head.headers);
                        let this = Seen { method, path: head.uri.to_string(), headers, body };
                        seen.lock().push(this.clone());
                        Ok::<_, Infallible>(answer(&this))
                    }
                });
                tokio::spawn(async move {
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = server.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { port, seen, links }
    }

    /// How many connections there were.
    pub(super) fn links(&self) -> usize {
        self.links.load(Ordering::SeqCst)
    }

    /// Everything that came so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

pub(super) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        let name = http::HeaderName::try_from(*name).unwrap();
        answer.headers_mut().append(name, value.parse().unwrap());
    }
    answer
}
