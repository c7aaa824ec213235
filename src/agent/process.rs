//! What the agent does to its own process before it makes another: nothing of what it was
//! started with may leak into commands.

use std::{io, sync::Arc};

use rustix::{
    fs::{Mode, OFlags, open},
    io::{FdFlags, fcntl_setfd},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use tokio::signal::unix::{SignalKind, signal};

use crate::os::{
    cgroup, descriptors,
    features::Features,
    reap::Reaper,
    spawn::{Inheritance, Way},
};

/// Makes the descriptors that the agent was started with safe: 0, 1 and 2 exist, so that no pipe
/// of ours ever gets one of these numbers; all others close on exec.
pub(super) fn settle_descriptors() -> io::Result<()> {
    loop {
        let fd = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        if descriptors::number(&fd) > 2 {
            break;
        }
        // It fills a hole below 3 and stays for the life of the process.
        fcntl_setfd(&fd, FdFlags::empty())?;
        descriptors::keep(fd);
    }
    descriptors::close_others_on_exec()
}

/// Remembers what commands are to get, then raises the agent's own limit of descriptors as far
/// as it may: 4 for each live exec.
pub(super) fn take_inheritance(features: &Features) -> Inheritance {
    let way = if features.clone3.is_there() { Way::Clone3 } else { Way::Clone };
    let inheritance = Inheritance::take(way, features.close_range.is_there().then_some(()));
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("ignoring that the limit of descriptors cannot be raised: {error}");
    }
    inheritance
}

/// Reaps every child and orphan from now on. Call within the runtime, before the first child.
pub(super) fn start_reaping() -> io::Result<Arc<Reaper>> {
    let reaper = Arc::new(Reaper::default());
    if let Err(error) = Reaper::adopt_orphans() {
        tracing::warn!("ignoring that orphans cannot be adopted: {error}");
    }
    let mut child_ended = signal(SignalKind::child())?;
    let reaping = reaper.clone();
    tokio::spawn(async move {
        reaping.reap();
        while child_ended.recv().await.is_some() {
            reaping.reap();
        }
    });
    Ok(reaper)
}

/// Cgroups for execs, where they can be made and a process can be born into one.
pub(super) fn groups(features: &Features) -> Option<cgroup::Pool> {
    if !features.clone3.is_there() {
        return None;
    }
    let opened = cgroup::Pool::open(features);
    opened.inspect_err(|reason| tracing::debug!("no cgroups for execs: {reason}")).ok()
}
