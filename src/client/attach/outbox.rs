//! What an attached client has to say and has not brought to the agent: input that was not
//! accepted, the newest size, signals. Handles fill it, the task that keeps the call empties it.
//!
//! Invariants: input is taken out in order, each byte once a call; what was taken out stays until it
//! was accepted, and after a new opening it is taken out again; never more than
//! [`CLIENT_UNACCEPTED_BYTES_MAX`] are kept.

use std::{collections::VecDeque, fmt};

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{AttachRole, NotTaken};
use crate::{
    core::{
        limits::{CLIENT_INPUT_BYTES, CLIENT_SIGNALS_MAX, CLIENT_UNACCEPTED_BYTES_MAX},
        spec::WindowSize,
    },
    wire::doorward::v1::{self as wire, attach_request::Message},
};

/// See the module comment.
pub(super) struct Outbox {
    /// Held for a few lines.
    state: Mutex<State>,
    /// There may be something to take out.
    filled: Notify,
    /// Input was accepted, or will never be.
    accepted: Notify,
}

struct State {
    seat: Seat,
    /// Input that was not accepted.
    input: BytesMut,
    /// Where its first byte belongs.
    offset: u64,
    /// How much of it was taken out since the call was opened.
    taken: usize,
    end: End,
    size: Option<WindowSize>,
    size_is: Told,
    signals: VecDeque<i32>,
}

/// Whether the agent takes what we say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    Writer,
    Observer,
    /// It is ours, and nobody reads the input.
    Closed,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    Wanted,
    Taken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Yes,
    No,
}

impl Outbox {
    pub(super) fn new(role: AttachRole, size: Option<WindowSize>) -> Self {
        let seat = match role {
            AttachRole::Writer => Seat::Writer,
            AttachRole::Observer => Seat::Observer,
        };
        let state = State {
            seat,
            input: BytesMut::new(),
            offset: 0,
            taken: 0,
            end: End::NotYet,
            size,
            // `open` tells it.
            size_is: Told::Yes,
            signals: VecDeque::new(),
        };
        Self { state: Mutex::new(state), filled: Notify::new(), accepted: Notify::new() }
    }

    /// Takes all of `bytes`, as room comes.
    pub(super) async fn push(&self, mut bytes: &[u8]) -> Result<(), NotTaken> {
        loop {
            let accepted = self.accepted.notified();
            let taken = self.state.lock().push(bytes)?;
            if taken > 0 || bytes.is_empty() {
                self.filled.notify_one();
            }
            bytes = &bytes[taken..];
            if bytes.is_empty() {
                return Ok(());
            }
            accepted.await;
        }
    }

    pub(super) fn end(&self) -> Result<(), NotTaken> {
        let mut state = self.state.lock();
        state.seat.takes_input()?;
        if state.end == End::NotYet {
            state.end = End::Wanted;
        }
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    pub(super) fn resize(&self, size: WindowSize) -> Result<(), NotTaken> {
        let mut state = self.state.lock();
        state.seat.takes_orders()?;
        if state.size.replace(size) != Some(size) {
            state.size_is = Told::No;
        }
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    pub(super) fn signal(&self, signal: i32) -> Result<(), NotTaken> {
        let mut state = self.state.lock();
        state.seat.takes_orders()?;
        if state.signals.len() >= CLIENT_SIGNALS_MAX {
            return Err(NotTaken::Full);
        }
        state.signals.push_back(signal);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Resolves when no input waits to be accepted.
    pub(super) async fn drained(&self) -> Result<(), NotTaken> {
        loop {
            let accepted = self.accepted.notified();
            {
                let state = self.state.lock();
                state.seat.takes_orders()?;
                if state.input.is_empty() {
                    return Ok(());
                }
                state.seat.takes_input_still()?;
            }
            accepted.await;
        }
    }

    /// Waits for the next message. Cancel-safe: what is returned was taken out in that step.
    pub(super) async fn next(&self) -> Message {
        loop {
            if let Some(message) = self.state.lock().next() {
                return message;
            }
            self.filled.notified().await;
        }
    }

    /// Whether to ask for the turn at writing, and the size to ask for.
    pub(super) fn wants(&self) -> (AttachRole, Option<WindowSize>) {
        let state = self.state.lock();
        match state.seat {
            Seat::Writer | Seat::Closed => (AttachRole::Writer, state.size),
            Seat::Observer | Seat::Over => (AttachRole::Observer, None),
        }
    }

    /// A call was opened, by which the agent had accepted input up to `accepted`, and in which it
    /// was told `size`.
    pub(super) fn opened(&self, accepted: u64, size: Option<WindowSize>) {
        let mut state = self.state.lock();
        if state.offset == 0 && state.taken == 0 {
            // The first call: what was pushed before it follows what others wrote.
            state.offset = accepted;
        }
        state.accept(accepted);
        state.taken = 0;
        if state.end == End::Taken {
            state.end = End::Wanted;
        }
        state.size_is = if state.size == size { Told::Yes } else { Told::No };
        drop(state);
        self.accepted.notify_waiters();
        self.filled.notify_one();
    }

    /// Input below `offset` was accepted.
    pub(super) fn accept(&self, offset: u64) {
        self.state.lock().accept(offset);
        self.accepted.notify_waiters();
    }

    /// Somebody else writes.
    pub(super) fn displaced(&self) {
        self.seat(Seat::Observer);
    }

    /// Nobody reads the input. False if that was known.
    pub(super) fn closed(&self) -> bool {
        self.seat(Seat::Closed) != Seat::Closed
    }

    /// The call is over for good.
    pub(super) fn over(&self) {
        self.seat(Seat::Over);
    }

    fn seat(&self, seat: Seat) -> Seat {
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut state.seat, seat);
        state.input.clear();
        state.taken = 0;
        state.end = End::NotYet;
        if seat != Seat::Closed {
            state.signals.clear();
            state.size_is = Told::Yes;
        }
        drop(state);
        self.accepted.notify_waiters();
        before
    }
}

impl State {
    fn push(&mut self, bytes: &[u8]) -> Result<usize, NotTaken> {
        self.seat.takes_input()?;
        if self.end != End::NotYet {
            return Err(NotTaken::Closed);
        }
        let room = CLIENT_UNACCEPTED_BYTES_MAX - self.input.len();
        let taken = bytes.len().min(room);
        self.input.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn next(&mut self) -> Option<Message> {
        if let Some(signal) = self.signals.pop_front() {
            return Some(Message::Signal(signal));
        }
        if self.size_is == Told::No {
            self.size_is = Told::Yes;
            if let Some(size) = self.size {
                return Some(Message::Resize(wire_size(size)));
            }
        }
        let length = (self.input.len() - self.taken).min(CLIENT_INPUT_BYTES);
        let last = self.taken + length == self.input.len();
        let end = last && self.end == End::Wanted;
        if length == 0 && !end {
            return None;
        }
        let offset = self.offset + self.taken as u64;
        let data = Bytes::copy_from_slice(&self.input[self.taken..][..length]);
        self.taken += length;
        if end {
            self.end = End::Taken;
        }
        Some(Message::Input(wire::AttachInput { offset, data, end }))
    }

    fn accept(&mut self, offset: u64) {
        let Some(accepted) = offset.checked_sub(self.offset) else { return };
        let accepted = usize::try_from(accepted).unwrap_or(usize::MAX);
        // More than we have: somebody wrote through another door, and our next byte follows theirs.
        self.input.advance(accepted.min(self.input.len()));
        self.taken = self.taken.saturating_sub(accepted);
        self.offset = offset;
    }
}

impl Seat {
    fn takes_input(self) -> Result<(), NotTaken> {
        self.takes_orders()?;
        self.takes_input_still()
    }

    fn takes_input_still(self) -> Result<(), NotTaken> {
        match self {
            Self::Writer | Self::Observer | Self::Over => Ok(()),
            Self::Closed => Err(NotTaken::Closed),
        }
    }

    fn takes_orders(self) -> Result<(), NotTaken> {
        match self {
            Self::Writer | Self::Closed => Ok(()),
            Self::Observer => Err(NotTaken::Observer),
            Self::Over => Err(NotTaken::Over),
        }
    }
}

/// A size as the wire has it.
pub(super) fn wire_size(size: WindowSize) -> wire::TerminalSize {
    wire::TerminalSize { rows: size.rows().into(), columns: size.columns().into() }
}

impl fmt::Debug for Outbox {
    /// Never shows input.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Outbox")
            .field("seat", &state.seat)
            .field("offset", &state.offset)
            .field("unaccepted", &state.input.len())
            .finish_non_exhaustive()
    }
}
