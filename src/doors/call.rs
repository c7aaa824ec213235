//! One call on its way in: who makes it is decided from its headers, before its body is looked
//! at; then it is counted, given its deadline and handed to the service.

use std::{
    convert::Infallible,
    future::{Future, poll_fn, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::{sync::Semaphore, time::Instant};
use tonic::{Status, body::Body};
use tracing::debug;

use super::{auth::Session, deadline, inflight::InFlight, status::status, strangers::Slot};
use crate::core::{
    failure::Kind,
    limits::{OPEN_CALLS_MAX, OPEN_REQUEST_BYTES_MAX},
};

/// What a server serves: any tower service that answers tonic bodies.
pub trait Service:
    tower_service::Service<
        Request<Body>,
        Response = Response<Body>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Service for S where
    S: tower_service::Service<
            Request<Body>,
            Response = Response<Body>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// When the headers of a call arrived; in the extensions of each request.
#[derive(Debug, Clone, Copy)]
pub struct Arrived(pub Instant);

/// The calls of one connection.
pub(super) struct Calls<S> {
    service: S,
    session: Session,
    in_flight: InFlight,
    slot: Slot,
    /// Places for calls of paths that are open to everybody.
    open: Arc<Semaphore>,
    /// Whether a call was let in already, so that the slot's lock is taken once.
    known: AtomicBool,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S: Service> Calls<S> {
    pub(super) fn new(service: S, session: Session, in_flight: InFlight, slot: Slot) -> Self {
        let open = Arc::new(Semaphore::new(OPEN_CALLS_MAX));
        Self { service, session, in_flight, slot, open, known: AtomicBool::new(false) }
    }

    /// A call that everybody may make. Whoever makes it was not asked who it is, so it is small,
    /// and there are few at once: probes need no more.
    fn open(&self, mut head: Parts, body: Incoming, arrived: Instant) -> Answer {
        let Ok(place) = self.open.clone().try_acquire_owned() else {
            let refused = status(Kind::Exhausted, "too many calls without authentication");
            return answer(refused);
        };
        let ends = deadline::of(&head.headers, arrived);
        head.extensions.insert(Arrived(arrived));
        let body = Body::new(Limited::new(body, OPEN_REQUEST_BYTES_MAX));
        let answer = self.serve(Request::from_parts(head, body));
        let answer = async move {
            let held = move |frame| {
                let _until_the_body_is_dropped = &place;
                frame
            };
            Ok(answer.await?.map(|body| Body::new(body.map_frame(held))))
        };
        bounded(answer, ends)
    }

    fn admitted(&self, mut head: Parts, body: Incoming, arrived: Instant) -> Answer {
        if !self.known.swap(true, Ordering::Relaxed) {
            self.slot.known();
        }
        let ends = deadline::of(&head.headers, arrived);
        let (body, charge) = self.in_flight.count(body);
        head.extensions.insert(Arrived(arrived));
        head.extensions.insert(charge.clone());
        let answer = self.serve(Request::from_parts(head, body));
        let answer = async move {
            // The request's bytes count until the answer begins, wherever its message is by then.
            let _charge = charge;
            answer.await
        };
        bounded(answer, ends)
    }

    fn serve(
        &self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<S> {
        let mut service = self.service.clone();
        async move {
            poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(request).await
        }
    }
}

fn answer(status: Status) -> Answer {
    Box::pin(ready(Ok(status.into_http())))
}

fn bounded(
    answer: impl Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    ends: Option<Instant>,
) -> Answer {
    match ends {
        None => Box::pin(answer),
        Some(ends) => Box::pin(deadline::bounded(answer, ends)),
    }
}

impl<S: Service> hyper::service::Service<Request<Incoming>> for Calls<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let arrived = Instant::now();
        let (mut head, body) = request.into_parts();
        match self.session.admit(head.uri.path(), &head.headers, SystemTime::now()) {
            Ok(Some(caller)) => {
                head.extensions.insert(caller);
                self.admitted(head, body, arrived)
            }
            Ok(None) => self.open(head, body, arrived),
            Err(refusal) => {
                debug!(peer = self.session.peer(), path = head.uri.path(), %refusal, "refused");
                answer(refusal.status())
            }
        }
    }
}
