//! Images that are mounted by the kernel: overlays and bind mounts.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, openat};

use super::{
    MountError,
    attributes::make_like,
    record::Record,
    remove::{DIRECTORY, remove},
};
use crate::{
    core::mounts::Way,
    os::mount::{self, Layers, Parting, Point},
};

/// What lies at a mount's path and beneath it.
pub(super) struct Shown {
    /// Ours is among it.
    pub(super) ours: bool,
    /// Something of somebody else's came after ours.
    pub(super) foreign: Option<PathBuf>,
}

/// Looks what is mounted at a mount's path. Without a table nothing is.
pub(super) fn look(record: &Record) -> Shown {
    let mut shown = Shown { ours: false, foreign: None };
    for point in mount::table().unwrap_or_default() {
        if point.path == record.path && is_ours(&point, record) {
            shown = Shown { ours: true, foreign: None };
        } else if point.path.starts_with(&record.path) && !is_ground(&point, record) {
            shown.foreign = Some(point.path);
        }
    }
    shown
}

/// What entries are moved into and out of may itself be mounted there.
fn is_ground(point: &Point, record: &Record) -> bool {
    record.journal.way() == Way::Entries && point.path == record.path
}

/// Ours are told by the mount's id: in what an overlay is mounted from, and in the path of a tree.
fn is_ours(point: &Point, record: &Record) -> bool {
    match record.journal.way() {
        Way::Overlay => point.kind == "overlay" && point.source == *source(record),
        Way::Bind => {
            let tail = Path::new("mounts").join(record.id()).join("tree");
            point.root.ends_with(tail)
        }
        Way::Swap | Way::Entries => false,
    }
}

fn source(record: &Record) -> String {
    format!("doorward-{}", record.id())
}

/// Makes the layer that takes the changes of an overlay.
pub(super) fn make_upper(record: &Record, lower: &Path) -> io::Result<()> {
    let [upper, work] = ["upper", "work"].map(|name| record.home.join(name));
    for directory in [&upper, &work] {
        remove(directory)?;
        fs::create_dir(directory)?;
    }
    // The top directory of an overlay is like that of its upper layer.
    let like = openat(CWD, lower, DIRECTORY, Mode::empty())?;
    let upper = openat(CWD, &upper, DIRECTORY, Mode::empty())?;
    make_like(&like, &rustix::fs::fstat(&like)?, &upper)?;
    Ok(())
}

/// Mounts it, unless it is.
pub(super) fn attach(record: &Record) -> Result<(), MountError> {
    if look(record).ours {
        return Ok(());
    }
    let attached = match &record.lower {
        Some(lower) => {
            let [upper, work] = ["upper", "work"].map(|name| record.home.join(name));
            let layers = Layers { lower, upper: &upper, work: &work };
            mount::overlay(&source(record), layers, &record.path)
        }
        None => mount::bind(&record.tree(), &record.path),
    };
    attached.map_err(MountError::failed("mount at", &record.path))
}

/// Takes it away, if it is mounted. Who has something of it open keeps that.
pub(super) fn detach(record: &Record) -> Result<(), MountError> {
    let shown = look(record);
    if !shown.ours {
        return Ok(());
    }
    if let Some(path) = shown.foreign {
        return Err(MountError::Foreign(path));
    }
    mount::unmount(&record.path, Parting::Detached)
        .map_err(MountError::failed("unmount", &record.path))
}
