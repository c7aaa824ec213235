//! Blobs between files of the store and the network, a piece at a time.

use std::{
    fs::File,
    io::Write,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

use super::{Meter, RemoteError, http::Payload};
use crate::{
    core::{image::Digest, limits::REMOTE_PIECE_BYTES},
    image::{
        manifest::Descriptor,
        store::{BlobWriter, Pending, StoreError},
    },
    os::work::{Share, Work},
};

/// A blob on its way into the store.
pub(super) struct Sink {
    work: Work,
    digest: Digest,
    size: u64,
    /// Gone while it is on another thread, and for good after an error there.
    writer: Option<BlobWriter>,
    /// What waits to be written, at most a little more than [`REMOTE_PIECE_BYTES`].
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    bytes: u64,
}

impl Sink {
    pub(super) fn new(work: Work, writer: BlobWriter, blob: &Descriptor) -> Self {
        let (digest, size) = (blob.digest, blob.size);
        let (waiting, waiting_bytes) = (Vec::new(), 0);
        Self { work, digest, size, writer: Some(writer), waiting, waiting_bytes, bytes: 0 }
    }

    /// Bytes that came so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that are to come.
    pub(super) fn missing(&self) -> u64 {
        self.size - self.bytes
    }

    /// Takes the next bytes, of which there are no more than are missing.
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.bytes += bytes.len() as u64;
        self.waiting_bytes += bytes.len();
        self.waiting.push(bytes);
        if self.waiting_bytes >= REMOTE_PIECE_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let Some(mut writer) = self.writer.take() else { return Err(StoreError::Stopped) };
        let digest = self.digest;
        let written = self.work.run(Share::File, move || {
            let write = waiting.iter().try_for_each(|bytes| writer.write_all(bytes));
            write.map_err(|error| StoreError::io(format!("write blob {digest}"), error))?;
            Ok::<_, StoreError>(writer)
        });
        self.writer = Some(written.await?);
        Ok(())
    }

    /// The blob, if it is what was announced.
    pub(super) async fn finish(mut self) -> Result<Pending, StoreError> {
        self.flush().await?;
        let Some(writer) = self.writer.take() else { return Err(StoreError::Stopped) };
        let digest = self.digest;
        self.work.run(Share::File, move || writer.finish_expecting(digest)).await
    }
}

/// A blob of the store that is sent somewhere.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) work: Work,
    pub(super) blob: Descriptor,
    file: Arc<File>,
    meter: Meter,
    /// How much of it the meter has counted.
    metered: Arc<AtomicU64>,
}

impl Source {
    pub(super) fn new(work: Work, blob: Descriptor, file: File, meter: Meter) -> Self {
        Self { work, blob, file: Arc::new(file), meter, metered: Arc::default() }
    }

    /// Its size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.blob.size
    }

    /// So much of it is there, whatever was counted before.
    pub(super) fn reached(&self, offset: u64) {
        let before = self.metered.swap(offset, Ordering::Relaxed);
        match before > offset {
            true => self.meter.take_back(before - offset),
            false => self.meter.add(offset - before),
        }
    }

    /// The bytes from `offset` on, `length` of them.
    pub(super) async fn read(&self, offset: u64, length: usize) -> Result<Bytes, RemoteError> {
        let (file, digest) = (self.file.clone(), self.blob.digest);
        let read = self.work.run(Share::File, move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, offset).map(|()| Bytes::from(bytes))
        });
        read.await.map_err(|error| RemoteError::reading(&digest, error))
    }

    /// The same to be sent, read while it is. It is metered as it goes.
    pub(super) fn payload(&self, offset: u64, length: u64) -> Payload {
        if length == 0 {
            return Payload::bytes(Bytes::new());
        }
        // One piece waits while another one is sent.
        let (feed, fed) = mpsc::channel(1);
        tokio::spawn(self.clone().feed(offset, length, feed));
        let (source, mut reached) = (self.clone(), offset);
        let frames = ReceiverStream::new(fed).map(move |piece: Result<Bytes, RemoteError>| {
            let piece = piece?;
            reached += piece.len() as u64;
            source.reached(reached);
            Ok::<_, RemoteError>(Frame::data(piece))
        });
        Payload::sized(StreamBody::new(frames), length)
    }

    async fn feed(self, offset: u64, length: u64, feed: mpsc::Sender<Result<Bytes, RemoteError>>) {
        let (mut at, end) = (offset, offset + length);
        while at < end {
            let piece = usize::try_from(end - at).unwrap_or(usize::MAX).min(REMOTE_PIECE_BYTES);
            let read = self.read(at, piece).await;
            let failed = read.is_err();
            // Nobody takes it where the request was given up.
            if feed.send(read).await.is_err() || failed {
                return;
            }
            at += piece as u64;
        }
    }
}
