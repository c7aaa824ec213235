//! Between the standard streams of this process and those of an exec.
//!
//! Each stream of ours has a thread: reading and writing them blocks for as long as the other
//! end likes, and the connection must go on meanwhile. A thread that hangs in a read is left
//! behind when the process ends.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    thread,
};

use bytes::{Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::{mpsc, oneshot};

use crate::{
    client::{ClientError, OutputReader, StdinWriter},
    core::limits::CHUNK_BYTES,
};

/// Pieces that wait for the slower side.
pub(super) const PIECES: usize = 8;

/// Why an output was not copied to its end.
#[derive(Debug)]
pub(super) enum CopyError {
    /// The agent's side.
    Client(ClientError),
    /// Our side.
    Write(io::Error),
}

/// A descriptor of our own for one of our standard streams.
pub(super) fn own(stream: impl AsFd) -> io::Result<OwnedFd> {
    stream.as_fd().try_clone_to_owned()
}

/// Copies all of `reader` to `to`, and returns what the agent had to say in the end.
pub(super) async fn print(mut reader: OutputReader, to: OwnedFd) -> Result<Vec<String>, CopyError> {
    let (pieces, received) = mpsc::channel(PIECES);
    let (tell, written) = oneshot::channel();
    thread::spawn(move || {
        // Nobody listens once we were told to leave.
        let _ = tell.send(write_all(received, File::from(to)));
    });
    while let Some(bytes) = reader.next().await.map_err(CopyError::Client)? {
        if pieces.send(bytes).await.is_err() {
            break;
        }
    }
    drop(pieces);
    let written = written.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
    written.map_err(CopyError::Write)?;
    Ok(reader.end().map(|end| end.warnings.clone()).unwrap_or_default())
}

/// Copies all of `from`, if there is one, to the exec's input, and ends the input.
pub(super) async fn feed(
    mut writer: StdinWriter,
    from: Option<OwnedFd>,
) -> Result<(), ClientError> {
    if let Some(from) = from {
        let mut pieces = read(from);
        while let Some(bytes) = pieces.recv().await {
            writer.write(bytes).await?;
        }
    }
    writer.finish().await
}

/// Reads all of `from` on a thread of its own.
pub(super) fn read(from: OwnedFd) -> mpsc::Receiver<Bytes> {
    let (sender, pieces) = mpsc::channel(PIECES);
    thread::spawn(move || read_all(File::from(from), &sender));
    pieces
}

/// Writes all pieces as they come, and returns when there are no more.
pub(super) fn write_all(mut pieces: mpsc::Receiver<Bytes>, mut to: File) -> io::Result<()> {
    while let Some(piece) = pieces.blocking_recv() {
        write_whole(&mut to, &piece)?;
    }
    Ok(())
}

/// Writes all of `bytes`, however slowly they are taken.
pub(super) fn write_whole(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) => pass(&error, to, PollFlags::OUT)?,
        }
    }
    Ok(())
}

/// Hands on what is read, until the end or until nobody takes it.
pub(super) fn read_all(mut from: File, pieces: &mpsc::Sender<Bytes>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.resize(CHUNK_BYTES, 0);
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                let piece = Bytes::copy_from_slice(&buffer[..length]);
                if pieces.blocking_send(piece).is_err() {
                    return;
                }
            }
            // Input that cannot be read has ended; so it is for every program.
            Err(error) => match pass(&error, &from, PollFlags::IN) {
                Ok(()) => {}
                Err(_) => return,
            },
        }
    }
}

/// Waits where the descriptor is non-blocking (others share its flags) or the call was
/// interrupted; any other error stays one.
pub(super) fn pass(error: &io::Error, file: &File, until: PollFlags) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock => {
            poll(&mut [PollFd::new(file, until)], None)?;
            Ok(())
        }
        _ => Err(io::Error::new(error.kind(), error.to_string())),
    }
}
