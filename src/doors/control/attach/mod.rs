//! Sitting before an exec: a call in two halves that wait for nothing of each other.
//!
//! ```text
//! messages ──▶ inflow, a task ──▶ input, size, signals of the exec
//!                 │ how far input was accepted, why the call must end
//!                 ▼
//! answers ◀── outflow ◀── outputs, the screen, the end, other writers, other sizes
//! ```
//!
//! The outflow is pulled by the connection, so that a caller who does not read costs a chunk or two;
//! the inflow reads on while the exec takes no input, so that a signal passes what was typed. The
//! exec holds nothing of the call but a seat, which is left when the call is dropped.

mod inflow;
mod outflow;

use std::sync::Arc;

use http::Response;
use tonic::{
    Status,
    body::Body,
    codec::{Codec, Streaming},
};

use self::{inflow::Inflow, outflow::Outflow};
use super::{Control, follow::From, render, resize::size, wire};
use crate::{
    core::{
        failure::Kind,
        ids::Stream,
        limits::{ATTACH_MESSAGE_BYTES_MAX, ATTACH_TAIL_BYTES},
        spec::WindowSize,
    },
    doors::{
        auth::Caller,
        chunks,
        inflight::Charge,
        status::{leaving, status},
        unsent::Unsent,
    },
    exec::{
        handle::Exec,
        screen::{self, Drawing},
        seats::{Seat, Taken},
    },
    wire::{
        CheckedCodec,
        doorward::v1::{
            attach_open::Start, attach_request::Message as Request,
            attach_response::Message as Answer,
        },
    },
};

/// `Attach`, past the service that tonic generates.
pub(super) async fn respond(
    control: &Control,
    request: http::Request<Body>,
    unsent: &Arc<Unsent>,
) -> Response<Body> {
    match open(control, request).await {
        Ok(outflow) => chunks::respond(outflow, unsent),
        Err(refusal) => refusal.into_http(),
    }
}

async fn open(control: &Control, request: http::Request<Body>) -> Result<Outflow, Status> {
    let (head, body) = request.into_parts();
    let caller = head.extensions.get::<Caller>().cloned();
    let who = caller.map_or_else(|| "unknown".into(), |caller| caller.subject);
    let mut messages = messages(body);
    let open = tokio::select! {
        open = first(&mut messages) => open?,
        () = control.engine.leaving() => return Err(leaving()),
    };
    let exec = control.exec(&open.task_id, &open.exec_id)?;
    let size = open.size.map(size).transpose()?;
    let reading = control.engine.reading();
    // Before its start the exec takes no input; a start that failed is told as its end.
    let _ = exec.started().await;

    let (seat, taken) = sit(&exec, &open, &who);
    screen::keep(&exec);
    let sizes = inflow::Own::default();
    if let (Some(Taken::Turn { .. }), Some(size)) = (&taken, size) {
        sizes.resize(&exec, size);
    }
    let seat = Arc::new(seat);
    let (stdin_accepted, turn) = match &taken {
        Some(Taken::Turn { turn, accepted, .. }) => (*accepted, *turn),
        Some(Taken::Displaced { .. }) | None => (exec.input().peek().0, 0),
    };
    // In the size of this caller's terminal, if it writes.
    let drawing = match open.start {
        Some(Start::Screen(wire::AttachScreen {})) => tokio::select! {
            drawing = screen::draw(&exec) => drawing,
            () = control.engine.leaving() => return Err(leaving()),
        },
        Some(Start::Offsets(_)) | None => None,
    };
    let opened = Answer::Opened(wire::AttachOpened {
        exec: Some(render::exec(control, &exec)),
        stdin_accepted,
        agent_instance: control.instance().to_string(),
        turn,
    });
    let inflow = Inflow {
        engine: control.engine.clone(),
        exec: exec.clone(),
        seat: seat.clone(),
        sizes: sizes.clone(),
        messages,
        charge: head.extensions.get::<Charge>().cloned(),
    };
    let mut outflow = Outflow::new(control.engine.clone(), exec.clone(), seat, reading);
    outflow.tell(opened);
    if let Some(Taken::Displaced { by }) = &taken {
        outflow.tell(Answer::Displaced(wire::AttachDisplaced { by: by.to_string() }));
    }
    let places = places(&exec, open.start, drawing.as_ref());
    if let Some(drawing) = drawing {
        outflow.tell(drawn(drawing));
    }
    outflow.begin(places, inflow.start(taken), sizes);
    Ok(outflow)
}

/// The messages of a call, each of a bounded size.
fn messages(body: Body) -> Streaming<wire::AttachRequest> {
    let decoder = CheckedCodec::<wire::AttachResponse, wire::AttachRequest>::default().decoder();
    Streaming::new_request(decoder, body, None, Some(ATTACH_MESSAGE_BYTES_MAX))
}

/// The first message, which must be `open`.
async fn first(messages: &mut Streaming<wire::AttachRequest>) -> Result<wire::AttachOpen, Status> {
    match messages.message().await?.and_then(|message| message.message) {
        Some(Request::Open(open)) => Ok(open),
        Some(Request::Input(_) | Request::Resize(_) | Request::Signal(_)) | None => {
            Err(status(Kind::Invalid, "attach: the first message is not open"))
        }
    }
}

/// Takes a seat, and the turn at writing if that was asked for.
fn sit(exec: &Arc<Exec>, open: &wire::AttachOpen, who: &Arc<str>) -> (Seat, Option<Taken>) {
    let mut seat = Seat::observe(exec);
    let taken = open.write.then(|| seat.take(who, open.turn));
    (seat, taken)
}

/// Where the outputs begin.
fn places(exec: &Exec, start: Option<Start>, drawing: Option<&Drawing>) -> [From; 2] {
    let from = |stream, offset| From { stream, offset, until: None };
    let both = |offset: fn(&Exec, Stream) -> u64| {
        [Stream::Stdout, Stream::Stderr].map(|stream| from(stream, offset(exec, stream)))
    };
    if let Some(drawing) = drawing {
        return [from(Stream::Stdout, drawing.offset), from(Stream::Stderr, 0)];
    }
    match start {
        None => both(|exec, stream| exec.output(stream).range().first),
        Some(Start::Offsets(at)) => {
            [from(Stream::Stdout, at.stdout), from(Stream::Stderr, at.stderr)]
        }
        Some(Start::Screen(wire::AttachScreen {})) => both(|exec, stream| {
            let range = exec.output(stream).range();
            range.end.saturating_sub(ATTACH_TAIL_BYTES).max(range.first)
        }),
    }
}

fn drawn(drawing: Drawing) -> Answer {
    let Drawing { data, offset, size, incomplete } = drawing;
    let size = Some(wire_size(size));
    Answer::Drawn(wire::AttachDrawn { data: data.into(), size, offset, incomplete })
}

fn wire_size(size: WindowSize) -> wire::TerminalSize {
    wire::TerminalSize { rows: size.rows().into(), columns: size.columns().into() }
}
