//! How far an attached client has come in both streams: pure.

use crate::{
    core::{ids::Stream, limits::ATTACH_TAIL_BYTES},
    wire::doorward::v1::{self as wire, attach_open},
};

use super::AttachStart;

/// The offsets of what was told, and what a reopened call begins with.
#[derive(Debug)]
pub(super) struct Place {
    /// Where each stream goes on; unknown until the agent has said where the screen stands.
    next: [Option<u64>; 2],
    /// Streams whose end was told.
    ended: [bool; 2],
}

impl Place {
    pub(super) fn new(start: AttachStart) -> Self {
        let next = match start {
            AttachStart::Screen => [None, None],
            AttachStart::Offsets { stdout, stderr } => [Some(stdout), Some(stderr)],
        };
        Self { next, ended: [false, false] }
    }

    /// What to ask for.
    pub(super) fn start(&self) -> attach_open::Start {
        match self.next {
            [Some(stdout), Some(stderr)] => {
                attach_open::Start::Offsets(wire::AttachOffsets { stdout, stderr })
            }
            [Some(_) | None, Some(_) | None] => attach_open::Start::Screen(wire::AttachScreen {}),
        }
    }

    /// The agent has answered. Without a terminal the tail begins where the streams then stood;
    /// with one, `drawn` says it.
    pub(super) fn opened(&mut self, exec: &wire::Exec) {
        if exec.terminal.is_some() {
            return;
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            let range = exec.streams.iter().find(|range| range.stream == wire_stream(stream));
            let tail = range.map_or(0, |range| {
                range.end_offset.saturating_sub(ATTACH_TAIL_BYTES).max(range.first_offset)
            });
            self.next[stream as usize].get_or_insert(tail);
        }
    }

    /// The screen shows everything below `offset` of standard output.
    pub(super) fn drawn(&mut self, offset: u64) {
        self.next = [Some(offset), Some(self.next[1].unwrap_or(0))];
    }

    /// Output or a gap from `from` to `to` comes. False if it is not what follows.
    pub(super) fn advance(&mut self, stream: Stream, from: u64, to: u64) -> bool {
        let next = &mut self.next[stream as usize];
        let follows = next.is_none_or(|next| next == from) && from < to;
        *next = Some(to);
        self.ended[stream as usize] = false;
        follows
    }

    /// The stream has ended. False if that was told before.
    pub(super) fn end(&mut self, stream: Stream) -> bool {
        !std::mem::replace(&mut self.ended[stream as usize], true)
    }

    /// Whether both streams' ends were told.
    pub(super) fn is_over(&self) -> bool {
        self.ended == [true, true]
    }
}

fn wire_stream(stream: Stream) -> i32 {
    match stream {
        Stream::Stdout => wire::OutputStream::Stdout.into(),
        Stream::Stderr => wire::OutputStream::Stderr.into(),
    }
}
