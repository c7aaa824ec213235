//! Warnings for the caller's user on an answer that tonic encodes: it puts metadata into the headers, and
//! public clients look for warnings in the trailers.

use std::sync::Arc;

use http::Response;
use http_body_util::BodyExt;
use tonic::body::Body;

use super::status;
use crate::core::limits::WARNINGS_MAX;

/// In the extensions of a response: what its caller's user is to be told.
#[derive(Clone)]
pub(super) struct Warnings(pub(super) Arc<[String]>);

/// Moves the warnings of a response to its trailers.
pub(super) fn trail(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let Some(Warnings(warnings)) = head.extensions.remove() else {
        return Response::from_parts(head, body);
    };
    let body = body.map_frame(move |mut frame| {
        if let Some(trailers) = frame.trailers_mut() {
            for warning in warnings.iter().take(WARNINGS_MAX) {
                status::warn(trailers, warning);
            }
        }
        frame
    });
    Response::from_parts(head, Body::new(body))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use http_body::Frame;

    use super::*;

    fn response() -> Response<Body> {
        let frames = [Frame::data(Bytes::from("x")), Frame::trailers(status::ok(HeaderMap::new()))];
        let frames = tokio_stream::iter(frames.map(Ok::<_, tonic::Status>));
        Response::new(Body::new(http_body_util::StreamBody::new(frames)))
    }

    #[tokio::test]
    async fn warnings_are_in_the_trailers_and_some_are_enough() {
        let mut warned = response();
        let warnings: Vec<String> = (0..2 * WARNINGS_MAX).map(|n| n.to_string()).collect();
        warned.extensions_mut().insert(Warnings(warnings.into()));
        let whole = trail(warned).into_body().collect().await.unwrap();
        let trailers = whole.trailers().unwrap();
        let found: Vec<_> = trailers.get_all(status::WARNING).iter().collect();
        assert_eq!((found.len(), found[0].as_bytes()), (WARNINGS_MAX, &b"0"[..]));
        assert_eq!(trailers["grpc-status"], "0");

        let plain = trail(response()).into_body().collect().await.unwrap();
        assert!(!plain.trailers().unwrap().contains_key(status::WARNING));
        assert_eq!(plain.to_bytes(), "x");
    }
}
