//! `doorward images export`: an image as one archive, in a file or on standard output.
//!
//! A file has its name when it is whole and not before: until then it stands beside that name under another one,
//! and is removed if anything goes wrong.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    io::{self, stdout},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use rustix::termios::isatty;
use tokio::sync::{mpsc, oneshot};
use tonic::Streaming;

use super::{
    args::{EXIT_HELP, Quiet, STOPPED_HELP, image, is_stream},
    follow::shown,
};
use crate::{
    cli::{
        connect::Connection,
        failure::{self, asking},
        progress::Progress,
        streams::{own, write_all},
    },
    client::{ClientError, random_id},
    core::limits::CLIENT_ARCHIVE_PIECES,
    wire::doorward::v1 as wire,
};

/// The arguments of `doorward images export`.
#[derive(Args, Debug)]
#[command(after_help = format!("A file is for its owner's eyes only, and is there when it is whole: whatever goes wrong, what \
    was there before stays.\n\n{EXIT_HELP} {STOPPED_HELP}"))]
pub(super) struct ExportArgs {
    #[command(flatten)]
    connection: Connection,
    /// Write to this file; -: to standard output
    #[arg(short, long, value_name = "FILE", default_value = "-", hide_default_value = true)]
    output: OsString,
    /// The form of the archive
    #[arg(long, value_enum, default_value_t = Form::Oci)]
    format: Form,
    #[command(flatten)]
    quiet: Quiet,
    /// Which image: its id, a tag or its digest
    #[arg(value_parser = image())]
    image: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// An OCI image layout
    Oci,
    /// What `docker save` writes
    Docker,
}

/// Writes it.
pub(super) async fn run(args: ExportArgs) -> anyhow::Result<u8> {
    if is_stream(&args.output) && isatty(stdout()) {
        bail!(
            "export: an archive is not shown: standard output is a terminal; -o FILE writes to a file"
        );
    }
    let images = args.connection.connect().await?.images();
    let what = format!("export {}", args.image);
    let format = match args.format {
        Form::Oci => wire::ArchiveFormat::Oci,
        Form::Docker => wire::ArchiveFormat::Docker,
    };
    let request = wire::ExportImageRequest {
        task_id: images.task_id(),
        image: args.image,
        format: format.into(),
    };
    let progress = args.quiet.progress();
    let work = async {
        let archive = images.export_image(request).await.map_err(asking(&what))?;
        let target = Target::open(&args.output)?;
        copy(archive, &target, &progress, &what).await?;
        target.keep()
    };
    shown(&progress, work, "no whole archive was written").await?;
    Ok(0)
}

/// Writes all of the archive, on a thread: whoever takes it may be slow, and the connection must go on meanwhile.
async fn copy(
    mut archive: Streaming<wire::ExportImageResponse>,
    target: &Target,
    progress: &Progress,
    what: &str,
) -> anyhow::Result<()> {
    let file = target.descriptor()?;
    let (pieces, received) = mpsc::channel::<Bytes>(CLIENT_ARCHIVE_PIECES);
    let (tell, written) = oneshot::channel();
    thread::spawn(move || {
        // Nobody listens once we were told to leave.
        let _ = tell.send(write_all(received, file));
    });
    let (mut bytes, mut whole) = (0, None);
    loop {
        let message = archive.message().await.map_err(ClientError::Refused);
        let Some(piece) = message.map_err(asking(what))? else { break };
        if let Some(total) = piece.total_bytes {
            whole = Some(total);
            progress.expect(total);
        }
        bytes += piece.data.len() as u64;
        progress.done(bytes, 0);
        if pieces.send(piece.data).await.is_err() {
            // It says why below.
            break;
        }
    }
    drop(pieces);
    let written = written.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
    written.map_err(|error| target.failed(error))?;
    match whole.unwrap_or(bytes.max(1)) {
        whole if whole == bytes => Ok(()),
        whole => bail!("{what}: {bytes} bytes came of an archive of {whole}"),
    }
}

/// Where an archive goes.
enum Target {
    Stdout,
    /// A device, a pipe: what cannot be replaced.
    Open(File, PathBuf),
    Part(Part),
}

impl Target {
    fn open(output: &OsStr) -> anyhow::Result<Self> {
        if is_stream(output) {
            return Ok(Self::Stdout);
        }
        let path = Path::new(output);
        let what = || format!("write {path:?}");
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => bail!("{}: it is a directory", what()),
            Ok(found) if found.is_file() => {
                // What a link leads to is replaced, not the link.
                let path = path.canonicalize().with_context(what)?;
                Part::beside(path).with_context(what).map(Self::Part)
            }
            Ok(_) => {
                let file = OpenOptions::new().write(true).open(path).with_context(what)?;
                Ok(Self::Open(file, path.to_path_buf()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Part::beside(path.to_path_buf()).with_context(what).map(Self::Part)
            }
            Err(error) => Err(error).with_context(what),
        }
    }

    /// A descriptor for the thread that writes.
    fn descriptor(&self) -> anyhow::Result<File> {
        let descriptor = match self {
            Self::Stdout => own(stdout()).map(File::from),
            Self::Open(file, _) | Self::Part(Part { file, .. }) => file.try_clone(),
        };
        descriptor.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> anyhow::Error {
        match self {
            Self::Stdout => failure::output(error),
            Self::Open(_, path) | Self::Part(Part { path, .. }) => {
                anyhow::Error::from(error).context(format!("write {path:?}"))
            }
        }
    }

    /// It is whole.
    fn keep(self) -> anyhow::Result<()> {
        match self {
            Self::Stdout | Self::Open(..) => Ok(()),
            Self::Part(part) => {
                let what = format!("write {:?}", part.path);
                part.keep().context(what)
            }
        }
    }
}

/// A file that is not whole yet. Dropping it removes it.
struct Part {
    file: File,
    /// Its name until it is whole; empty once it has the other one.
    temporary: PathBuf,
    path: PathBuf,
}

impl Part {
    /// Makes one in the directory of `path`, so that it can get that name at once.
    fn beside(path: PathBuf) -> io::Result<Self> {
        let temporary = path.with_file_name(format!(".doorward-{}.part", random_id()));
        // The container's secrets may be in it.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        Ok(Self { file, temporary, path })
    }

    fn keep(mut self) -> io::Result<()> {
        // The name must not outlive a loss of power that the bytes do not.
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        self.temporary = PathBuf::new();
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.temporary.as_os_str().is_empty() {
            // There is nobody left to tell.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
