//! Copies out: the tool packs there, a thread unpacks here, the archive comes down between them.
//!
//! We say how far we have read, and the tool goes no further than a window beyond: the agent never has
//! to keep more than that for us, however large the tree is.

use std::{
    fs::File,
    io::{self, Read, Write, stdout},
    os::fd::AsFd,
    pin::Pin,
    thread,
};

use anyhow::anyhow;
use bytes::{Buf, Bytes};
use rustix::fs::Mode;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::tool::{InContainer, Lines, Tool};
use crate::{
    archive::{Tally, Unpack, unpack},
    cli::{progress::Progress, stop::Stopped},
    client::ClientError,
    core::{
        ids::Stream,
        limits::{ARCHIVE_END, ARCHIVE_REPORT_BYTES, ARCHIVE_WORD},
    },
};

/// Pieces that wait for the disk.
const PIECES: usize = 16;

/// Where a copy goes here.
pub(super) enum To {
    /// The archive itself, to standard output.
    Archive,
    /// Files.
    Files(Unpack),
}

/// The thread that takes the archive.
struct Taker {
    pieces: Option<mpsc::Sender<Bytes>>,
    ended: oneshot::Receiver<Result<Tally, String>>,
}

/// Copies all that the tool packs, and returns what both sides had trouble with.
pub(super) async fn copy(
    tool: &Tool,
    lines: &mut Lines,
    to: To,
    progress: &Progress,
    stop: Pin<&mut impl Future<Output = Stopped>>,
) -> anyhow::Result<Tally> {
    let mut taker = Taker::start(to, progress);
    let (reached, offsets) = watch::channel(0);
    let copied = {
        let take = take(tool, &mut taker, reached);
        let listen = tool.listen(lines, progress, |_| {});
        tokio::select! {
            both = both(take, listen) => both,
            never = tell(tool, offsets) => match never {},
            stopped = stop => Err(stopped.into()),
        }
    };
    if copied.is_err() && !taker.ended.is_terminated() {
        // It removes what is half made, and we wait for that.
        drop(taker.pieces.take());
        let _ = timeout(ARCHIVE_END, &mut taker.ended).await;
    }
    copied
}

/// Waits for both sides. What failed in the container is told rather than what came of it here.
async fn both(
    take: impl Future<Output = anyhow::Result<Tally>>,
    listen: impl Future<Output = anyhow::Result<Tally>>,
) -> anyhow::Result<Tally> {
    let (mut take, mut listen) = (Box::pin(take), Box::pin(listen));
    let (here, there) = tokio::select! {
        here = &mut take => match here {
            Ok(here) => (here, listen.await?),
            Err(error) => {
                let there = timeout(ARCHIVE_END, listen).await;
                return Err(match there {
                    Ok(Err(cause)) if cause.is::<InContainer>() => cause,
                    Ok(_) | Err(_) => error,
                });
            }
        },
        there = &mut listen => (take.await?, there?),
    };
    Ok(Tally { problems: here.problems + there.problems, ..here })
}

/// Takes the archive to its end.
async fn take(
    tool: &Tool,
    taker: &mut Taker,
    reached: watch::Sender<u64>,
) -> anyhow::Result<Tally> {
    let mut reader = tool.client.output(&tool.id, Stream::Stdout, 0);
    while let Some(bytes) = reader.next().await.map_err(|error| anyhow!("{}", explained(error)))? {
        let Some(pieces) = &taker.pieces else { break };
        if pieces.send(bytes).await.is_err() {
            break;
        }
        // Nobody looks once the tool has ended.
        let _ = reached.send(reader.offset());
    }
    drop(taker.pieces.take());
    let ended = (&mut taker.ended).await.unwrap_or_else(|_| Err("copy: a thread failed".into()));
    ended.map_err(|reason| anyhow!("{reason}"))
}

/// Says how far we are, whenever that is a good piece further, and now and then that we are there.
async fn tell(tool: &Tool, mut offsets: watch::Receiver<u64>) -> std::convert::Infallible {
    let mut input = tool.client.stdin(&tool.id);
    let mut told = 0;
    loop {
        let further = offsets.wait_for(|offset| *offset >= told + ARCHIVE_REPORT_BYTES);
        match timeout(ARCHIVE_WORD, further).await {
            Ok(Ok(offset)) => told = *offset,
            Err(_) => {}
            // Everything was read.
            Ok(Err(_)) => std::future::pending().await,
        }
        // The tool may have ended meanwhile; if it is the agent that is gone, the reader tells.
        if let Err(error) = input.write(format!("{told}\n").into()).await {
            tracing::debug!("ignoring that the archive tool reads no more: {error}");
        }
    }
}

fn explained(error: ClientError) -> String {
    match error {
        ClientError::Dropped { .. } => {
            format!("{error}: the agent has too little room to keep the archive until it is read")
        }
        error => error.to_string(),
    }
}

impl Taker {
    fn start(to: To, progress: &Progress) -> Self {
        let (pieces, received) = mpsc::channel(PIECES);
        let (tell, ended) = oneshot::channel();
        let mut watch = progress.clone();
        // Modes are those of the archive; what we make for ourselves has its mode by name.
        rustix::process::umask(Mode::empty());
        thread::spawn(move || {
            let received = Received { pieces: received, piece: Bytes::new() };
            let taken = match to {
                To::Files(how) => {
                    unpack(received, &how, &mut watch).map_err(|error| error.to_string())
                }
                To::Archive => hand_on(received).map(|()| Tally::default()),
            };
            // Nobody listens once we were told to leave.
            let _ = tell.send(taken);
        });
        Self { pieces: Some(pieces), ended }
    }
}

/// Writes an archive to standard output as it is.
fn hand_on(mut archive: Received) -> Result<(), String> {
    // Without the buffer that text has.
    let output = stdout().as_fd().try_clone_to_owned().map(File::from);
    let written = output.and_then(|mut output| {
        while let Some(piece) = archive.pieces.blocking_recv() {
            output.write_all(&piece)?;
        }
        Ok(())
    });
    written.map_err(|error| format!("write the archive: {error}"))
}

/// The pieces as one stream.
struct Received {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
