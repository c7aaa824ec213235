//! Responses that stream output, without copying it. Messages that are no output go the same way.
//!
//! tonic's encoder copies each message into a buffer of its own. Here a message is a small frame
//! with the gRPC prefix and the protobuf header, followed by a frame that is the payload as it
//! lies in the spool. Chunks are asked for only while the reader's share of the budget for
//! unsent bytes has room.

use std::{
    convert::Infallible,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE};
use http_body::Frame;
use prost::encoding::{encode_varint, encoded_len_varint};
use tonic::{Status, body::Body};

use super::{
    status,
    unsent::{Share, Unsent},
};
use crate::core::limits::COPIED_CHUNK_BYTES_MAX;

/// Where a response takes its chunks from.
pub trait Chunks: Send + 'static {
    /// Waits for what comes next: at most `bytes_max` bytes, never none.
    fn next(&mut self, bytes_max: usize) -> impl Future<Output = Result<Step, Status>> + Send;
}

/// One step of a stream.
#[derive(Debug)]
pub enum Step {
    /// The next bytes. A chunk without bytes is passed over: it would break public clients.
    Chunk {
        /// The bytes.
        bytes: Bytes,
        /// Where they start, for messages that say so (`SandboxStdioReadV2Response`).
        starting_offset: Option<u64>,
    },
    /// A message that is `fields`, whose end is the key and the length of a field of bytes, and
    /// then `payload`, which is that field's value. Or all of it is in `fields`.
    Message {
        /// The message without the payload.
        fields: Vec<u8>,
        /// The payload; may be empty.
        payload: Bytes,
    },
    /// The end, with OK and these trailers.
    End(HeaderMap),
}

/// A gRPC response that streams `chunks`: headers at once, an error in the trailers whenever it
/// comes. Dropping it drops `chunks`.
pub fn respond<C: Chunks>(chunks: C, unsent: &Arc<Unsent>) -> Response<Body> {
    let body = ChunkBody(State::Idle(Source { chunks, share: unsent.share() }));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

struct ChunkBody<C>(State<C>);

/// Nothing in it is pinned where it lies: futures are boxed.
impl<C> Unpin for ChunkBody<C> {}

enum State<C> {
    /// Nothing was asked for.
    Idle(Source<C>),
    /// The next step is on its way.
    Asking(Asking<C>),
    /// A header went out and this payload follows.
    Payload(Source<C>, Bytes),
    /// The trailers went out.
    Ended,
}

type Asking<C> = Pin<Box<dyn Future<Output = (Source<C>, Answer)> + Send>>;

struct Source<C> {
    chunks: C,
    share: Share,
}

/// A step, and how many bytes were asked for.
struct Answer {
    asked: usize,
    step: Result<Step, Status>,
}

impl<C: Chunks> Source<C> {
    /// Waits for the next step that is not an empty chunk.
    async fn step(mut self) -> (Self, Answer) {
        loop {
            let asked = self.share.room().await;
            let step = self.chunks.next(asked).await;
            let empty = matches!(&step, Ok(Step::Chunk { bytes, .. }) if bytes.is_empty());
            if !empty {
                return (self, Answer { asked, step });
            }
        }
    }
}

impl<C: Chunks> ChunkBody<C> {
    /// The frame for a step; the state after it is set.
    fn frame(&mut self, source: Source<C>, answer: Answer) -> Frame<Bytes> {
        match answer.step {
            Ok(Step::Chunk { bytes, starting_offset }) => {
                let fields = fields(bytes.len(), starting_offset);
                self.message(source, &fields, bytes, answer.asked)
            }
            Ok(Step::Message { fields, payload }) => {
                self.message(source, &fields, payload, answer.asked)
            }
            Ok(Step::End(trailers)) => Frame::trailers(status::ok(trailers)),
            Err(failure) => Frame::trailers(status::trailers(&failure)),
        }
    }
}

impl<C> ChunkBody<C> {
    /// The first frame of a message, and perhaps the only one.
    fn message(
        &mut self,
        mut source: Source<C>,
        fields: &[u8],
        payload: Bytes,
        asked: usize,
    ) -> Frame<Bytes> {
        let copied = payload.len() <= COPIED_CHUNK_BYTES_MAX;
        let mut head = prefixed(fields, payload.len(), if copied { payload.len() } else { 0 });
        if copied {
            head.put_slice(&payload);
            let both = source.share.charge(head.freeze(), asked);
            self.0 = State::Idle(source);
            return Frame::data(both);
        }
        let payload = source.share.charge(payload, asked);
        self.0 = State::Payload(source, payload);
        Frame::data(head.freeze())
    }
}

impl<C: Chunks> http_body::Body for ChunkBody<C> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut asking: Asking<C> = match mem::replace(&mut self.0, State::Ended) {
            State::Idle(source) => Box::pin(source.step()),
            State::Asking(asking) => asking,
            State::Payload(source, payload) => {
                self.0 = State::Idle(source);
                return Poll::Ready(Some(Ok(Frame::data(payload))));
            }
            State::Ended => return Poll::Ready(None),
        };
        match asking.as_mut().poll(context) {
            Poll::Ready((source, answer)) => Poll::Ready(Some(Ok(self.frame(source, answer)))),
            Poll::Pending => {
                self.0 = State::Asking(asking);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, State::Ended)
    }
}

/// The gRPC prefix (no compression, length) and `fields`, with room for `spare` bytes more.
fn prefixed(fields: &[u8], payload_bytes: usize, spare: usize) -> BytesMut {
    let message_bytes = fields.len() + payload_bytes;
    let mut head = BytesMut::with_capacity(5 + fields.len() + spare);
    head.put_u8(0);
    head.put_u32(u32::try_from(message_bytes).expect("a message is far below 4 GiB"));
    head.put_slice(fields);
    head
}

/// Everything of a chunk's message but its payload: the offset as field 2 if there is one, the
/// payload's key and length as field 1. Fields may come in any order.
fn fields(payload_bytes: usize, starting_offset: Option<u64>) -> Vec<u8> {
    const PAYLOAD_KEY: u8 = 1 << 3 | 2;
    const OFFSET_KEY: u8 = 2 << 3;
    let payload = u64::try_from(payload_bytes).expect("a length fits 64 bits");
    let offset_bytes = starting_offset.map_or(0, |offset| 1 + encoded_len_varint(offset));
    let mut fields = Vec::with_capacity(offset_bytes + 1 + encoded_len_varint(payload));
    if let Some(offset) = starting_offset {
        fields.push(OFFSET_KEY);
        encode_varint(offset, &mut fields);
    }
    fields.push(PAYLOAD_KEY);
    encode_varint(payload, &mut fields);
    fields
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use prost::Message;
    use tonic::Code;

    use super::*;
    use crate::{
        core::{failure::Kind, limits::CHUNK_BYTES},
        wire::modal::task_command_router::{SandboxStdioReadV2Response, TaskExecStdioReadResponse},
    };

    /// Gives `sizes`, one after the other, then an end.
    struct Script {
        sizes: Vec<usize>,
        offset: Option<u64>,
        end: Option<Result<HeaderMap, Status>>,
    }

    impl Chunks for Script {
        async fn next(&mut self, bytes_max: usize) -> Result<Step, Status> {
            if self.sizes.is_empty() {
                return self.end.take().expect("asked once").map(Step::End);
            }
            let size = self.sizes.remove(0);
            assert!(size <= bytes_max, "{size} of {bytes_max}");
            let starting_offset = self.offset;
            self.offset = self.offset.map(|offset| offset + size as u64);
            Ok(Step::Chunk { bytes: Bytes::from(vec![7; size]), starting_offset })
        }
    }

    async fn messages<M: Message + Default>(script: Script) -> (Vec<M>, HeaderMap) {
        let mut body = respond(script, &Unsent::new()).into_body();
        let (mut data, mut trailers) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            match frame.unwrap().into_data() {
                Ok(bytes) => data.extend_from_slice(&bytes),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        assert!(http_body::Body::is_end_stream(&body));
        let mut messages = Vec::new();
        while !data.is_empty() {
            let prefix = data.split_to(5);
            assert_eq!(prefix[0], 0);
            let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
            messages.push(M::decode(data.split_to(length as usize)).unwrap());
        }
        (messages, trailers.unwrap())
    }

    #[tokio::test]
    async fn messages_are_those_that_prost_would_write_and_none_is_empty() {
        let copied = COPIED_CHUNK_BYTES_MAX;
        let sizes =
            vec![1, 0, 127, 128, copied, copied + 1, 0, 16 << 10, 16 << 10, CHUNK_BYTES / 2];
        let end = Some(Ok(HeaderMap::from_iter([(status::END, HeaderValue::from_static("eof"))])));
        let script = Script { sizes: sizes.clone(), offset: None, end };
        let (messages, trailers) = messages::<TaskExecStdioReadResponse>(script).await;
        let seen: Vec<usize> = messages.iter().map(|message| message.data.len()).collect();
        assert_eq!(seen, sizes.into_iter().filter(|size| *size > 0).collect::<Vec<_>>());
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(trailers["doorward-end"], "eof");
    }

    #[tokio::test]
    async fn offsets_are_told_where_the_message_has_them() {
        let end = Some(Ok(HeaderMap::new()));
        let script = Script { sizes: vec![5, 5000], offset: Some(u64::MAX - 6000), end };
        let (messages, _) = messages::<SandboxStdioReadV2Response>(script).await;
        let offsets: Vec<u64> = messages.iter().map(|message| message.starting_offset).collect();
        assert_eq!(offsets, [u64::MAX - 6000, u64::MAX - 5995]);
    }

    #[tokio::test]
    async fn an_error_before_the_first_byte_is_in_the_trailers() {
        let failure = status::status(Kind::Unknown, "no such exec");
        let script = Script { sizes: vec![], offset: None, end: Some(Err(failure)) };
        let (messages, trailers) = messages::<TaskExecStdioReadResponse>(script).await;
        assert!(messages.is_empty());
        let status = Status::from_header_map(&trailers).unwrap();
        assert_eq!((status.code(), status.message()), (Code::NotFound, "no such exec"));
    }

    #[tokio::test]
    async fn what_is_not_written_is_charged_and_a_dropped_response_owes_nothing() {
        let unsent = Unsent::new();
        let sizes = vec![100, 16 << 10];
        let script = Script { sizes, offset: None, end: None };
        let mut body = respond(script, &unsent).into_body();
        let small = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(unsent.bytes(), small.len());
        drop(small);
        assert_eq!(unsent.bytes(), 0);
        let header = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(header.len() < 16);
        assert_eq!(unsent.bytes(), 16 << 10);
        drop(body);
        assert_eq!(unsent.bytes(), 0);
    }
}
