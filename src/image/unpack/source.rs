//! The bytes of a layer: read, decompressed, and held against their digests, on threads of their own.
//!
//! Pieces of a fixed number go round: filled here, hashed by one thread and read by another, and back. A
//! wrong digest is an error at the end, after the last byte.

use std::{
    io::{self, BufRead, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::Scope,
};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use zstd::stream::read::Decoder as ZstdDecoder;

use super::{
    Blob, Compression, Kind, Layer, Origin, UnpackSpec,
    error::of_machine,
    hash::{Hasher, Metered},
};
use crate::{
    core::{
        image::Digest,
        limits::{
            CHUNK_BYTES, IMAGE_PIECE_BYTES, IMAGE_PIECES, IMAGE_RATIO_MAX,
            IMAGE_ZSTD_WINDOW_LOG_MAX,
        },
    },
    image::crypt::OpenError,
};

/// Why the bytes of a layer did not come, or are the wrong ones.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error("{0}")]
    Read(io::Error),
    #[error("it cannot be decompressed: {0}")]
    Corrupt(io::Error),
    #[error("it is {found}, and not {expected}")]
    Other { expected: &'static str, found: &'static str },
    #[error("it has {found} bytes, and not {expected}")]
    Size { expected: u64, found: u64 },
    #[error("{what} is {found}, and not {expected}")]
    Digest { what: &'static str, expected: Digest, found: Digest },
    #[error("it becomes more than {IMAGE_RATIO_MAX} times larger than it is")]
    Ratio,
    #[error("the image becomes larger than {0} bytes")]
    Bytes(u64),
    #[error("stopped")]
    Stopped,
}

impl SourceError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            // What was sealed says itself that it is damaged.
            Self::Read(error) if OpenError::of(error).is_some() => Kind::Image,
            Self::Read(error) => of_machine(error),
            Self::Stopped => Kind::Stopped,
            Self::Corrupt(_)
            | Self::Other { .. }
            | Self::Size { .. }
            | Self::Digest { .. }
            | Self::Ratio
            | Self::Bytes(_) => Kind::Image,
        }
    }
}

/// A piece of a layer, which two threads look at.
type Piece = Arc<Vec<u8>>;

/// What is true for a source.
#[derive(Clone, Copy)]
pub(super) struct Circumstances<'a> {
    pub(super) spec: &'a UnpackSpec,
    pub(super) stop: &'a AtomicBool,
    /// Decompressed bytes of this layer and those before it.
    pub(super) bytes: &'a AtomicU64,
}

/// A layer's bytes as they come.
pub(super) struct Source {
    /// Taken away before the last pieces are given back.
    pieces: Option<Receiver<Result<Piece, SourceError>>>,
    free: Sender<Vec<u8>>,
    left: Arc<AtomicBool>,
    current: Option<Piece>,
    at: usize,
}

impl Source {
    /// Begins to read a layer.
    pub(super) fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        layer: Layer<'scope>,
        circumstances: Circumstances<'scope>,
    ) -> Self {
        let (to, pieces) = channel();
        let (free, empty) = channel();
        for _ in 0..IMAGE_PIECES {
            free.send(Vec::new()).expect("its receiver is here");
        }
        let left = Arc::new(AtomicBool::new(false));
        let reading = Reading {
            to,
            empty,
            left: left.clone(),
            hasher: (layer.diff_id.is_some() || is_itself(&layer))
                .then(|| Hasher::start(scope, free.clone())),
            diff_id: layer.diff_id,
            blob: layer.blob,
            compression: layer.compression,
            circumstances,
        };
        let from = layer.from;
        scope.spawn(move || reading.all(from));
        Self { pieces: Some(pieces), free, left, current: None, at: 0 }
    }

    fn give_back(&mut self) {
        if let Some(buffer) = self.current.take().and_then(Arc::into_inner) {
            // Nobody takes it once the layer was read.
            let _ = self.free.send(buffer);
        }
        self.at = 0;
    }
}

/// Whether what is stored is the archive itself, with one digest for both.
fn is_itself(layer: &Layer<'_>) -> bool {
    layer.compression == Compression::None && layer.blob.is_some()
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.as_ref().is_none_or(|piece| self.at == piece.len()) {
            self.give_back();
            let next = self.pieces.as_ref().and_then(|pieces| pieces.recv().ok());
            self.current = next.transpose().map_err(io::Error::other)?;
        }
        Ok(self.current.as_ref().map_or(&[], |piece| &piece[self.at..]))
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let count = there.len().min(buffer.len());
        buffer[..count].copy_from_slice(&there[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.left.store(true, Ordering::Relaxed);
        self.pieces = None;
        // Wakes whoever waits for an empty piece.
        let _ = self.free.send(Vec::new());
    }
}

/// The thread that reads.
struct Reading<'a> {
    to: Sender<Result<Piece, SourceError>>,
    empty: Receiver<Vec<u8>>,
    left: Arc<AtomicBool>,
    hasher: Option<Hasher<'a>>,
    diff_id: Option<Digest>,
    blob: Option<Blob>,
    compression: Compression,
    circumstances: Circumstances<'a>,
}

impl Reading<'_> {
    fn all(mut self, from: Box<dyn Read + Send + '_>) {
        if let Err(error) = self.read(from) {
            // If nobody listens, another error is told.
            let _ = self.to.send(Err(error));
        }
    }

    fn read(&mut self, from: Box<dyn Read + Send + '_>) -> Result<(), SourceError> {
        let hashed = self.compression != Compression::None && self.blob.is_some();
        let mut from = Decoder::new(from, self.compression, hashed.then(Sha256::new))?;
        let mut made = 0;
        loop {
            let Ok(mut buffer) = self.empty.recv() else { return Ok(()) };
            if self.left.load(Ordering::Relaxed) {
                return Ok(());
            }
            buffer.resize(IMAGE_PIECE_BYTES, 0);
            let mut filled = 0;
            while filled < buffer.len() {
                if self.circumstances.stop.load(Ordering::Relaxed) {
                    return Err(SourceError::Stopped);
                }
                match from.read(&mut buffer[filled..]) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(from.failed(error)),
                }
            }
            if filled == 0 {
                return self.ended(from);
            }
            buffer.truncate(filled);
            made += filled as u64;
            self.bound(made, filled as u64, from.meter().bytes)?;
            let piece = Arc::new(buffer);
            if let Some(hasher) = &self.hasher {
                hasher.add(piece.clone());
            }
            if self.to.send(Ok(piece)).is_err() {
                return Ok(());
            }
        }
    }

    fn bound(&self, made: u64, more: u64, read: u64) -> Result<(), SourceError> {
        let Circumstances { spec, bytes, .. } = self.circumstances;
        let free = spec.origin == Origin::Ours || made <= spec.bounds.ratio_free_bytes;
        if !free && made / IMAGE_RATIO_MAX > read {
            return Err(SourceError::Ratio);
        }
        if bytes.fetch_add(more, Ordering::Relaxed).saturating_add(more) > spec.bounds.bytes {
            return Err(SourceError::Bytes(spec.bounds.bytes));
        }
        Ok(())
    }

    /// Holds what was read against what it has to be.
    fn ended(&mut self, mut from: Decoder<'_>) -> Result<(), SourceError> {
        let meter = from.meter();
        io::copy(meter, &mut io::sink()).map_err(SourceError::Read)?;
        let archive = self.hasher.take().map(Hasher::digest);
        if let Some(blob) = self.blob {
            if meter.bytes != blob.size {
                return Err(SourceError::Size { expected: blob.size, found: meter.bytes });
            }
            let found = meter.digest().or(archive).expect("one of the two was asked for");
            same("the digest", blob.digest, found)?;
        }
        match (self.diff_id, archive) {
            (Some(expected), Some(found)) => same("the digest of its archive", expected, found),
            _ => Ok(()),
        }
    }
}

fn same(what: &'static str, expected: Digest, found: Digest) -> Result<(), SourceError> {
    match expected == found {
        true => Ok(()),
        false => Err(SourceError::Digest { what, expected, found }),
    }
}

/// A layer being decompressed.
enum Decoder<'a> {
    Plain(Metered<'a>),
    Gzip(Box<MultiGzDecoder<BufReader<Metered<'a>>>>),
    Zstd(ZstdDecoder<'static, BufReader<Metered<'a>>>),
}

impl<'a> Decoder<'a> {
    fn new(
        mut from: Box<dyn Read + Send + 'a>,
        compression: Compression,
        hash: Option<Sha256>,
    ) -> Result<Self, SourceError> {
        let mut begin = Vec::new();
        from.by_ref().take(4).read_to_end(&mut begin).map_err(SourceError::Read)?;
        let found = Compression::sniff(&begin);
        // A name in an archive may begin so, but none does.
        if found != compression {
            return Err(SourceError::Other { expected: name(compression), found: name(found) });
        }
        let from: Box<dyn Read + Send + 'a> = Box::new(io::Cursor::new(begin).chain(from));
        let from = Metered::new(from, hash);
        Ok(match compression {
            Compression::None => Self::Plain(from),
            Compression::Gzip => {
                let from = BufReader::with_capacity(CHUNK_BYTES, from);
                Self::Gzip(Box::new(MultiGzDecoder::new(from)))
            }
            Compression::Zstd => {
                let from = BufReader::with_capacity(CHUNK_BYTES, from);
                let mut decoder = ZstdDecoder::with_buffer(from).map_err(SourceError::Corrupt)?;
                decoder.window_log_max(IMAGE_ZSTD_WINDOW_LOG_MAX).map_err(SourceError::Corrupt)?;
                Self::Zstd(decoder)
            }
        })
    }

    fn meter(&mut self) -> &mut Metered<'a> {
        match self {
            Self::Plain(from) => from,
            Self::Gzip(from) => from.get_mut().get_mut(),
            Self::Zstd(from) => from.get_mut().get_mut(),
        }
    }

    /// Whose fault an error is.
    fn failed(&mut self, error: io::Error) -> SourceError {
        match self.meter().failed {
            true => SourceError::Read(error),
            false => SourceError::Corrupt(error),
        }
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(from) => from.read(buffer),
            Self::Gzip(from) => from.read(buffer),
            Self::Zstd(from) => from.read(buffer),
        }
    }
}

fn name(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "not compressed",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}
