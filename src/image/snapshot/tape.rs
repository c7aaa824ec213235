//! The tar stream as it is laid out: chunks of one size, in which data of large files has a place but is
//! not there yet.

use std::{
    ops::Range,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::io::Errno;

use super::{SnapshotError, lanes::Intake, look, look::Facts, tally::Told};
use crate::{
    archive::encode::{END, padding},
    core::limits::SNAPSHOT_CHUNK_BYTES,
};

/// A chunk of the stream.
pub(super) struct Chunk {
    /// Always [`SNAPSHOT_CHUNK_BYTES`]; what stands behind `used` is of an earlier use.
    pub(super) bytes: Vec<u8>,
    pub(super) used: usize,
    fills: Vec<Fill>,
}

/// A place in a chunk for data of a file.
struct Fill {
    file: Arc<Large>,
    offset: u64,
    place: Range<usize>,
}

/// A file that is read where its data belongs.
pub(super) struct Large {
    file: OwnedFd,
    path: Vec<u8>,
    /// What it was when its header was written.
    facts: Facts,
    /// Bytes that were not there any more.
    missing: AtomicU64,
}

/// The stream being laid out.
pub(super) struct Tape<'a> {
    intake: Intake<'a>,
    chunk: Chunk,
    /// Bytes of all chunks.
    bytes: u64,
}

impl<'a> Tape<'a> {
    pub(super) fn new(intake: Intake<'a>) -> Self {
        let chunk = Chunk::of(intake.buffer());
        Self { intake, chunk, bytes: 0 }
    }

    /// Writes `bytes`.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), SnapshotError> {
        while !bytes.is_empty() {
            let place = self.place(bytes.len() as u64);
            let (now, later) = bytes.split_at(place.len());
            self.chunk.bytes[place].copy_from_slice(now);
            bytes = later;
            self.hand_on_if_full()?;
        }
        Ok(())
    }

    /// Writes the zeros that follow so much data.
    pub(super) fn pad(&mut self, data: u64) -> Result<(), SnapshotError> {
        self.write(&END[..padding(data)])
    }

    /// Gives data of a file its place.
    pub(super) fn data(
        &mut self,
        file: &Arc<Large>,
        mut offset: u64,
        mut length: u64,
    ) -> Result<(), SnapshotError> {
        while length > 0 {
            let place = self.place(length);
            offset += place.len() as u64;
            length -= place.len() as u64;
            let begin = offset - place.len() as u64;
            self.chunk.fills.push(Fill { file: file.clone(), offset: begin, place });
            self.hand_on_if_full()?;
        }
        Ok(())
    }

    /// Ends the archive and hands on what is left; nothing, if nothing was written.
    pub(super) fn finish(mut self) -> Result<(), SnapshotError> {
        if self.bytes == 0 {
            return Ok(());
        }
        self.write(&END)?;
        if self.chunk.used > 0 {
            self.intake.hand_on(self.chunk)?;
        }
        Ok(())
    }

    /// Takes room for so many bytes, or for as many as there is.
    fn place(&mut self, bytes: u64) -> Range<usize> {
        let room = SNAPSHOT_CHUNK_BYTES - self.chunk.used;
        let length = usize::try_from(bytes).map_or(room, |bytes| bytes.min(room));
        let begin = self.chunk.used;
        self.chunk.used += length;
        self.bytes += length as u64;
        begin..begin + length
    }

    fn hand_on_if_full(&mut self) -> Result<(), SnapshotError> {
        if self.chunk.used == SNAPSHOT_CHUNK_BYTES {
            let next = Chunk::of(self.intake.buffer());
            self.intake.hand_on(std::mem::replace(&mut self.chunk, next))?;
        }
        Ok(())
    }
}

impl Chunk {
    fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, used: 0, fills: Vec::new() }
    }

    /// Reads the data that has a place here.
    pub(super) fn fill(&mut self, told: &Told) {
        for Fill { file, offset, place } in self.fills.drain(..) {
            file.read(offset, &mut self.bytes[place], told);
            if let Some(file) = Arc::into_inner(file) {
                file.was_read(told);
            }
        }
    }
}

impl Large {
    pub(super) fn new(file: OwnedFd, path: Vec<u8>, facts: Facts) -> Arc<Self> {
        Arc::new(Self { file, path, facts, missing: AtomicU64::new(0) })
    }

    /// Reads into all of `to`; zeros where the file ends, or cannot be read.
    fn read(&self, mut offset: u64, mut to: &mut [u8], told: &Told) {
        while !to.is_empty() {
            match rustix::io::pread(&self.file, &mut *to, offset) {
                Err(Errno::INTR) => {}
                Ok(count @ 1..) => {
                    offset += count as u64;
                    to = &mut to[count..];
                }
                ended => {
                    if let Err(errno) = ended {
                        told.unreadable(&self.path, format_args!("zeros instead: {errno}"));
                    } else {
                        self.missing.fetch_add(to.len() as u64, Ordering::Relaxed);
                    }
                    to.fill(0);
                    return;
                }
            }
        }
    }

    /// All of it was read.
    fn was_read(self, told: &Told) {
        let missing = self.missing.into_inner();
        if missing > 0 {
            let what = format_args!("it became shorter meanwhile, {missing} bytes are zeros");
            told.changed(&self.path, what);
        } else if !look::opened(&self.file).is_ok_and(|after| after.same_data(&self.facts)) {
            told.changed(&self.path, format_args!("it was changed meanwhile"));
        }
    }
}
