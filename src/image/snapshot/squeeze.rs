//! Compresses chunks of a stream, each by itself.
//!
//! A layer is one zstd frame, or one gzip member, after another: as the formats have it, and every reader
//! takes it. Frames have no checksum of their own, because a layer is held against its digest.

use std::io::{self, Write};

use flate2::write::GzEncoder;

use crate::image::manifest;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// zstd, at this level.
    Zstd(i32),
    /// gzip, at this level, for readers that know nothing else.
    Gzip(u32),
    /// Not at all.
    Plain,
}

impl Compression {
    /// What is said of a layer that is compressed like this.
    pub fn stored(self) -> manifest::Compression {
        match self {
            Self::Zstd(_) => manifest::Compression::Zstd,
            Self::Gzip(_) => manifest::Compression::Gzip,
            Self::Plain => manifest::Compression::None,
        }
    }
}

/// What one thread compresses with.
pub(super) enum Squeeze {
    Zstd(zstd::bulk::Compressor<'static>),
    Gzip(flate2::Compression),
    Plain,
}

impl Squeeze {
    pub(super) fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::Zstd(level) => Self::Zstd(zstd::bulk::Compressor::new(level)?),
            Compression::Gzip(level) => Self::Gzip(flate2::Compression::new(level.min(9))),
            Compression::Plain => Self::Plain,
        })
    }

    /// The chunk compressed; `None` if it stays as it is.
    pub(super) fn chunk(&mut self, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Zstd(compressor) => compressor.compress(bytes).map(Some),
            Self::Gzip(level) => {
                let mut member = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), *level);
                member.write_all(bytes)?;
                member.finish().map(Some)
            }
            Self::Plain => Ok(None),
        }
    }
}
