//! What is sent and what comes, piece by piece.

use std::{
    error::Error,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::LinkError;
use crate::core::limits::REMOTE_SILENCE;

type Cause = Box<dyn Error + Send + Sync>;

/// What is sent. It counts what was taken of it.
pub(in crate::image::remote) struct Payload {
    body: UnsyncBoxBody<Bytes, Cause>,
    /// Bytes that are to come, where the body itself does not know.
    left: Option<u64>,
    sent: Arc<AtomicU64>,
}

impl Payload {
    pub(in crate::image::remote) fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Cause>,
    {
        let body = body.map_err(Into::into).boxed_unsync();
        Self { body, left: None, sent: Arc::default() }
    }

    /// A body that will have so many bytes.
    pub(in crate::image::remote) fn sized<B>(body: B, size: u64) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Cause>,
    {
        Self { left: Some(size), ..Self::new(body) }
    }

    pub(in crate::image::remote) fn bytes(bytes: Bytes) -> Self {
        Self::new(Full::new(bytes))
    }

    /// Bytes that were taken so far.
    pub(super) fn sent(&self) -> Arc<AtomicU64> {
        self.sent.clone()
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            self.left = self.left.map(|left| left.saturating_sub(bytes));
            self.sent.fetch_add(bytes, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0) || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(|| self.body.size_hint(), SizeHint::with_exact)
    }
}

/// What comes. It fails when nothing came for [`REMOTE_SILENCE`] although somebody waited for it.
pub(in crate::image::remote) struct Download {
    body: Incoming,
    /// When the wait that goes on, if one does, has been too long.
    end: Pin<Box<Sleep>>,
    waits: Waits,
}

#[derive(PartialEq, Eq)]
enum Waits {
    Yes,
    No,
}

impl Download {
    pub(super) fn new(body: Incoming) -> Self {
        let end = Box::pin(tokio::time::sleep(REMOTE_SILENCE));
        Self { body, end, waits: Waits::No }
    }

    /// The next bytes; `None` at the end.
    pub(in crate::image::remote) async fn next(&mut self) -> Option<Result<Bytes, LinkError>> {
        loop {
            match self.frame().await? {
                Err(error) => return Some(Err(error)),
                // Trailers are nothing to us.
                Ok(frame) => match frame.into_data() {
                    Ok(bytes) => return Some(Ok(bytes)),
                    Err(_) => continue,
                },
            }
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = LinkError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, LinkError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.waits = Waits::No;
            return Poll::Ready(frame.map(|frame| frame.map_err(|e| super::broken(&e))));
        }
        if self.waits == Waits::No {
            self.waits = Waits::Yes;
            self.end.as_mut().reset(Instant::now() + REMOTE_SILENCE);
        }
        ready!(self.end.as_mut().poll(context));
        Poll::Ready(Some(Err(LinkError::Silence(REMOTE_SILENCE))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// All that comes, if it is at most `bytes_max` bytes, else its begin and one byte more.
pub(in crate::image::remote) async fn read_all(
    mut body: Download,
    bytes_max: u64,
) -> Result<Vec<u8>, LinkError> {
    let mut all = Vec::new();
    while let Some(bytes) = body.next().await {
        let bytes = bytes?;
        let room = usize::try_from(bytes_max.saturating_add(1)).unwrap_or(usize::MAX) - all.len();
        all.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() >= room {
            break;
        }
    }
    Ok(all)
}
