//! `doorward archive`: one side of a copy, as the other side runs it where the files are.
//!
//! It is the agent's own binary, started as an ordinary exec, so it needs nothing of the image: no
//! tar, no shell, no library. It speaks as `archive::report` says. It ends by itself when nobody
//! is at the other end any more: its input ends, or says nothing for an hour.

use std::{
    fs::File,
    io::{self, Read, Write, stderr, stdin, stdout},
    os::fd::AsFd,
    sync::Arc,
    thread,
};

use clap::{Args, Subcommand, ValueEnum};
use parking_lot::{Condvar, Mutex};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::Mode,
    pipe::fcntl_setpipe_size,
};

use super::{
    Destination, GREETING, Layout, Owners, Pieces, Report, Source, Tally, Unpack, Watch,
    from_argument, pack,
    pack::{Devices, Links, Packing},
    unpack,
};
use crate::core::limits::{ARCHIVE_PIPE_BYTES, ARCHIVE_REPORT_BYTES, ARCHIVE_SILENCE};

/// The arguments of `doorward archive`. Paths are as [`super::to_argument`] makes them.
#[derive(Args, Debug)]
pub struct ToolArgs {
    #[command(subcommand)]
    side: Side,
}

#[derive(Subcommand, Debug)]
enum Side {
    /// Write an archive of files to standard output
    Pack {
        /// Bytes that may be under way, unread by the other side
        #[arg(long, value_name = "BYTES")]
        window: u64,
        /// Pack what a source leads to, if it is a link
        #[arg(long)]
        follow: bool,
        /// Pack devices too
        #[arg(long)]
        devices: bool,
        /// What to pack
        #[arg(required = true)]
        sources: Vec<String>,
    },
    /// Make files of the archive on standard input
    Unpack {
        /// Give the files to the owners that the archive names
        #[arg(long)]
        owners: bool,
        /// What the archive has at its top
        #[arg(long, value_enum)]
        layout: LayoutName,
        /// Where to
        to: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LayoutName {
    One,
    Contents,
    Many,
}

impl Side {
    fn run(self) -> Result<Tally, String> {
        match self {
            Self::Pack { window, follow, devices, sources } => {
                let packing = Packing {
                    links: if follow { Links::Followed } else { Links::Packed },
                    devices: if devices { Devices::Packed } else { Devices::Skipped },
                };
                let sources: Vec<Source> =
                    sources.iter().map(|path| Source::parse(from_argument(path))).collect();
                let packed = Paced::start(window)
                    .and_then(|mut to| pack(&sources, packing, &mut to, &mut Reports));
                packed.map_err(|error| format!("write the archive: {error}"))
            }
            Self::Unpack { owners, layout, to } => {
                let to = Destination::find(&from_argument(&to), layout.into());
                let to = to.map_err(|error| error.to_string())?;
                let owners = if owners { Owners::Kept } else { Owners::Own };
                let how = Unpack { to, owners };
                unpack(Told::start(), &how, &mut Reports).map_err(|error| error.to_string())
            }
        }
    }
}

/// Runs it; returns the exit code: 0 if everything was copied as it should be, else 1.
pub fn run(args: ToolArgs) -> u8 {
    // Modes are those of the archive, and nothing else is made by this process.
    rustix::process::umask(Mode::empty());
    let _ = writeln!(stderr(), "{GREETING}");
    match args.side.run() {
        Ok(tally) => {
            say(&Report::Done(tally));
            u8::from(tally.problems > 0)
        }
        Err(reason) => {
            say(&Report::Fatal(reason));
            1
        }
    }
}

/// Says it on standard error. If nobody takes it, input or output will tell.
fn say(report: &Report) {
    let line = serde_json::to_string(report).expect("text and numbers are JSON");
    let _ = stderr().write_all((line + "\n").as_bytes());
}

/// Says everything on standard error.
struct Reports;

impl Watch for Reports {
    fn problem(&mut self, text: String) {
        say(&Report::Problem(text));
    }

    fn notice(&mut self, text: String) {
        say(&Report::Notice(text));
    }

    fn copied(&mut self, _: &Tally) {}
}

/// Standard output, without the buffer that text has; never more than a window ahead of what the other side says it has read.
struct Paced {
    to: File,
    written: u64,
    window: u64,
    read: Arc<Other>,
}

/// What is known of the other side.
struct Other {
    /// What it said it has read; `None` once it is gone.
    read: Mutex<Option<u64>>,
    changed: Condvar,
}

impl Paced {
    fn start(window: u64) -> io::Result<Self> {
        let to = File::from(stdout().as_fd().try_clone_to_owned()?);
        // A larger pipe is a matter of speed only.
        let _ = fcntl_setpipe_size(&to, ARCHIVE_PIPE_BYTES);
        let read = Arc::new(Other { read: Mutex::new(Some(0)), changed: Condvar::new() });
        let ours = read.clone();
        thread::spawn(move || ours.listen());
        Ok(Self { to, written: 0, window, read })
    }
}

impl Pieces for Paced {
    fn take(&mut self, piece: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut read = self.read.read.lock();
        loop {
            match *read {
                None => return Err(io::Error::other("the other side has left")),
                Some(read) if self.written < read.saturating_add(self.window) => break,
                Some(_) => {
                    if self.read.changed.wait_for(&mut read, ARCHIVE_SILENCE).timed_out() {
                        return Err(io::Error::other("the other side is silent"));
                    }
                }
            }
        }
        drop(read);
        self.to.write_all(&piece)?;
        self.written += piece.len() as u64;
        Ok(piece)
    }
}

impl Other {
    /// Reads what the other side has read, to the end of standard input.
    fn listen(&self) {
        for line in stdin().lines() {
            let Some(count) = line.ok().and_then(|line| line.parse().ok()) else { break };
            *self.read.lock() = Some(count);
            self.changed.notify_one();
        }
        *self.read.lock() = None;
        self.changed.notify_one();
    }
}

/// Standard input; says now and then how much of it was read.
struct Told {
    read: u64,
    said: u64,
}

impl Told {
    fn start() -> Self {
        let _ = fcntl_setpipe_size(stdin(), ARCHIVE_PIPE_BYTES);
        Self { read: 0, said: 0 }
    }
}

impl Read for Told {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let input = stdin();
        let limit = Timespec {
            tv_sec: i64::try_from(ARCHIVE_SILENCE.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: 0,
        };
        if poll(&mut [PollFd::new(&input, PollFlags::IN)], Some(&limit))? == 0 {
            return Err(io::Error::other("the other side is silent"));
        }
        let count = rustix::io::read(input.as_fd(), buffer)?;
        self.read += count as u64;
        if self.read - self.said >= ARCHIVE_REPORT_BYTES {
            self.said = self.read;
            say(&Report::Read(self.read));
        }
        Ok(count)
    }
}

impl From<LayoutName> for Layout {
    fn from(name: LayoutName) -> Self {
        match name {
            LayoutName::One => Self::One,
            LayoutName::Contents => Self::Contents,
            LayoutName::Many => Self::Many,
        }
    }
}
