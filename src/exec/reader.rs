//! A place in a spool, from which bytes are taken in order.
//!
//! Readers are independent of each other and of the pump: a slow one delays nobody. It takes
//! bytes from memory without a copy where it can, else from the file: at once where the kernel has
//! them in memory, else on a thread of the pool.
//!
//! Bytes may be dropped while they are read, and a hole reads as zeros; so after each read of
//! the file the reader looks at the first kept offset again, and throws the bytes away if it
//! passed them.

use std::{fmt, io, os::fd::OwnedFd, sync::Arc};

use bytes::Bytes;

use super::{
    disk::SpoolFile,
    kept::Peek,
    spool::{End, Spool},
    store::{Ahead, Reads},
    tail::within,
};
use crate::{
    core::{
        extent::Place,
        limits::{CHUNK_BYTES, READ_AHEAD_BYTES},
    },
    os::work::Share,
};

/// A place in a spool.
pub struct Reader {
    spool: Arc<Spool>,
    counts: Counts,
    /// The next byte it gives.
    offset: u64,
    /// Where the stream ended when this was opened.
    opened_end: u64,
    /// The spool's file, if it was needed.
    file: Option<Arc<OwnedFd>>,
    /// Bytes from `offset` on that were read from the file.
    ahead: Bytes,
    /// How much of the file is read next where nobody has to wait for it.
    piece_bytes: usize,
}

/// Memory that a piece of the file is read into.
enum Room {
    /// Counted, and larger than what was asked for.
    Ahead(Ahead),
    Own(Vec<u8>),
}

impl Room {
    fn bytes(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Ahead(ahead) => &mut ahead.bytes,
            Self::Own(bytes) => bytes,
        }
    }

    /// What was read, at most `bytes_max` of it.
    fn into_bytes(mut self, bytes_max: usize) -> Bytes {
        self.bytes().truncate(bytes_max);
        match self {
            Self::Ahead(ahead) => Bytes::from_owner(ahead),
            Self::Own(bytes) => Bytes::from(bytes),
        }
    }
}

/// What counts as delivered by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// What it gives, which begins here.
    From(u64),
    /// Nothing.
    Never,
}

/// What a reader gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Bytes, at least one.
    Data {
        /// Where they stand in the stream.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// The end, as far as this reader is concerned.
    End(End),
}

/// Why a reader gives nothing.
#[derive(Debug)]
pub enum ReadError {
    /// The bytes were dropped.
    Dropped {
        /// The offset asked for.
        asked: u64,
        /// The first that is kept.
        first: u64,
    },
    /// The stream ended before them.
    Beyond {
        /// The offset asked for.
        asked: u64,
        /// Where it ended.
        end: u64,
    },
    /// The file could not be read.
    Io(io::Error),
}

impl Reader {
    pub(super) fn new(spool: Arc<Spool>, counts: Counts, offset: u64, opened_end: u64) -> Self {
        let (file, ahead, piece_bytes) = (None, Bytes::new(), CHUNK_BYTES);
        Self { spool, counts, offset, opened_end, file, ahead, piece_bytes }
    }

    /// The offset of the next byte it will give.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Resolves when [`Reader::next`] would not wait for the stream: there are bytes, an end or an
    /// error. Cancel-safe.
    pub async fn ready(&self) {
        while let Place::Wait = self.place() {
            self.wait().await;
        }
    }

    /// How the stream ended, if it did where this reader is; an error if it ended before.
    pub fn end(&self) -> Result<Option<End>, ReadError> {
        match self.place() {
            Place::End(end) => Ok(Some(end)),
            Place::Data { .. } | Place::Wait | Place::Dropped { .. } => Ok(None),
            Place::Beyond { end } => Err(ReadError::Beyond { asked: self.offset, end }),
        }
    }

    fn place(&self) -> Place {
        self.spool.look(|state| state.extent.place(self.offset, self.opened_end))
    }

    /// The next bytes, 1 to `bytes_max`, or the end; waits for either. To call it again says
    /// that the bytes before were delivered.
    ///
    /// Nothing is lost if the future is dropped, and the call may be repeated after an error.
    pub async fn next(&mut self, bytes_max: usize) -> Result<Next, ReadError> {
        self.deliver(self.offset);
        let bytes_max = bytes_max.max(1);
        loop {
            match self.spool.peek(self.offset, self.opened_end, bytes_max) {
                Peek::Bytes(bytes) => {
                    self.ahead = Bytes::new();
                    self.file = None;
                    return Ok(self.give(bytes));
                }
                Peek::File { file, until } => {
                    if self.ahead.is_empty() {
                        self.ahead = self.fill(file, until, bytes_max).await?;
                    }
                    let length = bytes_max.min(self.ahead.len()).min(within(until - self.offset));
                    let bytes = self.ahead.split_to(length);
                    return Ok(self.give(bytes));
                }
                Peek::Not(Place::Wait) => self.wait().await,
                Peek::Not(Place::End(end)) => return Ok(Next::End(end)),
                Peek::Not(Place::Dropped { first }) => {
                    return Err(ReadError::Dropped { asked: self.offset, first });
                }
                Peek::Not(Place::Beyond { end }) => {
                    return Err(ReadError::Beyond { asked: self.offset, end });
                }
                Peek::Not(Place::Data { until: _ }) => unreachable!("data is bytes or a file"),
            }
        }
    }

    fn give(&mut self, bytes: Bytes) -> Next {
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        self.deliver(offset);
        Next::Data { offset, bytes }
    }

    /// Everything below the offset was given, and what is below `had` has reached whoever it reads for.
    fn deliver(&self, had: u64) {
        match self.counts {
            Counts::From(start) => self.spool.deliver(start, self.offset, had),
            Counts::Never => {}
        }
    }

    /// Waits until what stands at the offset may have changed.
    async fn wait(&self) {
        let events = self.spool.events();
        let data = events.data.notified();
        // What came before the line above notifies nobody.
        if let Place::Wait = self.place() {
            data.await;
        }
    }

    /// Reads bytes from the offset on, at least one.
    async fn fill(
        &mut self,
        file: Arc<SpoolFile>,
        until: u64,
        bytes_max: usize,
    ) -> Result<Bytes, ReadError> {
        let store = self.spool.store().clone();
        let (offset, open) = (self.offset, self.file.clone());
        let wanted = within(until - offset);
        let ahead = if wanted > bytes_max { store.ahead() } else { None };
        let mut room = match ahead {
            Some(ahead) => Room::Ahead(ahead),
            None => Room::Own(Vec::with_capacity(wanted.min(bytes_max).min(CHUNK_BYTES))),
        };
        // The first pieces are for somebody who waits: small ones are there sooner.
        let piece_bytes = self.piece_bytes;
        self.piece_bytes = (piece_bytes * 2).min(READ_AHEAD_BYTES);
        let (open, now) = match store.limits.reads {
            Reads::AtOnce => {
                let open = open.or_else(|| file.open_now());
                let read = |fd| SpoolFile::read_now(fd, offset, room.bytes(), piece_bytes);
                let now = open.as_deref().is_some_and(read);
                (open, now)
            }
            Reads::OnThreads => (open, false),
        };
        let read: io::Result<_> = match open {
            Some(fd) if now => Ok((fd, room)),
            open => {
                let read = move || {
                    let fd = open.map_or_else(|| file.open(), Ok)?;
                    SpoolFile::read(&fd, offset, room.bytes())?;
                    Ok((fd, room))
                };
                store.work.run(Share::File, read).await
            }
        };
        let first = self.spool.range().first;
        if first > offset {
            return Err(ReadError::Dropped { asked: offset, first });
        }
        let (fd, room) = read.map_err(ReadError::Io)?;
        let bytes = room.into_bytes(wanted);
        if bytes.is_empty() {
            return Err(ReadError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        self.file = Some(fd);
        Ok(bytes)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.spool.reader_gone();
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("spool", &self.spool).field("offset", &self.offset).finish()
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped { asked, first } => {
                write!(f, "read offset {asked}: the bytes before {first} were dropped")
            }
            Self::Beyond { asked, end } => {
                write!(f, "read offset {asked}: the stream ended at {end}")
            }
            Self::Io(error) => write!(f, "read the spool's file: {error}"),
        }
    }
}

impl std::error::Error for ReadError {}
