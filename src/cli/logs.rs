//! `doorward logs`: an exec's output, as it was and as it comes.
//!
//! Bytes go out as they came in: what a command printed for a terminal acts on ours, as with any
//! log. Only `--timestamps` and `--json` change anything.

use std::{
    fs::File,
    io::{self, stderr, stdout},
    thread,
};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::{
    connect::Connection,
    failure::{self, EXIT_HELP, asking},
    output::{Follow, KeptOutput},
    show::{Format, human::count, json, words},
    streams::{PIECES, own, write_whole},
};
use crate::{
    client::ClientError,
    core::{ids::ExecId, units},
    wire::doorward::v1::{
        self as wire, OutputStream, read_output_response::Event, stream_from::Start,
    },
};

/// The arguments of `doorward logs`.
#[derive(Args, Debug)]
#[command(after_help = format!("What is not kept any more is told on standard error, as [doorward: N bytes are not \
    kept any more].\n\nWith --json, one object a line: {{\"event\": \"chunk\", \"stream\", \"offset\", \
    \"data\" in Base64, \"arrived\"}}, {{\"event\": \"gap\", \"stream\", \"first_offset\", \
    \"end_offset\"}} or {{\"event\": \"end\", \"stream\", \"offset\", \"ended\", \"reason\"}}.\n\n{EXIT_HELP}"))]
pub struct LogsArgs {
    #[command(flatten)]
    connection: Connection,
    /// Go on with what comes until the output ends
    #[arg(short, long)]
    follow: bool,
    /// Only what it printed on standard output; with a terminal, that is everything
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,
    /// Only what it printed on standard error
    #[arg(long)]
    stderr: bool,
    /// Begin at this byte of each stream
    #[arg(long, value_name = "BYTE", default_value_t = 0, hide_default_value = true)]
    offset: u64,
    /// Begin so far before the present end of each stream, in bytes or as 64KiB or 1MiB
    #[arg(long, value_name = "SIZE", conflicts_with = "offset", value_parser = units::size)]
    tail: Option<u64>,
    /// Put before each line when it reached the agent, in UTC; - where that is not known
    #[arg(short, long, conflicts_with = "json")]
    timestamps: bool,
    #[command(flatten)]
    format: Format,
    /// Which exec
    #[arg(value_name = "ID", value_parser = ExecId::parse)]
    id: ExecId,
}

/// Prints it. Goes on by itself after a break, where it was.
pub async fn run(args: LogsArgs) -> anyhow::Result<u8> {
    let control = args.connection.connect().await?.control();
    let start = match args.tail {
        Some(bytes) => Start::TailBytes(bytes),
        None => Start::Offset(args.offset),
    };
    let streams = match (args.stdout, args.stderr) {
        (true, _) => &[OutputStream::Stdout][..],
        (false, true) => &[OutputStream::Stderr],
        (false, false) => &[OutputStream::Stdout, OutputStream::Stderr],
    };
    let follow = if args.follow { Follow::ToTheEnd } else { Follow::WhatIsThere };
    let from = streams.iter().map(|stream| (*stream, start));
    let mut output = KeptOutput::new(&control, &args.id, follow, from);
    let mut form = match (args.format.json, args.timestamps) {
        (true, _) => Form::Json,
        (false, true) => Form::Stamped { stdout: Line::Begin, stderr: Line::Begin },
        (false, false) => Form::Plain,
    };
    let writer = Writer::start().context("use our standard streams")?;
    let read = copy(&mut output, &mut form, &writer.pieces).await;
    // What came before an error is output all the same.
    writer.finish().await?;
    read.map_err(asking(format!("read the output of {}", args.id)))?;
    Ok(0)
}

/// Hands everything to the writer, until the end or until nobody takes it.
async fn copy(
    output: &mut KeptOutput,
    form: &mut Form,
    pieces: &mpsc::Sender<Piece>,
) -> Result<(), ClientError> {
    while let Some(event) = output.next().await? {
        for piece in form.pieces(&event) {
            if pieces.send(piece).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A piece of ours: where it goes, and its bytes.
type Piece = (Target, Bytes);

/// Which of our own streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Stdout,
    Stderr,
}

/// How output is written.
enum Form {
    /// Byte by byte.
    Plain,
    /// With the time of its arrival before each line.
    Stamped { stdout: Line, stderr: Line },
    /// An object an event.
    Json,
}

/// Where in a line a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Begin,
    Within,
}

impl Form {
    fn pieces(&mut self, event: &Event) -> Vec<Piece> {
        match (self, event) {
            (Self::Json, event) => vec![(Target::Stdout, JsonEvent::line(event))],
            (Self::Plain, Event::Chunk(chunk)) => vec![(target(chunk), chunk.data.clone())],
            (Self::Stamped { stdout, stderr }, Event::Chunk(chunk)) => {
                let line = match target(chunk) {
                    Target::Stdout => stdout,
                    Target::Stderr => stderr,
                };
                vec![(target(chunk), stamped(chunk, line))]
            }
            (Self::Plain | Self::Stamped { .. }, Event::Gap(gap)) => {
                let bytes = gap.end_offset.saturating_sub(gap.first_offset);
                let bytes = count(bytes, "byte is", "bytes are");
                let notice = format!("[doorward: {bytes} not kept any more]\n");
                vec![(Target::Stderr, notice.into())]
            }
            (Self::Plain | Self::Stamped { .. }, Event::End(_)) => Vec::new(),
        }
    }
}

fn target(chunk: &wire::OutputChunk) -> Target {
    match chunk.stream() {
        OutputStream::Stderr => Target::Stderr,
        OutputStream::Stdout | OutputStream::Unspecified => Target::Stdout,
    }
}

/// The chunk with its time of arrival before each line that begins in it.
fn stamped(chunk: &wire::OutputChunk, line: &mut Line) -> Bytes {
    let arrived = chunk.arrived.map_or("-".to_string(), |time| time.to_string());
    let mut text = Vec::with_capacity(chunk.data.len() + 64);
    for part in chunk.data.split_inclusive(|byte| *byte == b'\n') {
        if *line == Line::Begin {
            text.extend_from_slice(arrived.as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(part);
        *line = if part.ends_with(b"\n") { Line::Begin } else { Line::Within };
    }
    text.into()
}

/// One line of `--json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum JsonEvent<'a> {
    Chunk {
        stream: &'static str,
        offset: u64,
        data: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        arrived: Option<String>,
    },
    Gap {
        stream: &'static str,
        first_offset: u64,
        end_offset: u64,
    },
    End {
        stream: &'static str,
        offset: u64,
        ended: bool,
        #[serde(skip_serializing_if = "str::is_empty")]
        reason: &'a str,
    },
}

impl<'a> JsonEvent<'a> {
    fn line(event: &'a Event) -> Bytes {
        let event = match event {
            Event::Chunk(chunk) => Self::Chunk {
                stream: words::stream(chunk.stream()),
                offset: chunk.offset,
                data: STANDARD.encode(&chunk.data),
                arrived: json::time(&chunk.arrived),
            },
            Event::Gap(gap) => Self::Gap {
                stream: words::stream(gap.stream()),
                first_offset: gap.first_offset,
                end_offset: gap.end_offset,
            },
            Event::End(end) => Self::End {
                stream: words::stream(end.stream()),
                offset: end.offset,
                ended: end.ended,
                reason: &end.reason,
            },
        };
        json::line_text(&event).into()
    }
}

/// Writes pieces in the order in which they came, on a thread: our reader may be slow, and the connection
/// must go on meanwhile.
struct Writer {
    pieces: mpsc::Sender<Piece>,
    written: oneshot::Receiver<io::Result<()>>,
}

impl Writer {
    fn start() -> io::Result<Self> {
        let (out, err) = (own(stdout())?, own(stderr())?);
        let (pieces, mut received) = mpsc::channel::<Piece>(PIECES);
        let (tell, written) = oneshot::channel();
        thread::spawn(move || {
            let (mut out, mut err) = (File::from(out), File::from(err));
            let mut write = || {
                while let Some((target, bytes)) = received.blocking_recv() {
                    match target {
                        Target::Stdout => write_whole(&mut out, &bytes)?,
                        Target::Stderr => write_whole(&mut err, &bytes)?,
                    }
                }
                Ok(())
            };
            let result = write();
            // Before the answer, so that whoever sends learns of it at once.
            drop(received);
            // Nobody listens once we were told to leave.
            let _ = tell.send(result);
        });
        Ok(Self { pieces, written })
    }

    /// Waits until all is written.
    async fn finish(self) -> anyhow::Result<()> {
        drop(self.pieces);
        let written = self.written.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
        written.map_err(failure::output)
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn chunk(data: &'static [u8], seconds: Option<i64>) -> wire::OutputChunk {
        wire::OutputChunk {
            stream: OutputStream::Stderr.into(),
            offset: 7,
            data: Bytes::from_static(data),
            arrived: seconds.map(|seconds| Timestamp { seconds, nanos: 0 }),
        }
    }

    #[test]
    fn a_stamp_stands_before_each_line_and_only_there() {
        let mut line = Line::Begin;
        let mut all = Vec::new();
        for (data, seconds) in [(&b"a\nb"[..], Some(1)), (b"c\n", Some(2)), (b"\nd", None)] {
            all.extend_from_slice(&stamped(&chunk(data, seconds), &mut line));
        }
        let expected = "1970-01-01T00:00:01Z a\n1970-01-01T00:00:01Z bc\n- \n- d";
        assert_eq!(String::from_utf8(all).unwrap(), expected);
    }

    #[test]
    fn events_as_json_and_as_text() {
        let gap = Event::Gap(wire::OutputGap { stream: 1, first_offset: 5, end_offset: 6 });
        let cases = [
            (
                Event::Chunk(chunk(b"\xff\n", Some(0))),
                r#"{"event":"chunk","stream":"stderr","offset":7,"data":"/wo=","arrived":"1970-01-01T00:00:00Z"}"#,
            ),
            (gap.clone(), r#"{"event":"gap","stream":"stdout","first_offset":5,"end_offset":6}"#),
            (
                Event::End(wire::OutputEnd {
                    stream: 1,
                    offset: 6,
                    ended: false,
                    reason: "".into(),
                }),
                r#"{"event":"end","stream":"stdout","offset":6,"ended":false}"#,
            ),
        ];
        for (event, expected) in cases {
            let pieces = Form::Json.pieces(&event);
            assert_eq!(pieces, [(Target::Stdout, Bytes::from(format!("{expected}\n")))]);
        }
        let notice = Bytes::from("[doorward: 1 byte is not kept any more]\n");
        assert_eq!(Form::Plain.pieces(&gap), [(Target::Stderr, notice)]);
    }
}
