//! Bytes of requests that have arrived and are not done with, over all connections.
//!
//! Each request may be 100 MiB, so what bounds memory is their sum. A byte counts from when its
//! frame is read until the call's answer begins, or until a handler that takes a stream says that
//! it is done with it. Beyond the bound a call is told to come back later.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body};

use super::status::status;
use crate::core::{
    failure::Kind,
    limits::{REQUEST_BYTES_MAX, REQUESTS_BYTES_MAX},
};

/// The count of one server; clones share it.
#[derive(Clone)]
pub struct InFlight(Arc<Total>);

struct Total {
    max: usize,
    used: AtomicUsize,
}

/// What one request has in flight; in the extensions of each request, clones share it. The rest
/// is given back with the last one.
#[derive(Clone)]
pub struct Charge(Arc<Share>);

struct Share {
    total: Arc<Total>,
    held: AtomicUsize,
}

impl InFlight {
    /// A count that is bounded by `core::limits`.
    pub(super) fn new() -> Self {
        Self::with_max(REQUESTS_BYTES_MAX)
    }

    fn with_max(max: usize) -> Self {
        Self(Arc::new(Total { max, used: AtomicUsize::new(0) }))
    }

    /// Counts the bytes of `body` as they are read.
    pub(super) fn count<B>(&self, body: B) -> (Body, Charge)
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let share = Share { total: self.0.clone(), held: AtomicUsize::new(0) };
        let charge = Charge(Arc::new(share));
        if body.is_end_stream() {
            return (Body::empty(), charge);
        }
        (Body::new(Counted { body, charge: charge.clone() }), charge)
    }
}

impl Charge {
    /// The handler has done with `bytes` of the request.
    pub fn release(&self, bytes: usize) {
        let share = &self.0;
        let mut given = 0;
        // A handler may count a message's framing otherwise than we do.
        let _ = share.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            given = held.min(bytes);
            Some(held - given)
        });
        share.total.used.fetch_sub(given, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) -> Result<(), Status> {
        let total = &self.0.total;
        // No handler holds more than one message of a stream at a time, so a stream is not
        // counted beyond that, also if its handler never says what it is done with.
        let held = self.0.held.load(Ordering::Relaxed);
        let bytes = bytes.min(REQUEST_BYTES_MAX.saturating_sub(held));
        let before = total.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > total.max {
            total.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(exhausted());
        }
        self.0.held.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.total.used.fetch_sub(*self.held.get_mut(), Ordering::Relaxed);
    }
}

struct Counted<B> {
    body: B,
    charge: Charge,
}

impl<B> http_body::Body for Counted<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(frame.map_err(|e| Status::from_error(e.into())).and_then(|frame| {
            self.charge.take(frame.data_ref().map_or(0, Bytes::len))?;
            Ok(frame)
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn exhausted() -> Status {
    status(Kind::Exhausted, "too many bytes of requests in flight; try again later")
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};
    use tonic::Code;

    use super::*;

    fn body(bytes: usize) -> Full<Bytes> {
        Full::new(Bytes::from(vec![0; bytes]))
    }

    fn used(count: &InFlight) -> usize {
        count.0.used.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn bytes_count_from_when_they_are_read_until_the_charge_is_gone() {
        let count = InFlight::with_max(100);
        let (first, charge) = count.count(body(60));
        assert_eq!(used(&count), 0);
        assert_eq!(first.collect().await.unwrap().to_bytes().len(), 60);
        assert_eq!(used(&count), 60);
        let (second, second_charge) = count.count(body(41));
        let refused = second.collect().await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(!refused.details().is_empty(), "it says when to come back");
        assert_eq!(used(&count), 60);
        charge.release(20);
        let (third, third_charge) = count.count(body(60));
        assert!(third.collect().await.is_ok());
        assert_eq!(used(&count), 100);
        charge.release(1000);
        assert_eq!(used(&count), 60);
        drop((charge, second_charge, third_charge));
        assert_eq!(used(&count), 0);
    }

    #[test]
    fn one_stream_counts_as_one_message_at_most() {
        let count = InFlight::new();
        let (_body, charge) = count.count(body(1));
        for _ in 0..1000 {
            charge.take(1 << 20).unwrap();
        }
        assert_eq!(used(&count), REQUEST_BYTES_MAX);
    }
}
