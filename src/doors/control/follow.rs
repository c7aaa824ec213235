//! Outputs of an exec from given offsets on, with gaps where bytes are not kept any more: what
//! ReadOutput and Attach have in common.
//!
//! Streams take turns where both have something, so that neither starves the other. Nothing is read
//! ahead: a piece is taken when the connection has room for it.

use std::{sync::Arc, time::Duration};

use prost::{Message, encoding::encode_varint};
use tonic::Status;

use super::wire;
use crate::{
    core::{failure::Kind, ids::Stream},
    doors::status::status,
    exec::{
        handle::Exec,
        spool::{End, Next, ReadError, Reader},
    },
};

/// Outputs that are followed, at most one place a stream.
pub(super) struct Follow {
    exec: Arc<Exec>,
    places: Vec<Place>,
    /// Which of them has its turn if several have something.
    turn: usize,
}

/// Where one stream is to begin, and where to stop if not at its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct From {
    pub(super) stream: Stream,
    pub(super) offset: u64,
    pub(super) until: Option<u64>,
}

struct Place {
    stream: Stream,
    reader: Reader,
    until: Option<u64>,
    /// Whether its end was given.
    over: Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Yes,
    No,
}

/// The field that is a chunk in ReadOutputResponse …
pub(super) const READ_CHUNK: u8 = 1;
/// … and in AttachResponse.
pub(super) const ATTACH_CHUNK: u8 = 3;

/// What comes of a stream.
#[derive(Debug)]
pub(super) enum Piece {
    /// Bytes, at least one, in a message without them.
    Chunk(wire::OutputChunk, bytes::Bytes),
    Gap(wire::OutputGap),
    End(wire::OutputEnd),
}

impl Follow {
    pub(super) fn new(exec: &Arc<Exec>, from: impl IntoIterator<Item = From>) -> Self {
        let places = from.into_iter().map(|from| Place {
            stream: from.stream,
            reader: exec.output(from.stream).reader(from.offset),
            until: from.until,
            over: Over::No,
        });
        Self { exec: exec.clone(), places: places.collect(), turn: 0 }
    }

    /// Whether the end of each stream was given.
    pub(super) fn is_over(&self) -> bool {
        self.places.iter().all(|place| place.over == Over::Yes)
    }

    /// Gives no more than an end of each stream from here on.
    pub(super) fn stop(&mut self) {
        for place in &mut self.places {
            place.until = Some(place.reader.offset());
        }
    }

    /// Waits until [`Follow::take`] has something, and says of which. Cancel-safe.
    pub(super) async fn ready(&self) -> usize {
        let first = self.turn;
        let second = (self.turn + 1) % self.places.len().max(1);
        tokio::select! {
            biased;
            () = self.place_ready(first) => first,
            () = self.place_ready(second) => second,
        }
    }

    async fn place_ready(&self, index: usize) {
        match self.places.get(index) {
            Some(place) if place.over == Over::No => {
                if !place.stops() {
                    place.reader.ready().await;
                }
            }
            Some(_) | None => std::future::pending().await,
        }
    }

    /// Takes what comes next of a stream that is ready, at most `bytes_max` bytes. If the future is
    /// dropped, nothing was taken.
    pub(super) async fn take(&mut self, index: usize, bytes_max: usize) -> Result<Piece, Status> {
        self.turn = (index + 1) % self.places.len();
        let (exec, place) = (&self.exec, &mut self.places[index]);
        let spool = exec.output(place.stream);
        let stream = wire_stream(place.stream).into();
        let offset = place.reader.offset();
        let refused = |error: ReadError| {
            let kind = match error {
                ReadError::Beyond { .. } => Kind::OutOfRange,
                ReadError::Dropped { .. } | ReadError::Io(_) => Kind::Internal,
            };
            status(kind, format_args!("read {} of {}: {error}", place.stream, exec.id()))
        };
        if place.stops() {
            let end = place.reader.end().map_err(refused)?;
            place.over = Over::Yes;
            return Ok(Piece::End(ended(stream, offset, end)));
        }
        // Bytes that came at another moment are another chunk's.
        let together = spool.arrival(offset).map_or(u64::MAX, |(_, until)| until);
        let until = place.until.unwrap_or(u64::MAX).min(together);
        let bytes_max = usize::try_from(until - offset).map_or(bytes_max, |n| n.min(bytes_max));
        match place.reader.next(bytes_max).await {
            Ok(Next::Data { offset, bytes }) => {
                let arrived = spool.arrival(offset + bytes.len() as u64 - 1);
                let arrived = arrived.map(|(at_ms, _)| {
                    (std::time::UNIX_EPOCH + Duration::from_millis(at_ms)).into()
                });
                let chunk = wire::OutputChunk { stream, offset, arrived, ..Default::default() };
                Ok(Piece::Chunk(chunk, bytes))
            }
            Ok(Next::End(end)) => {
                place.over = Over::Yes;
                Ok(Piece::End(ended(stream, offset, Some(end))))
            }
            Err(ReadError::Dropped { asked, first }) => {
                let end = place.until.map_or(first, |until| until.min(first));
                place.reader = spool.reader(end);
                Ok(Piece::Gap(wire::OutputGap { stream, first_offset: asked, end_offset: end }))
            }
            Err(error @ (ReadError::Beyond { .. } | ReadError::Io(_))) => Err(refused(error)),
        }
    }
}

impl Place {
    /// Whether it has come as far as it was to go.
    fn stops(&self) -> bool {
        self.until.is_some_and(|until| self.reader.offset() >= until)
    }
}

fn ended(stream: i32, offset: u64, end: Option<End>) -> wire::OutputEnd {
    let reason = match end {
        None => "",
        Some(End::Eof) => "eof",
        Some(End::Quiet) => "quiet",
        Some(End::Linger) => "linger",
    };
    wire::OutputEnd { stream, offset, ended: end.is_some(), reason: reason.into() }
}

/// A stream as the wire names it.
pub(super) fn wire_stream(stream: Stream) -> wire::OutputStream {
    match stream {
        Stream::Stdout => wire::OutputStream::Stdout,
        Stream::Stderr => wire::OutputStream::Stderr,
    }
}

/// A message whose field `number` is `chunk`, up to the chunk's data: see
/// [`Step::Message`](crate::doors::chunks::Step::Message).
pub(super) fn chunk_fields(number: u8, chunk: &wire::OutputChunk, data_bytes: usize) -> Vec<u8> {
    const LENGTH_DELIMITED: u8 = 2;
    const DATA_KEY: u8 = 3 << 3 | LENGTH_DELIMITED;
    let mut inner = chunk.encode_to_vec();
    inner.push(DATA_KEY);
    encode_varint(data_bytes as u64, &mut inner);
    let mut fields = Vec::with_capacity(inner.len() + 11);
    fields.push(number << 3 | LENGTH_DELIMITED);
    encode_varint((inner.len() + data_bytes) as u64, &mut fields);
    fields.extend_from_slice(&inner);
    fields
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_chunk_is_what_prost_would_read(
            offset: u64, seconds in 0i64..1 << 40, data in proptest::collection::vec(any::<u8>(), 1..300)
        ) {
            let arrived = Some(prost_types::Timestamp { seconds, nanos: 5_000_000 });
            let stream = wire::OutputStream::Stderr.into();
            let chunk = wire::OutputChunk { stream, offset, arrived, ..Default::default() };
            let whole = wire::OutputChunk { data: data.clone().into(), ..chunk };
            let message = |number| {
                let mut message = chunk_fields(number, &chunk, data.len());
                message.extend_from_slice(&data);
                message
            };
            let read = wire::ReadOutputResponse::decode(&message(READ_CHUNK)[..]).unwrap();
            let wanted = wire::read_output_response::Event::Chunk(whole.clone());
            prop_assert_eq!(read.event, Some(wanted));
            let read = wire::AttachResponse::decode(&message(ATTACH_CHUNK)[..]).unwrap();
            let wanted = wire::attach_response::Message::Chunk(whole);
            prop_assert_eq!(read.message, Some(wanted));
        }
    }
}
