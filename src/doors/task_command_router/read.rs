//! Streams of output: a reader of a spool, as a gRPC response.

use std::sync::Arc;

use http::HeaderMap;
use tonic::{Status, metadata::MetadataValue};

use crate::{
    core::{failure::Kind, ids::Stream},
    doors::{
        chunks::{Chunks, Step},
        status,
    },
    exec::{
        engine::Reading,
        handle::Exec,
        spool::{End, Next, ReadError, Reader},
    },
};

/// Follows one stream of an exec from an offset.
pub(super) struct Output {
    exec: Arc<Exec>,
    stream: Stream,
    offsets: Offsets,
    from: u64,
    /// Opened when the exec has started.
    reader: Option<Reader>,
    /// Whether the client has had a chunk of this response.
    begun: bool,
    _reading: Reading,
}

/// Whether the messages say where their bytes start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offsets {
    /// They do, and the first one may start later than asked: a client takes its offset from it.
    Told,
    /// They do not: a client counts bytes, and a gap must be an error.
    Counted,
}

impl Output {
    pub(super) fn new(
        exec: Arc<Exec>,
        stream: Stream,
        from: u64,
        offsets: Offsets,
        reading: Reading,
    ) -> Self {
        Self { exec, stream, offsets, from, reader: None, begun: false, _reading: reading }
    }

    async fn reader(&mut self) -> Result<&mut Reader, Status> {
        if self.reader.is_none() {
            let started = self.exec.started().await;
            started.map_err(|failure| status::status(Kind::Refused, failure))?;
        }
        let spool = self.exec.output(self.stream);
        Ok(self.reader.get_or_insert_with(|| spool.reader(self.from)))
    }

    /// What a client is told at the end of a stream that is not the end of the file.
    fn end(&self, end: End) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert(status::END, http::HeaderValue::from_static(name(end)));
        if end == End::Linger {
            let writers = self.exec.survivors();
            let offset = self.exec.output(self.stream).range().end;
            let text = format!(
                "{writers} processes that the command left behind may still write to {}: what \
                 follows offset {offset} is kept and can be read from there",
                self.stream
            );
            status::warn(&mut trailers, &text);
        }
        trailers
    }

    fn refused(&mut self, error: ReadError) -> Result<(), Status> {
        let message = format!("read {} of {}: {error}", self.stream, self.exec.id());
        match (error, self.offsets) {
            (ReadError::Dropped { first, .. }, Offsets::Told) if !self.begun => {
                self.from = first;
                self.reader = None;
                Ok(())
            }
            // A client takes its offset from the first chunk of an attempt only: make it try
            // again, which it does on this code.
            (ReadError::Dropped { .. }, Offsets::Told) => Err(Status::unavailable(message)),
            (ReadError::Dropped { first, .. }, Offsets::Counted) => {
                let mut refusal = status::status(Kind::OutOfRange, message);
                let first = MetadataValue::from(first);
                refusal.metadata_mut().insert("doorward-first-offset", first);
                Err(refusal)
            }
            (ReadError::Beyond { .. }, _) => Err(status::status(Kind::OutOfRange, message)),
            (ReadError::Io(_), _) => Err(status::status(Kind::Internal, message)),
        }
    }
}

impl Chunks for Output {
    async fn next(&mut self, bytes_max: usize) -> Result<Step, Status> {
        loop {
            match self.reader().await?.next(bytes_max).await {
                Ok(Next::Data { offset, bytes }) => {
                    self.begun = true;
                    let starting_offset = match self.offsets {
                        Offsets::Told => Some(offset),
                        Offsets::Counted => None,
                    };
                    return Ok(Step::Chunk { bytes, starting_offset });
                }
                Ok(Next::End(end)) => return Ok(Step::End(self.end(end))),
                Err(error) => self.refused(error)?,
            }
        }
    }
}

fn name(end: End) -> &'static str {
    match end {
        End::Eof => "eof",
        End::Quiet => "quiet",
        End::Linger => "linger",
    }
}
