//! What the exec tells, and what of it is shown.

use std::ops::ControlFlow;

use anyhow::anyhow;
use bytes::Bytes;

use super::{Link, Sitting, Way};
use crate::{
    cli::{
        failure::EXIT_OWN,
        session::{ending, feed::Feed, redraw::Drawing},
    },
    client::{AttachEvent, AttachRole, ClientError},
    core::ids::Stream,
    wire::doorward::v1 as wire,
};

impl Sitting {
    pub(super) fn event(&mut self, event: Option<AttachEvent>) -> ControlFlow<Way> {
        let Some(event) = event else {
            return ControlFlow::Break(Way::Ended(self.code.unwrap_or(EXIT_OWN)));
        };
        match event {
            AttachEvent::Drawn { data, offset, incomplete, .. } => {
                self.draws(&Drawing { data, offset, incomplete });
                self.greet();
            }
            AttachEvent::Output { stream, offset, bytes } => self.show(stream, offset, bytes),
            AttachEvent::Gap { stream, first, end } => {
                self.offsets[index(stream)] = end;
                self.shown.say(&format!("{} bytes of output are not kept any more", end - first));
            }
            AttachEvent::Displaced { by } => {
                self.role = AttachRole::Observer;
                self.feed = Feed::nowhere();
                self.shown.say(&format!("another terminal writes now: {by}"));
            }
            AttachEvent::Ended(ended) => self.code = Some(ending::code(&ended)),
            AttachEvent::InputClosed => self.feed = Feed::nowhere(),
            AttachEvent::Reconnecting { error, .. } if self.link == Link::Whole => {
                self.link = Link::Broken;
                self.shown.say(&format!("the connection broke: {error}; reconnecting"));
            }
            AttachEvent::Reconnected => self.connected(),
            AttachEvent::Reconnecting { .. }
            | AttachEvent::StreamEnd { .. }
            | AttachEvent::Resized(_) => {}
        }
        ControlFlow::Continue(())
    }

    /// Shows output, as far as it was not shown before: what another call begins with may have been.
    fn show(&mut self, stream: Stream, offset: u64, mut bytes: Bytes) {
        let shown = &mut self.offsets[index(stream)];
        let old = shown.saturating_sub(offset).min(bytes.len() as u64);
        *shown = offset.saturating_add(bytes.len() as u64).max(*shown);
        let fresh = bytes.split_off(usize::try_from(old).expect("no more than there are"));
        if !fresh.is_empty() {
            self.shown.show(stream, fresh);
        }
    }

    pub(super) fn connected(&mut self) {
        self.link = Link::Whole;
        self.shown.say("connected again");
        if self.shown.full_screen() {
            self.redraw();
        }
    }

    pub(super) fn greet(&mut self) {
        if let Some(greeting) = self.session.greeting.take() {
            self.shown.say(&greeting);
        }
    }

    pub(super) fn draw(
        &mut self,
        drawing: Result<Option<Drawing>, ClientError>,
    ) -> ControlFlow<Way> {
        match drawing {
            // One that is older than what is shown would leave something out.
            Ok(Some(drawing)) if drawing.offset >= self.offsets[0] => self.draws(&drawing),
            Ok(_) => {}
            // The call itself tells what is wrong, if it is.
            Err(error) => tracing::debug!("the screen was not drawn again: {error}"),
        }
        ControlFlow::Continue(())
    }

    fn draws(&mut self, drawing: &Drawing) {
        self.shown.draw(&drawing.data);
        self.offsets[0] = drawing.offset;
        if drawing.incomplete {
            self.shown.say("too much was printed to know the screen: ^L may draw it");
        }
    }
}

/// The end that was asked for is there, or it is not. Its last output and its code are on their
/// way.
pub(super) fn ended(left: Result<Vec<wire::LeftProcess>, ClientError>) -> ControlFlow<Way> {
    let error = match left {
        Ok(left) if left.is_empty() => return ControlFlow::Continue(()),
        Ok(left) => anyhow!("end {}", ending::names(&left)),
        Err(error) => anyhow!("end it: {error}"),
    };
    ControlFlow::Break(Way::Failed(error))
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}
