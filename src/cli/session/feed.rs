//! From keys to the exec's input. What the exec does not take waits here, in order and bounded, and
//! whoever types is not held up by it: an escape is still seen.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    cli::streams::PIECES,
    client::{AttachInput, AttachRole, Attached},
};

/// Hands input on.
pub(super) struct Feed {
    /// To the task that waits for the exec; `None` where nobody takes input.
    pieces: Option<mpsc::Sender<Bytes>>,
    /// That task; it ends when the exec has all.
    handing_on: Option<JoinHandle<()>>,
    /// What came in one go and finds no room yet. Nothing is typed meanwhile.
    waiting: VecDeque<Bytes>,
}

impl Feed {
    /// To the exec, if we write.
    pub(super) fn of(attached: &Attached, role: AttachRole) -> Self {
        match role {
            AttachRole::Writer => {
                let (pieces, received) = mpsc::channel(PIECES);
                let handing_on = Some(tokio::spawn(hand_on(attached.input(), received)));
                Self { pieces: Some(pieces), handing_on, waiting: VecDeque::new() }
            }
            AttachRole::Observer => Self::nowhere(),
        }
    }

    /// Takes everything and does nothing with it.
    pub(super) fn nowhere() -> Self {
        Self { pieces: None, handing_on: None, waiting: VecDeque::new() }
    }

    /// Whether nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a piece, at least one byte.
    pub(super) fn push(&mut self, piece: Bytes) {
        if self.pieces.is_some() {
            self.waiting.push_back(piece);
        }
    }

    /// Ends the input behind all that was taken.
    pub(super) fn end(&mut self) {
        self.push(Bytes::new());
    }

    /// Returns when one piece less waits. Dropping the future loses nothing.
    pub(super) async fn go_on(&mut self) {
        if let Some(pieces) = &self.pieces
            && let Ok(room) = pieces.reserve().await
        {
            if let Some(piece) = self.waiting.pop_front() {
                room.send(piece);
            }
            return;
        }
        *self = Self::nowhere();
    }

    /// Returns when the exec has accepted all that was taken, or never will. Nothing is taken afterwards.
    pub(super) async fn settle(&mut self) {
        while !self.is_idle() {
            self.go_on().await;
        }
        self.pieces = None;
        if let Some(handing_on) = self.handing_on.take() {
            // It panics no more than we do.
            let _ = handing_on.await;
        }
    }
}

/// Gives pieces to the exec as it takes them; nothing at all is the end.
async fn hand_on(input: AttachInput, mut pieces: mpsc::Receiver<Bytes>) {
    while let Some(piece) = pieces.recv().await {
        let taken = match piece.is_empty() {
            true => input.end(),
            false => input.send(piece).await,
        };
        // The call says what became of it.
        if taken.is_err() {
            return;
        }
    }
    let _ = input.accepted().await;
}
