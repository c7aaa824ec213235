//! `doorward images import`: the images of an archive, from a file or from standard input.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, stdin},
    path::Path,
    pin::Pin,
    task::{Context, Poll, ready},
    thread,
};

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use rustix::{event::PollFlags, termios::isatty};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;

use super::{
    args::{EXIT_HELP, Quiet, STOPPED_HELP, is_stream, tag, ttl},
    document,
    follow::shown,
};
use crate::{
    cli::{
        connect::Connection,
        failure::asking,
        progress::Progress,
        show::{self, Format, human::printable, json},
        streams::{own, pass},
    },
    core::limits::{CLIENT_ARCHIVE_BYTES, CLIENT_ARCHIVE_PIECES},
    wire::doorward::v1 as wire,
};

/// The arguments of `doorward images import`.
#[derive(Args, Debug)]
#[command(after_help = format!("Takes OCI archives and those of `docker save`; an archive is told by what is in it. The ids \
    of its images are printed, one a line. Nothing is kept of an archive that is not whole.\n\n{EXIT_HELP} \
    {STOPPED_HELP}"))]
pub(super) struct ImportArgs {
    #[command(flatten)]
    connection: Connection,
    /// Keep them so long and no longer, in seconds or as 12h or 30d; never: until they are removed [default: until
    /// they were not used for 30 days]
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    ttl: Option<i64>,
    /// Give the one image of the archive this tag [default: the names that the archive gives]
    #[arg(long, value_parser = tag)]
    tag: Option<String>,
    #[command(flatten)]
    quiet: Quiet,
    #[command(flatten)]
    format: Format,
    /// The archive; -: standard input
    #[arg(default_value = "-", hide_default_value = true)]
    file: OsString,
}

/// Reads it.
pub(super) async fn run(args: ImportArgs) -> anyhow::Result<u8> {
    let progress = args.quiet.progress();
    let (source, name) = open(&args.file, &progress)?;
    let images = args.connection.connect().await?.images();
    let open = wire::ImportOpen {
        task_id: images.task_id(),
        ttl_seconds: args.ttl,
        tag: args.tag.unwrap_or_default(),
    };
    let (archive, broken) = Archive::read(source, progress.clone());
    let work = async {
        tokio::select! {
            taken = images.import_image(open, archive) => {
                taken.map_err(asking(format!("import {name}")))
            }
            // The call is dropped, so that the agent does not take what it has for the whole.
            error = broken => Err(anyhow!("read {name}: {error}")),
        }
    };
    let left = "the agent keeps nothing of it";
    let taken = shown(&progress, work, left).await?.images;
    match args.format.json {
        true => json::document(&taken.iter().map(document::Image::from).collect::<Vec<_>>())?,
        false => {
            let lines = taken.iter().map(|image| printable(&image.image_id) + "\n");
            show::put(&lines.collect::<String>())?;
        }
    }
    Ok(0)
}

/// The archive, and what to call it. How long it is, is told where that is known.
fn open(file: &OsString, progress: &Progress) -> anyhow::Result<(File, String)> {
    if !is_stream(file) {
        let name = format!("{:?}", Path::new(file));
        let what = || format!("read {name}");
        let file = File::open(file).with_context(what)?;
        let found = file.metadata().with_context(what)?;
        if found.is_file() {
            progress.expect(found.len());
        }
        return Ok((file, name));
    }
    if isatty(stdin()) {
        bail!("import: an archive is not typed: standard input is a terminal");
    }
    let input = own(stdin()).context("use standard input")?;
    Ok((input.into(), "standard input".into()))
}

/// The pieces of an archive as they are read, on a thread. It ends where the archive does; if reading fails, it
/// never ends.
struct Archive {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    /// Taken when reading has failed.
    tell: Option<oneshot::Sender<io::Error>>,
    bytes: u64,
    progress: Progress,
}

impl Archive {
    /// Begins to read; the future is ready when that fails, and only then.
    fn read(source: File, progress: Progress) -> (Self, impl Future<Output = io::Error>) {
        let (sender, pieces) = mpsc::channel(CLIENT_ARCHIVE_PIECES);
        thread::spawn(move || read(source, &sender));
        let (tell, told) = oneshot::channel();
        let broken = async {
            match told.await {
                Ok(error) => error,
                // It was read to its end.
                Err(_) => std::future::pending().await,
            }
        };
        (Self { pieces, tell: Some(tell), bytes: 0, progress }, broken)
    }
}

impl Stream for Archive {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match ready!(self.pieces.poll_recv(context)) {
            Some(Ok(piece)) => {
                self.bytes += piece.len() as u64;
                self.progress.done(self.bytes, 0);
                Poll::Ready(Some(piece))
            }
            None if self.tell.is_some() => Poll::Ready(None),
            // Whoever awaits the failure drops us.
            None => Poll::Pending,
            Some(Err(error)) => {
                if let Some(tell) = self.tell.take() {
                    // Nobody listens any more if the agent has refused.
                    let _ = tell.send(error);
                }
                Poll::Pending
            }
        }
    }
}

/// Hands on what is read, until the end, a failure, or until nobody takes it. Standard input may be non-blocking:
/// others share its flags.
fn read(mut source: File, pieces: &mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let mut piece = vec![0; CLIENT_ARCHIVE_BYTES];
        let read = match read_some(&mut source, &mut piece) {
            Ok(0) => return,
            Ok(length) => {
                piece.truncate(length);
                Ok(piece.into())
            }
            Err(error) => Err(error),
        };
        let failed = read.is_err();
        if pieces.blocking_send(read).is_err() || failed {
            return;
        }
    }
}

fn read_some(source: &mut File, piece: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(piece) {
            Err(error) => pass(&error, source, PollFlags::IN)?,
            read => return read,
        }
    }
}
