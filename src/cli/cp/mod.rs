//! `doorward cp`: files and directories in and out of the agent's container.
//!
//! The other side is the agent's own binary as an ordinary exec: an image needs neither tar
//! nor shell for it. An archive goes between the two, over the same calls as any input and output, so
//! a link may break as often as it likes. It ends with a word of the tool; without that word a copy
//! has failed, whatever was made.

mod forms;
mod into;
mod out;
mod tool;
mod watch;
mod window;

use std::{
    ffi::OsString,
    io::{stdin, stdout},
    path::PathBuf,
    pin::{Pin, pin},
};

use anyhow::bail;
use clap::Args;
use rustix::termios::isatty;

use self::{
    forms::{Form, Input, Output},
    out::To,
    tool::{Ending, InContainer, Lines, Tool},
    watch::{FILES, failed_there},
};
use super::{
    connect::Connection,
    progress::{Line, Progress},
    stop::{Stopped, stopped},
};
use crate::{
    archive::{
        Destination, Devices, Layout, Links, Owners, Packing, Source, Tally, Unpack, to_argument,
    },
    core::limits::ARCHIVE_WINDOW_BYTES,
};

/// The exit code when something was not copied as it should have been.
const EXIT_INCOMPLETE: u8 = 1;

/// The arguments of `doorward cp`.
#[derive(Args, Debug)]
#[command(
    override_usage = "doorward cp [OPTIONS] PATH... :PATH\n       doorward cp [OPTIONS] :PATH... PATH",
    after_help = "A path that begins with : is in the container; one without / behind that is relative \
    to where the agent's commands start. - is a tar stream: standard input as the source, standard output \
    as the destination. A local path that begins with : is written ./:PATH.\n\n\
    A destination that is a directory gets the sources in it; one that is not there gets the source's \
    place; SOURCE/. copies what is in a directory. Links are copied as links. Modes, times and the \
    extended attributes of users are kept, owners and capabilities with -a. Blocks of zeros in large files \
    take no room.\n\n\
    Exit code: 0 if everything was copied, 1 if something was not, 125 if it did not begin."
)]
pub struct CpArgs {
    #[command(flatten)]
    connection: Connection,
    /// Keep owners by their numbers, and copy devices; for that, root has to be on the receiving side
    #[arg(short, long)]
    archive: bool,
    /// Copy what a source leads to, if it is a link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Say nothing but what went wrong
    #[arg(short, long)]
    quiet: bool,
    /// Sources, and last the destination
    #[arg(required = true, num_args = 2.., value_name = "PATH")]
    paths: Vec<OsString>,
}

/// Runs it, and returns the exit code for this process.
pub async fn run(args: CpArgs) -> anyhow::Result<u8> {
    let (connection, progress) = (args.connection.clone(), args.progress());
    let copy = args.prepare(&progress)?;
    let mut stop = pin!(stopped()?);
    let client = connection.connect().await?;
    let (tool, mut lines) = Tool::start(client, copy.arguments()).await?;
    let copied = tokio::select! {
        copied = copy.run(&tool, &mut lines, &progress, stop.as_mut()) => copied,
        never = progress.show() => match never {},
    };
    progress.end();
    let ending = if copied.is_ok() { Ending::Done } else { Ending::Early };
    tool.end(ending).await;
    match copied {
        Ok(tally) => Ok(if tally.problems == 0 { 0 } else { EXIT_INCOMPLETE }),
        Err(error) => {
            if let Some(Stopped(code)) = error.downcast_ref() {
                return Ok(*code);
            }
            match error.downcast_ref() {
                Some(InContainer(reason)) => failed_there(&progress, reason),
                None => progress.say(&format!("failed to {error:#}")),
            }
            Ok(EXIT_INCOMPLETE)
        }
    }
}

/// A copy that can begin.
enum Copy {
    In { from: Input, to: PathBuf, packing: Packing, owners: Owners },
    Out { from: Vec<Source>, to: To, packing: Packing },
}

impl CpArgs {
    fn progress(&self) -> Progress {
        Progress::new(if self.quiet { Line::Never } else { Line::OnTerminals }, FILES)
    }

    /// Looks whether the copy can begin, as far as that is seen from here.
    fn prepare(self, progress: &Progress) -> anyhow::Result<Copy> {
        let owners = if self.archive { Owners::Kept } else { Owners::Own };
        let packing = Packing {
            links: if self.follow_link { Links::Followed } else { Links::Packed },
            devices: if self.archive { Devices::Packed } else { Devices::Skipped },
        };
        let mut paths = self.paths;
        let to = paths.pop().expect("two paths are required");
        match Form::parse(paths, to)? {
            Form::In { from: Input::Archive, .. } if isatty(stdin()) => {
                bail!("copy: an archive is not typed: standard input is a terminal")
            }
            Form::In { from, to } => {
                if let Some(bytes) = from.bytes() {
                    progress.expect(bytes);
                }
                Ok(Copy::In { from, to, packing, owners })
            }
            Form::Out { to: Output::Archive, .. } if isatty(stdout()) => {
                bail!("copy: an archive is not shown: standard output is a terminal")
            }
            Form::Out { from, to: Output::Archive } => {
                Ok(Copy::Out { from, to: To::Archive, packing })
            }
            Form::Out { from, to: Output::Files(path) } => {
                let to = Destination::find(&path, forms::layout(&from))?;
                Ok(Copy::Out { from, to: To::Files(Unpack { to, owners }), packing })
            }
        }
    }
}

impl Copy {
    /// What the tool is told to do.
    fn arguments(&self) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        match self {
            Self::In { from, to, owners, packing: _ } => {
                let layout = match from.layout() {
                    Layout::One => "one",
                    Layout::Contents => "contents",
                    Layout::Many => "many",
                };
                words.extend(["unpack", "--layout", layout].map(String::from));
                if *owners == Owners::Kept {
                    words.push("--owners".into());
                }
                words.extend(["--".into(), to_argument(to)]);
            }
            Self::Out { from, packing, to: _ } => {
                words.extend(["pack".into(), "--window".into(), ARCHIVE_WINDOW_BYTES.to_string()]);
                if packing.links == Links::Followed {
                    words.push("--follow".into());
                }
                if packing.devices == Devices::Packed {
                    words.push("--devices".into());
                }
                words.push("--".into());
                words.extend(from.iter().map(|source| to_argument(&source.path)));
            }
        }
        words
    }

    async fn run(
        self,
        tool: &Tool,
        lines: &mut Lines,
        progress: &Progress,
        stop: Pin<&mut impl Future<Output = Stopped>>,
    ) -> anyhow::Result<Tally> {
        match self {
            Self::In { from, packing, .. } => tokio::select! {
                copied = into::copy(tool, lines, from, packing, progress) => copied,
                stopped = stop => Err(stopped.into()),
            },
            Self::Out { to, .. } => out::copy(tool, lines, to, progress, stop).await,
        }
    }
}
