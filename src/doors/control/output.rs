//! Output with its offsets, as a response that copies none of it.

use std::sync::Arc;

use http::{HeaderMap, Response};
use prost::Message;
use tonic::{Status, body::Body};

use super::{
    Control,
    follow::{Follow, From, Piece, READ_CHUNK, chunk_fields},
    wire,
};
use crate::{
    core::{failure::Kind, ids::Stream},
    doors::{
        chunks::{self, Chunks, Step},
        request::single_request,
        status::{leaving, status},
        unsent::Unsent,
    },
    exec::{
        engine::{Engine, Reading},
        handle::Exec,
    },
    wire::doorward::v1::{read_output_response::Event, stream_from::Start},
};

/// One call.
struct Output {
    engine: Arc<Engine>,
    follow: Follow,
    /// Bytes that may still be given; `None`: any number.
    left: Option<u64>,
    _reading: Reading,
}

/// `ReadOutput`, past the service that tonic generates.
pub(super) async fn respond(
    control: &Control,
    request: http::Request<Body>,
    unsent: &Arc<Unsent>,
) -> Response<Body> {
    let output = async {
        let request: wire::ReadOutputRequest = single_request(request).await?;
        let exec = control.exec(&request.task_id, &request.exec_id)?;
        let from = places(&exec, &request)?;
        Ok(Output {
            engine: control.engine.clone(),
            follow: Follow::new(&exec, from),
            left: (request.bytes_max > 0).then_some(request.bytes_max),
            _reading: control.engine.reading(),
        })
    };
    match output.await {
        Ok(output) => chunks::respond(output, unsent),
        Err(refusal) => Status::into_http(refusal),
    }
}

/// Where each stream that was asked for begins and stops.
fn places(exec: &Exec, request: &wire::ReadOutputRequest) -> Result<Vec<From>, Status> {
    let both = [Stream::Stdout, Stream::Stderr].map(|stream| (stream, None));
    let asked = match &request.from[..] {
        [] => both.to_vec(),
        from => from
            .iter()
            .map(|from| Ok((stream(from.stream)?, from.start)))
            .collect::<Result<Vec<_>, Status>>()?,
    };
    if asked.iter().enumerate().any(|(n, (one, _))| asked[..n].iter().any(|(a, _)| a == one)) {
        return Err(status(Kind::Invalid, "from names a stream twice"));
    }
    let places = asked.into_iter().map(|(stream, start)| {
        let range = exec.output(stream).range();
        let offset = match start {
            None => range.first,
            Some(Start::Offset(offset)) => offset,
            Some(Start::TailBytes(bytes)) => range.end.saturating_sub(bytes).max(range.first),
        };
        From { stream, offset, until: (!request.follow).then_some(range.end) }
    });
    Ok(places.collect())
}

fn stream(number: i32) -> Result<Stream, Status> {
    match wire::OutputStream::try_from(number) {
        Ok(wire::OutputStream::Stdout) => Ok(Stream::Stdout),
        Ok(wire::OutputStream::Stderr) => Ok(Stream::Stderr),
        Ok(wire::OutputStream::Unspecified) | Err(_) => {
            Err(status(Kind::Invalid, format_args!("stream {number} is none of stdout and stderr")))
        }
    }
}

impl Chunks for Output {
    async fn next(&mut self, bytes_max: usize) -> Result<Step, Status> {
        if self.follow.is_over() {
            return Ok(Step::End(HeaderMap::new()));
        }
        let index = tokio::select! {
            biased;
            () = self.engine.leaving() => return Err(leaving()),
            index = self.follow.ready() => index,
        };
        let left = self.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let event = match self.follow.take(index, bytes_max.min(left)).await? {
            Piece::Chunk(chunk, payload) => {
                if let Some(left) = &mut self.left {
                    *left -= payload.len() as u64;
                    if *left == 0 {
                        self.follow.stop();
                    }
                }
                let fields = chunk_fields(READ_CHUNK, &chunk, payload.len());
                return Ok(Step::Message { fields, payload });
            }
            Piece::Gap(gap) => Event::Gap(gap),
            Piece::End(end) => Event::End(end),
        };
        let message = wire::ReadOutputResponse { event: Some(event) };
        Ok(Step::Message { fields: message.encode_to_vec(), payload: bytes::Bytes::new() })
    }
}
