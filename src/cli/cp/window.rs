//! An archive on its way to the agent: what was made and is not known to be read yet.
//!
//! A thread makes the archive and can make it only once; the link may break and ask for a part again.
//! So everything stays here until the other side has read it, and the thread waits when that
//! is a window full.

use std::{collections::VecDeque, io, sync::Arc};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::{archive::Pieces, client::Source, core::limits::ARCHIVE_WINDOW_BYTES};

/// Both sides of the window; clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Window(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is more, or the end.
    arrived: Notify,
    /// Something was read, or nothing more is wanted.
    room: Condvar,
}

#[derive(Default)]
struct State {
    /// What is held, oldest first: the bytes from `begin` to `end`.
    pieces: VecDeque<Bytes>,
    begin: u64,
    end: u64,
    /// What the other side has read.
    read: u64,
    made: Made,
}

/// Whether more will come.
#[derive(Default)]
enum Made {
    #[default]
    More,
    All,
    /// The archive could not be made on.
    Failed(io::ErrorKind, String),
    /// Nobody wants more.
    Unwanted,
}

impl Window {
    /// The other side has read so much.
    pub(super) fn read_up_to(&self, offset: u64) {
        let mut state = self.0.state.lock();
        state.read = state.read.max(offset);
        while let Some(first) = state.pieces.front().map(|piece| piece.len() as u64)
            && state.begin + first <= state.read
        {
            state.pieces.pop_front();
            state.begin += first;
        }
        drop(state);
        self.0.room.notify_one();
    }

    /// The archive is made, or failed to be.
    pub(super) fn finish(&self, made: io::Result<()>) {
        let mut state = self.0.state.lock();
        if !matches!(state.made, Made::Unwanted) {
            state.made = match made {
                Ok(()) => Made::All,
                Err(error) => Made::Failed(error.kind(), error.to_string()),
            };
        }
        drop(state);
        self.0.arrived.notify_one();
    }

    /// Ends the making of the archive.
    pub(super) fn close(&self) {
        self.0.state.lock().made = Made::Unwanted;
        self.0.room.notify_one();
    }
}

impl Pieces for Window {
    fn take(&mut self, piece: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut state = self.0.state.lock();
        while state.end - state.read >= ARCHIVE_WINDOW_BYTES
            && !matches!(state.made, Made::Unwanted)
        {
            self.0.room.wait(&mut state);
        }
        if matches!(state.made, Made::Unwanted) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        state.end += piece.len() as u64;
        state.pieces.push_back(piece.into());
        drop(state);
        self.0.arrived.notify_one();
        Ok(Vec::new())
    }
}

impl Source for Window {
    async fn read_at(&mut self, offset: u64, bytes_max: usize) -> io::Result<Bytes> {
        loop {
            if let Some(found) = self.0.state.lock().at(offset, bytes_max) {
                return found;
            }
            // What arrived since is remembered: one side waits, and one word is kept for it.
            self.0.arrived.notified().await;
        }
    }
}

impl State {
    /// What is at `offset`, nothing at the end; `None` if it is still to come.
    fn at(&self, offset: u64, bytes_max: usize) -> Option<io::Result<Bytes>> {
        let mut begin = self.end;
        // What is asked for is most often among the newest.
        for piece in self.pieces.iter().rev() {
            begin -= piece.len() as u64;
            if (begin..begin + piece.len() as u64).contains(&offset) {
                let skip = usize::try_from(offset - begin).expect("it is within the piece");
                let end = piece.len().min(skip.saturating_add(bytes_max));
                return Some(Ok(piece.slice(skip..end)));
            }
        }
        if offset < self.end {
            let gone = format!("byte {offset} of the archive was read once and is asked for again");
            return Some(Err(io::Error::other(gone)));
        }
        match &self.made {
            Made::More => None,
            Made::All => Some(Ok(Bytes::new())),
            Made::Failed(kind, text) => Some(Err(io::Error::new(*kind, text.clone()))),
            Made::Unwanted => Some(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const PIECE: usize = 1 << 20;

    #[tokio::test]
    async fn what_is_not_read_can_be_had_again_and_no_more_is_made() {
        let mut window = Window::default();
        let mut maker = window.clone();
        let making = thread::spawn(move || {
            for number in 0..40u8 {
                maker.take(vec![number; PIECE]).unwrap();
            }
            maker.finish(Ok(()));
        });
        let full = usize::try_from(ARCHIVE_WINDOW_BYTES).unwrap() / PIECE;
        let last = window.read_at((full as u64) * PIECE as u64 - 1, 9).await.unwrap();
        assert_eq!(last[..], [u8::try_from(full - 1).unwrap()]);
        assert!(!making.is_finished(), "more was made than a window holds");
        assert_eq!(window.read_at(0, 3).await.unwrap()[..], [0, 0, 0]);

        let read = 2 * PIECE as u64 + 5;
        window.read_up_to(read);
        assert!(window.read_at(0, 1).await.is_err());
        assert_eq!(window.read_at(read, PIECE).await.unwrap().len(), PIECE - 5);
        let mut offset = read;
        loop {
            let piece = window.read_at(offset, 64 << 10).await.unwrap();
            let Some(first) = piece.first() else { break };
            assert_eq!(u64::from(*first), offset / PIECE as u64);
            offset += piece.len() as u64;
            window.read_up_to(offset);
        }
        assert_eq!(offset, 40 * PIECE as u64);
        making.join().unwrap();
    }

    #[tokio::test]
    async fn a_window_that_is_closed_lets_its_maker_go() {
        let window = Window::default();
        let mut maker = window.clone();
        let making = thread::spawn(move || while maker.take(vec![0; PIECE]).is_ok() {});
        window.close();
        making.join().unwrap();

        let mut failed = Window::default();
        failed.finish(Err(io::Error::other("the disk is broken")));
        let error = failed.read_at(0, 1).await.unwrap_err();
        assert_eq!(error.to_string(), "the disk is broken");
    }
}
