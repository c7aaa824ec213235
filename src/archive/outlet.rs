//! What an archive is written to: pieces of bounded size, filled in place.
//!
//! Data goes from a file straight into the piece that is handed on, without a copy between.

use std::{io, mem, os::fd::BorrowedFd};

use rustix::{buffer::spare_capacity, io::Errno};

use crate::core::limits::CHUNK_BYTES;

/// Takes an archive piece by piece.
pub trait Pieces {
    /// Takes all of `piece`, of at most [`CHUNK_BYTES`], and waits for as long as that needs. Returns a
    /// buffer to fill next. An error ends the archive: nobody wants it any more.
    fn take(&mut self, piece: Vec<u8>) -> io::Result<Vec<u8>>;
}

/// Gathers what is written into pieces.
pub(super) struct Outlet<'a> {
    to: &'a mut dyn Pieces,
    /// Has room for at least one byte whenever no method runs.
    piece: Vec<u8>,
}

impl<'a> Outlet<'a> {
    pub(super) fn new(to: &'a mut dyn Pieces) -> Self {
        Self { to, piece: Vec::with_capacity(CHUNK_BYTES) }
    }

    /// Writes `bytes`.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            self.hand_on_if_full()?;
        }
        Ok(())
    }

    /// Writes so many zeros.
    pub(super) fn zeros(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let room = CHUNK_BYTES - self.piece.len();
            let now = usize::try_from(count).map_or(room, |count| count.min(room));
            self.piece.resize(self.piece.len() + now, 0);
            count -= now as u64;
            self.hand_on_if_full()?;
        }
        Ok(())
    }

    /// Writes what one read of `file` brings, at most `most` bytes of it; how many came, and 0 at the
    /// file's end. The outer error is the outlet's, the inner one the file's.
    pub(super) fn read(
        &mut self,
        file: BorrowedFd<'_>,
        most: u64,
    ) -> io::Result<Result<usize, Errno>> {
        let before = self.piece.len();
        let read = loop {
            match rustix::io::read(file, spare_capacity(&mut self.piece)) {
                Err(Errno::INTR) => {}
                read => break read,
            }
        };
        let Ok(count) = read else { return Ok(read) };
        let kept = usize::try_from(most).map_or(count, |most| most.min(count));
        self.piece.truncate(before + kept);
        self.hand_on_if_full()?;
        Ok(Ok(kept))
    }

    /// Hands on what is left.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let last = mem::take(&mut self.piece);
        if last.is_empty() { Ok(()) } else { self.to.take(last).map(drop) }
    }

    fn hand_on_if_full(&mut self) -> io::Result<()> {
        if self.piece.len() >= CHUNK_BYTES {
            let mut next = self.to.take(mem::take(&mut self.piece))?;
            next.clear();
            next.reserve(CHUNK_BYTES);
            self.piece = next;
        }
        Ok(())
    }
}
