//! Deadlines of calls, as clients send them in `grpc-timeout`.
//!
//! A call ends with DEADLINE_EXCEEDED, and not with CANCELLED as tonic's own layer has it, a
//! second after the header's value: some clients round the header down, and ending on time would
//! then always come before the client's own deadline. The handler is dropped at that moment.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::{Status, body::Body};

use crate::core::limits::DEADLINE_SLACK;

const HEADER: &str = "grpc-timeout";

/// When a call with these headers ends at the latest. A header that the gRPC specification does
/// not allow is as good as none.
pub(super) fn of(headers: &HeaderMap, arrived: Instant) -> Option<Instant> {
    let value = headers.get(HEADER)?;
    let Some(timeout) = parse(value.as_bytes()) else {
        tracing::debug!(?value, "ignoring a grpc-timeout that is none");
        return None;
    };
    arrived.checked_add(timeout)?.checked_add(DEADLINE_SLACK)
}

/// One to eight digits and a unit.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let mut number = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u64::from(digit - b'0');
    }
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

fn exceeded() -> Status {
    Status::deadline_exceeded("the call's deadline has passed")
}

/// Answers as `answer` does, as long as the time lasts.
pub(super) async fn bounded(
    answer: impl Future<Output = Result<Response<Body>, Infallible>>,
    ends: Instant,
) -> Result<Response<Body>, Infallible> {
    let mut sleep = Box::pin(tokio::time::sleep_until(ends));
    tokio::select! {
        biased;
        answer = answer => {
            Ok(answer?.map(|body| Body::new(Bounded { body: Some(body), sleep })))
        }
        () = &mut sleep => Ok(exceeded().into_http()),
    }
}

/// A response body that ends with DEADLINE_EXCEEDED when the time is over.
struct Bounded {
    /// Gone once the deadline has passed, and the handler's stream with it.
    body: Option<Body>,
    sleep: Pin<Box<Sleep>>,
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        // Looked at for each frame: a stream that never pauses has a deadline too.
        if self.sleep.as_mut().poll(cx).is_pending() {
            return frame;
        }
        if let Poll::Ready(Some(Ok(last))) = &frame
            && last.is_trailers()
        {
            return frame;
        }
        self.body = None;
        let mut trailers = HeaderMap::new();
        // A code and a plain text always fit into headers.
        let _ = exceeded().add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::Arc};

    use http_body_util::BodyExt;
    use proptest::prelude::*;
    use tokio_stream::StreamExt as _;

    use super::*;

    #[test]
    fn headers() {
        for (value, millis) in [
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("59S", Some(59_000)),
            ("250m", Some(250)),
            ("1000u", Some(1)),
            ("99999999n", Some(99)),
            ("0S", Some(0)),
            ("99999999H", Some(99_999_999 * 3_600_000)),
            ("100000000S", None),
            ("S", None),
            ("", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("1.5S", None),
            (" 1S", None),
        ] {
            let parsed = parse(value.as_bytes());
            let parsed = parsed.map(|timeout| timeout.as_millis());
            assert_eq!(parsed, millis, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_taken_or_left(value: Vec<u8>) {
            parse(&value);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_handler_is_dropped_a_second_after_the_headers_value() {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, "59S".parse().unwrap());
        let begun = Instant::now();
        let ends = of(&headers, begun).unwrap();
        let alive = Arc::new(());
        let held = alive.clone();
        let handler = async move {
            pending::<()>().await;
            drop(held);
            Ok(Response::new(Body::empty()))
        };
        let answer = bounded(handler, ends).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(60));
        assert_eq!(answer.headers()["grpc-status"], "4");
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_answer_ends_with_trailers() {
        let begun = Instant::now();
        let ends = begun + Duration::from_secs(3);
        let steps = tokio_stream::iter(0..).then(|n: u64| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, Status>(Frame::data(Bytes::from(n.to_string())))
        });
        let body = Body::new(http_body_util::StreamBody::new(Box::pin(steps)));
        let answer = bounded(async { Ok(Response::new(body)) }, ends).await.unwrap();
        assert!(!answer.headers().contains_key("grpc-status"));
        let whole = answer.into_body().collect().await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
        assert_eq!(whole.trailers().unwrap()["grpc-status"], "4");
        assert!(whole.to_bytes().starts_with(b"01"));
    }

    #[tokio::test]
    async fn a_quick_answer_is_not_touched() {
        let ends = Instant::now() + Duration::from_secs(60);
        let body = Body::new(http_body_util::Full::new(Bytes::from("x")));
        let answer = bounded(async { Ok(Response::new(body)) }, ends).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "x");
    }
}
