//! Changes of files, told as they happen.
//!
//! `tree` knows the directories that the kernel watches for us, `events` makes clients' events of what
//! the kernel says. Events are written at once; while nobody takes them, the kernel queues and, when
//! its queue is full, drops: then an event of the type `Unknown` with the path that is watched says so,
//! whatever types were asked for. So does one for a directory that cannot be watched because there are
//! too many.

mod events;
mod tree;

use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::BorrowedFd,
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use self::{
    events::{Event, Events, Filter},
    tree::{Depth, Full, Tree},
};
use super::{
    failure::{Failure, Kind},
    request::WatchRequest,
};
use crate::core::limits::WATCH_RENAME;

/// Tells changes until `input` ends, the time is over, or nobody takes them any more.
pub(super) fn watch(
    request: &WatchRequest,
    input: BorrowedFd<'_>,
    to: &mut File,
) -> Result<(), Failure> {
    let filter = Filter::new(request.filter.as_deref());
    let started = start(request, filter)?;
    run(started, request.lasts(), input, to)
}

fn run(
    (mut events, mut tree): (Events, Tree),
    lasts: Option<Duration>,
    input: BorrowedFd<'_>,
    to: &mut File,
) -> Result<(), Failure> {
    let deadline = lasts.and_then(|time| Instant::now().checked_add(time));
    loop {
        let wait = if events.is_half_told() { Some(WATCH_RENAME) } else { None };
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let mut ready = [
            PollFd::new(&input, PollFlags::IN),
            PollFd::from_borrowed_fd(tree.as_fd(), PollFlags::IN),
        ];
        wait_for(&mut ready, [wait, left].into_iter().flatten().min())?;
        let [from_input, from_kernel] = ready.map(|one| !one.revents().is_empty());
        let told = if from_kernel { events.read(&mut tree)? } else { events.complete(&mut tree) };
        let taken = tell(&told, to)?;
        let over = deadline.is_some_and(|at| at <= Instant::now());
        if over || taken == Taken::No || (from_input && has_ended(input)) {
            return Ok(());
        }
    }
}

/// Begins to watch. A file is watched by its directory, so that one that replaces it is seen too.
fn start(request: &WatchRequest, filter: Filter) -> Result<(Events, Tree), Failure> {
    let path = fs::canonicalize(&request.path)?;
    let depth = if request.recursive { Depth::All } else { Depth::One };
    let (directory, depth, only) = match (fs::metadata(&path)?.is_dir(), path.file_name()) {
        (false, Some(name)) => (parent(&path), Depth::One, Some(name.to_owned())),
        (true, _) | (false, None) => (&*path, depth, None),
    };
    let mut tree = Tree::new(filter.mask(), depth).map_err(|errno| match errno {
        Errno::MFILE => Failure::new(
            Kind::Io,
            "the limit of watches of this user is reached (fs.inotify.max_user_instances)",
        ),
        errno => errno.into(),
    })?;
    tree.add_root(directory).map_err(|error| match error {
        Full::Kernel => Failure::new(
            Kind::Io,
            "the limit of watched directories is reached (fs.inotify.max_user_watches)",
        ),
        Full::Ours => Failure::new(Kind::Io, "there are too many directories to watch"),
        Full::Root(errno) => errno.into(),
    })?;
    Ok((Events::new(directory, only, filter), tree))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn wait_for(ready: &mut [PollFd<'_>], wait: Option<Duration>) -> Result<(), Failure> {
    let wait = wait.map(|wait| Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: wait.subsec_nanos().into(),
    });
    match poll(ready, wait.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// What is said to us has no meaning; that nobody is there any more has.
fn has_ended(input: BorrowedFd<'_>) -> bool {
    matches!(rustix::io::read(input, &mut [0; 512]), Ok(0) | Err(_))
}

/// Whether somebody took what was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Yes,
    No,
}

fn tell(told: &[Event], to: &mut File) -> Result<Taken, Failure> {
    let mut lines = Vec::new();
    for event in told {
        serde_json::to_writer(&mut lines, event).map_err(io::Error::from)?;
        lines.push(b'\n');
    }
    match to.write_all(&lines) {
        Ok(()) => Ok(Taken::Yes),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Taken::No),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
