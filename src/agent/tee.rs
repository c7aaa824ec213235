//! Copies the entrypoint's output to the agent's own, so that `docker logs` shows it.
//!
//! It is a reader of the spool like any other. A log that takes nothing stops only this reader:
//! once it is too far behind, what lies between is left out, and a line says how much. The spool
//! keeps everything.

use std::{
    io::{self, Write},
    sync::Arc,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::{
    core::{
        ids::Stream,
        limits::{CHUNK_BYTES, LOG_BEHIND_BYTES_MAX},
    },
    exec::{
        handle::Exec,
        spool::{Next, ReadError, Reader},
    },
};

/// Pieces on their way to the writing thread; when it is full, the reader waits.
const PIECES: usize = 4;

/// Copies both streams; resolves when both are written to their end.
pub(super) async fn copy(exec: Arc<Exec>) {
    let stdout = one(&exec, Stream::Stdout, Box::new(io::stdout()));
    let stderr = one(&exec, Stream::Stderr, Box::new(io::stderr()));
    tokio::join!(stdout, stderr);
}

async fn one(exec: &Exec, stream: Stream, sink: Box<dyn Write + Send>) {
    let (pieces, queue) = mpsc::channel(PIECES);
    let (done, written) = oneshot::channel();
    let writer = std::thread::Builder::new().name(format!("log-{stream}"));
    let started = writer.spawn(move || {
        write_all(queue, sink);
        // Nobody waits any more once the agent ends.
        let _ = done.send(());
    });
    if let Err(error) = started {
        tracing::warn!("ignoring {stream} of the entrypoint, no thread to copy it: {error}");
        return;
    }
    follow(exec, stream, &pieces).await;
    drop(pieces);
    // An error means that the thread is gone, and with it the log.
    let _ = written.await;
}

/// Reads to the end; stops early if the log is gone.
async fn follow(exec: &Exec, stream: Stream, pieces: &mpsc::Sender<Bytes>) {
    let spool = exec.output(stream);
    let mut reader = spool.reader(0);
    loop {
        match reader.next(CHUNK_BYTES).await {
            Ok(Next::Data { offset, bytes }) => {
                let next = offset + bytes.len() as u64;
                if pieces.send(bytes).await.is_err() {
                    return;
                }
                let end = spool.range().end;
                if end.saturating_sub(next) > LOG_BEHIND_BYTES_MAX {
                    reader = skip(exec, stream, pieces, next, end).await;
                }
            }
            Ok(Next::End(_)) => return,
            Err(ReadError::Dropped { asked, first }) => {
                reader = skip(exec, stream, pieces, asked, first).await;
            }
            Err(error) => {
                tracing::warn!("ignoring the rest of {stream} of the entrypoint: {error}");
                return;
            }
        }
    }
}

async fn skip(
    exec: &Exec,
    stream: Stream,
    pieces: &mpsc::Sender<Bytes>,
    from: u64,
    to: u64,
) -> Reader {
    let left_out = to.saturating_sub(from);
    let line = format!(
        "\ndoorward: the log was too slow, {left_out} bytes of {stream} are left out here\n"
    );
    // If the log is gone, the next piece finds out.
    let _ = pieces.send(line.into()).await;
    exec.output(stream).reader(to)
}

fn write_all(mut queue: mpsc::Receiver<Bytes>, mut sink: Box<dyn Write + Send>) {
    while let Some(piece) = queue.blocking_recv() {
        if sink.write_all(&piece).and_then(|()| sink.flush()).is_err() {
            return;
        }
    }
}
