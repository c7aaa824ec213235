//! The threads between the walk and the layer: they fill and compress chunks, hash, and write.
//!
//! Chunks go to whichever thread is free, and come out in the order in which they went in: each has a
//! channel of its own for what becomes of it, and who hashes takes these channels in order. At most
//! `SNAPSHOT_CHUNKS_AHEAD` chunks wait; while they do, the walk does.

use std::{
    io::{self, Write},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::{
    PackedLayer, SnapshotError, SnapshotSpec,
    squeeze::{Compression, Squeeze},
    tally::Told,
    tape::{Chunk, Tape},
};
use crate::core::{
    image::Digest,
    limits::{
        SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNKS_AHEAD, SNAPSHOT_PIECES_AHEAD, SNAPSHOT_THREADS_MAX,
        SNAPSHOT_WRITE_BYTES,
    },
};

/// Where the walk hands chunks on.
pub(super) struct Intake<'a> {
    jobs: SyncSender<Job>,
    order: SyncSender<Receiver<Done>>,
    spare: &'a Spare,
}

/// A chunk, and where to say what became of it.
struct Job {
    chunk: Chunk,
    done: SyncSender<Done>,
}

/// A chunk that has its data.
struct Done {
    bytes: Vec<u8>,
    used: usize,
    /// What it was compressed to, if it was.
    packed: io::Result<Option<Vec<u8>>>,
}

/// Buffers of chunks that are not in use.
#[derive(Default)]
struct Spare(Mutex<Vec<Vec<u8>>>);

/// What goes to the layer.
enum Piece {
    Packed(Vec<u8>),
    Plain(Vec<u8>, usize),
}

/// The stream as it was hashed.
struct Stream {
    sum: Digest,
    bytes: u64,
}

/// Runs `plan`, which lays out the stream, and all that becomes of it; the layer is `None` if the stream is
/// empty.
pub(super) fn run<P: Send>(
    plan: impl FnOnce(Tape<'_>) -> Result<P, SnapshotError> + Send,
    spec: &SnapshotSpec<'_>,
    told: &Told,
    out: &mut dyn Write,
) -> Result<(P, Option<PackedLayer>), SnapshotError> {
    let spare = Spare::default();
    let (order, ordered) = sync_channel(SNAPSHOT_CHUNKS_AHEAD);
    let (jobs, waiting) = sync_channel::<Job>(SNAPSHOT_CHUNKS_AHEAD);
    let (pieces, ready) = sync_channel(SNAPSHOT_PIECES_AHEAD);
    let waiting = Mutex::new(waiting);
    let compression = spec.compression;
    thread::scope(|scope| {
        let planned = scope.spawn({
            let intake = Intake { jobs, order, spare: &spare };
            || plan(Tape::new(intake))
        });
        for _ in 0..spec.threads.clamp(1, SNAPSHOT_THREADS_MAX) {
            scope.spawn(|| work(&waiting, compression, told));
        }
        let hashed = scope.spawn(|| hash(ordered, pieces, &spare));
        let written = write(ready, out, compression, &spare);
        let planned = planned.join().expect("the walk does not panic");
        let hashed = hashed.join().expect("hashing does not panic");
        // Whoever ends early ends the others; what they say then says nothing.
        let (digest, bytes) = written?;
        let stream = match (hashed, planned) {
            (Err(error), Err(SnapshotError::Ended) | Ok(_)) | (_, Err(error)) => return Err(error),
            (Ok(stream), Ok(found)) => (stream, found),
        };
        let (Stream { sum, bytes: tar_bytes }, found) = stream;
        let digest = digest.unwrap_or(sum);
        let layer = PackedLayer { diff_id: sum, digest, bytes, tar_bytes };
        Ok((found, (tar_bytes > 0).then_some(layer)))
    })
}

impl Intake<'_> {
    /// A buffer for a chunk.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.spare.0.lock().pop().unwrap_or_else(|| vec![0; SNAPSHOT_CHUNK_BYTES])
    }

    /// Hands a chunk on, and waits while too many are under way.
    pub(super) fn hand_on(&self, chunk: Chunk) -> Result<(), SnapshotError> {
        let (done, receiver) = sync_channel(1);
        self.order.send(receiver).map_err(|_| SnapshotError::Ended)?;
        self.jobs.send(Job { chunk, done }).map_err(|_| SnapshotError::Ended)
    }
}

/// Fills and compresses chunks for as long as there are any.
fn work(waiting: &Mutex<Receiver<Job>>, compression: Compression, told: &Told) {
    let mut squeeze = Squeeze::new(compression);
    loop {
        // One waits in the channel, the others for the lock.
        let next = waiting.lock().recv();
        let Ok(Job { mut chunk, done }) = next else { return };
        chunk.fill(told);
        let Chunk { bytes, used, .. } = chunk;
        let packed = match &mut squeeze {
            Ok(squeeze) => squeeze.chunk(&bytes[..used]),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        // Nobody may listen any more: then there will be no next one.
        let _ = done.send(Done { bytes, used, packed });
    }
}

/// Hashes the stream in order, and hands on what goes to the layer.
fn hash(
    ordered: Receiver<Receiver<Done>>,
    pieces: SyncSender<Piece>,
    spare: &Spare,
) -> Result<Stream, SnapshotError> {
    let (mut sum, mut length) = (Sha256::new(), 0);
    for receiver in ordered {
        let Done { bytes, used, packed } = receiver.recv().map_err(|_| SnapshotError::Ended)?;
        sum.update(&bytes[..used]);
        length += used as u64;
        let piece = match packed.map_err(SnapshotError::Compress)? {
            None => Piece::Plain(bytes, used),
            Some(packed) => {
                spare.give(bytes);
                Piece::Packed(packed)
            }
        };
        pieces.send(piece).map_err(|_| SnapshotError::Ended)?;
    }
    Ok(Stream { sum: Digest::from_bytes(sum.finalize().into()), bytes: length })
}

/// Writes the layer; its digest, if that is not the stream's, and its length.
fn write(
    ready: Receiver<Piece>,
    out: &mut dyn Write,
    compression: Compression,
    spare: &Spare,
) -> Result<(Option<Digest>, u64), SnapshotError> {
    let (mut sum, mut length) = (Sha256::new(), 0);
    for piece in ready {
        match piece {
            Piece::Packed(bytes) => {
                sum.update(&bytes);
                length += bytes.len() as u64;
                put(out, &bytes)?;
            }
            Piece::Plain(bytes, used) => {
                length += used as u64;
                put(out, &bytes[..used])?;
                spare.give(bytes);
            }
        }
    }
    let plain = compression == Compression::Plain;
    Ok(((!plain).then(|| Digest::from_bytes(sum.finalize().into())), length))
}

fn put(out: &mut dyn Write, bytes: &[u8]) -> Result<(), SnapshotError> {
    let mut pieces = bytes.chunks(SNAPSHOT_WRITE_BYTES);
    pieces.try_for_each(|piece| out.write_all(piece)).map_err(SnapshotError::Write)
}

impl Spare {
    fn give(&self, buffer: Vec<u8>) {
        self.0.lock().push(buffer);
    }
}
