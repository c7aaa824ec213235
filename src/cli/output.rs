//! An exec's kept output by offset, however often the connection breaks.

use bytes::Bytes;
use tonic::{Status, Streaming};

use crate::{
    client::{ClientError, Control, Patience},
    core::ids::ExecId,
    wire::doorward::v1::{
        self as wire, OutputStream, ReadOutputRequest, StreamFrom, read_output_response::Event,
        stream_from::Start,
    },
};

/// Reads one or both outputs of an exec to their end, resumed by itself at the offsets reached.
pub(super) struct KeptOutput {
    control: Control,
    patience: Patience,
    exec_id: String,
    follow: Follow,
    places: Vec<Place>,
    open: Option<Streaming<wire::ReadOutputResponse>>,
}

/// Whether to wait for what is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// To the end of the streams.
    ToTheEnd,
    /// What is there.
    WhatIsThere,
}

/// How far one of the outputs was read.
struct Place {
    stream: OutputStream,
    start: Start,
    is_over: bool,
}

impl KeptOutput {
    /// A reader of these streams, each from its start on.
    pub(super) fn new(
        control: &Control,
        id: &ExecId,
        follow: Follow,
        from: impl IntoIterator<Item = (OutputStream, Start)>,
    ) -> Self {
        let place = |(stream, start)| Place { stream, start, is_over: false };
        Self {
            control: control.clone(),
            patience: control.patience(),
            exec_id: id.to_string(),
            follow,
            places: from.into_iter().map(place).collect(),
            open: None,
        }
    }

    /// The next chunk, gap or end; `None` once every stream has had its end. What is missing between two
    /// chunks has always been told as a gap: otherwise it is an error. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        while self.places.iter().any(|place| !place.is_over) {
            let open = match &mut self.open {
                Some(open) => open,
                None => self.open.insert(self.control.read_output(self.request()).await?),
            };
            let status = match open.message().await {
                Ok(Some(message)) => {
                    self.patience.progress();
                    match message.event.map(|event| take(&mut self.places, event)) {
                        Some(event) => match event? {
                            Some(event) => return Ok(Some(event)),
                            None => continue,
                        },
                        None => continue,
                    }
                }
                // Each stream is told its end; a call that ends before has broken off.
                Ok(None) => Status::unavailable("the output broke off without its end"),
                Err(status) => status,
            };
            self.open = None;
            self.patience.after(status).await?;
        }
        Ok(None)
    }

    fn request(&self) -> ReadOutputRequest {
        let from = self
            .places
            .iter()
            .filter(|place| !place.is_over)
            .map(|place| StreamFrom { stream: place.stream.into(), start: Some(place.start) });
        ReadOutputRequest {
            exec_id: self.exec_id.clone(),
            from: from.collect(),
            follow: self.follow == Follow::ToTheEnd,
            ..Default::default()
        }
    }
}

/// Moves the place that an event is about behind it. What was there before is cut off; `None` if nothing is
/// left.
fn take(places: &mut [Place], event: Event) -> Result<Option<Event>, ClientError> {
    let stream = match &event {
        Event::Chunk(chunk) => chunk.stream(),
        Event::Gap(gap) => gap.stream(),
        Event::End(end) => end.stream(),
    };
    let place = places.iter_mut().find(|place| place.stream == stream && !place.is_over);
    let Some(place) = place else {
        return Err(ClientError::Protocol("output came of a stream that was not asked for".into()));
    };
    match event {
        Event::Chunk(mut chunk) => {
            let at = place.reach(chunk.offset)?;
            let known = usize::try_from(at - chunk.offset).unwrap_or(usize::MAX);
            if known >= chunk.data.len() {
                return Ok(None);
            }
            chunk.data = chunk.data.slice(known..);
            chunk.offset = at;
            place.start = Start::Offset(at + length(&chunk.data));
            Ok(Some(Event::Chunk(chunk)))
        }
        Event::Gap(mut gap) => {
            gap.first_offset = place.reach(gap.first_offset)?;
            if gap.end_offset <= gap.first_offset {
                return Ok(None);
            }
            place.start = Start::Offset(gap.end_offset);
            Ok(Some(Event::Gap(gap)))
        }
        Event::End(end) => {
            place.reach(end.offset)?;
            place.is_over = true;
            Ok(Some(Event::End(end)))
        }
    }
}

impl Place {
    /// Where the reader stands when something at `offset` comes: there, or behind it. Bytes that would be
    /// left out without a word are an error.
    fn reach(&self, offset: u64) -> Result<u64, ClientError> {
        match self.start {
            Start::Offset(reached) if offset > reached => Err(ClientError::Protocol(format!(
                "the output goes on at byte {offset} where {reached} comes next"
            ))),
            Start::Offset(reached) => Ok(reached),
            // The first piece says where the tail begins.
            Start::TailBytes(_) => Ok(offset),
        }
    }
}

fn length(data: &Bytes) -> u64 {
    u64::try_from(data.len()).expect("memory has less than 2^64 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(start: Start) -> Vec<Place> {
        vec![Place { stream: OutputStream::Stdout, start, is_over: false }]
    }

    fn chunk(offset: u64, data: &'static [u8]) -> Event {
        let stream = OutputStream::Stdout.into();
        let data = Bytes::from_static(data);
        Event::Chunk(wire::OutputChunk { stream, offset, data, arrived: None })
    }

    fn gap(first_offset: u64, end_offset: u64) -> Event {
        let stream = OutputStream::Stdout.into();
        Event::Gap(wire::OutputGap { stream, first_offset, end_offset })
    }

    fn end(offset: u64) -> Event {
        let stream = OutputStream::Stdout.into();
        Event::End(wire::OutputEnd { stream, offset, ended: true, reason: "eof".into() })
    }

    #[test]
    fn what_comes_twice_is_given_out_once() {
        let mut places = places(Start::Offset(0));
        assert_eq!(take(&mut places, chunk(0, b"abc")).unwrap(), Some(chunk(0, b"abc")));
        assert_eq!(take(&mut places, chunk(1, b"bc")).unwrap(), None);
        assert_eq!(take(&mut places, chunk(1, b"bcde")).unwrap(), Some(chunk(3, b"de")));
        assert_eq!(take(&mut places, gap(4, 9)).unwrap(), Some(gap(5, 9)));
        assert_eq!(take(&mut places, gap(5, 9)).unwrap(), None);
        assert_eq!(take(&mut places, end(9)).unwrap(), Some(end(9)));
        assert!(places[0].is_over);
    }

    #[test]
    fn what_is_left_out_without_a_word_is_an_error() {
        for event in [chunk(4, b"x"), gap(4, 5), end(4)] {
            let answer = take(&mut places(Start::Offset(3)), event);
            assert!(matches!(answer, Err(ClientError::Protocol(_))));
        }
        let strange = wire::OutputChunk { stream: 2, ..Default::default() };
        let answer = take(&mut places(Start::Offset(0)), Event::Chunk(strange));
        assert!(matches!(answer, Err(ClientError::Protocol(_))));
    }

    #[test]
    fn a_tail_begins_where_it_begins() {
        let mut places = places(Start::TailBytes(3));
        assert_eq!(take(&mut places, chunk(70, b"abc")).unwrap(), Some(chunk(70, b"abc")));
        assert_eq!(places[0].start, Start::Offset(73));
        assert!(take(&mut places, chunk(74, b"x")).is_err());
    }
}
