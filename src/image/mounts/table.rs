//! The table of mounts: who waits for whom, and what a request comes to.
//!
//! A path that is being mounted or unmounted is busy; requests for it, for what is above and for what is
//! beneath it wait. Everything here blocks, for as long as it takes to make a tree.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{
    Inside, MountError, TreeProvider, attach,
    record::{Record, Side, is_key},
    remove::{is_mount_root, remove},
    resolve::{Resolved, is_writable, resolve},
    steps::{self, GONE},
};
use crate::{
    core::{
        limits::MOUNTS_MAX,
        mounts::{
            Action, Journal, Known, MountPath, Parting, Verdict, Way, judge_mount, judge_place,
            judge_unmount,
        },
    },
    os::features::Feature,
};

/// The images that are mounted by this agent.
pub struct Mounts {
    /// The agent's directory, resolved.
    pub(super) state: PathBuf,
    /// Of the mounts.
    pub(super) home: PathBuf,
    /// The ways to mount, the best first; never empty.
    pub(super) ways: Vec<Way>,
    pub(super) overlay: Feature,
    pub(super) namespace: String,
    /// Held as long as the mounts are ours.
    pub(super) _lock: OwnedFd,
    /// Held for a few lines, but for those that look a path up.
    pub(super) table: Mutex<Table>,
    /// Something in the table is not busy any more.
    pub(super) changed: Condvar,
    /// Held by who removes what is gone.
    pub(super) sweeping: Mutex<()>,
}

/// What is where, and who looks at it.
#[derive(Default)]
pub(super) struct Table {
    /// Every mount that there is, and those that are being made.
    pub(super) slots: Vec<Slot>,
    /// Directories that are being looked at: nothing at, above or beneath them is mounted or unmounted.
    pub(super) viewed: Vec<PathBuf>,
}

/// One mount in the table.
pub(super) struct Slot {
    pub(super) asked: PathBuf,
    pub(super) path: PathBuf,
    pub(super) image: String,
    pub(super) use_: Use,
}

/// Who has a mount's record.
pub(super) enum Use {
    /// Whoever mounts or unmounts it.
    Busy,
    /// Nobody. The journal rests, or its undoing was refused.
    Kept(Box<Record>),
}

/// An image that was mounted.
#[derive(Debug)]
pub struct Mounted {
    /// Where the path led.
    pub path: PathBuf,
    /// How it is there.
    pub way: Way,
    /// False if it was mounted there already.
    pub is_new: bool,
    /// Who worked there.
    pub inside: Inside,
}

/// A mount in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The path that was asked for.
    pub asked: PathBuf,
    /// Where that led.
    pub path: PathBuf,
    /// What names the image; empty for an empty directory.
    pub image: String,
    /// How it is there; `None` while it is being mounted or unmounted.
    pub way: Option<Way>,
}

impl Mounts {
    /// Mounts an image at a path; an empty key stands for an empty directory. To mount the same image there again
    /// is no error.
    pub fn mount(
        &self,
        path: &[u8],
        key: &str,
        trees: &dyn TreeProvider,
    ) -> Result<Mounted, MountError> {
        let asked = MountPath::parse(path).map_err(MountError::Path)?;
        if !is_key(key) {
            return Err(MountError::Key(key.chars().take(80).collect()));
        }
        let (resolved, order) = match self.admit(&asked, key)? {
            Admitted::New(resolved, order) => (resolved, order),
            Admitted::Same(record) => return self.again(*record),
        };
        let wanted = Wanted { asked: &asked, resolved: &resolved, key, order };
        let inside = Inside::find(&resolved.path);
        let (record, made) = self.by_any_way(&wanted, trees);
        let result = made.map(|way| {
            let path = resolved.path.clone();
            Mounted { path, way, is_new: true, inside }
        });
        self.give_back(&resolved.path, record);
        result
    }

    /// Unmounts the image at exactly this path; what was there is there again. Returns who worked there.
    pub fn unmount(&self, path: &[u8]) -> Result<Inside, MountError> {
        let asked = MountPath::parse(path).map_err(MountError::Path)?;
        let mut table = self.table.lock();
        let path = loop {
            let path = self.find(&table.slots, &asked)?;
            if !self.wait_for(&mut table, &path) {
                break path;
            }
        };
        let known = table.slots.iter().map(Slot::known);
        match judge_unmount(known, &path) {
            Parting::Free => {}
            Parting::NotMounted => return Err(MountError::NotMounted(path)),
            Parting::Holds(inner) => return Err(MountError::Beneath(inner)),
        }
        let Some(mut record) = take(&mut table.slots, &path) else {
            return Err(MountError::NotMounted(path));
        };
        drop(table);
        let inside = Inside::find(&path);
        let unmade = self.unmake(&mut record);
        let gone = record.journal.next() == Action::Forget;
        self.give_back(&path, (!gone).then_some(record));
        unmade.map(|()| inside)
    }

    fn unmake(&self, record: &mut Record) -> Result<(), MountError> {
        if record.journal.next() == Action::Rest
            && let Some(path) = attach::look(record).foreign
        {
            return Err(MountError::Foreign(path));
        }
        record.journal.unmount();
        steps::unmake(record)
    }

    /// Removes what unmounted images left behind: for a thread that has time, after [`Mounts::open`] and after each
    /// unmount. It disturbs nothing.
    pub fn sweep(&self) -> io::Result<()> {
        let _alone = self.sweeping.lock();
        let gone = match std::fs::read_dir(self.home.join(GONE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            gone => gone?,
        };
        // The directory itself stays: somebody may be about to move something into it.
        gone.into_iter().try_for_each(|entry| remove(&entry?.path()))
    }

    /// All mounts, by path.
    pub fn list(&self) -> Vec<Listed> {
        let table = self.table.lock();
        let list = table.slots.iter().map(|slot| Listed {
            asked: slot.asked.clone(),
            path: slot.path.clone(),
            image: slot.image.clone(),
            way: match &slot.use_ {
                Use::Busy => None,
                Use::Kept(record) => Some(record.journal.way()),
            },
        });
        let mut list: Vec<Listed> = list.collect();
        list.sort_by(|one, other| one.path.cmp(&other.path));
        list
    }

    /// The way that is tried first, and whether overlays can be kept in the state directory.
    pub fn ways(&self) -> (Way, &Feature) {
        (self.ways.first().copied().unwrap_or(Way::Swap), &self.overlay)
    }

    /// Takes the place in the table for a new mount, as soon as nothing near it is busy.
    fn admit(&self, asked: &MountPath, key: &str) -> Result<Admitted, MountError> {
        let mut table = self.table.lock();
        loop {
            // After each wait, because the path may lead elsewhere by then.
            let resolved = resolve(asked)?;
            judge_place(&resolved.path, &self.state).map_err(MountError::Place)?;
            if self.wait_for(&mut table, &resolved.path) {
                continue;
            }
            let wanted = Known { path: &resolved.path, image: key };
            match judge_mount(table.slots.iter().map(Slot::known), wanted) {
                Verdict::New => {}
                Verdict::Same => {
                    // Taken before anybody else can have it: nothing here is busy.
                    let record = take(&mut table.slots, &resolved.path);
                    let record = record.ok_or(MountError::NotMounted(resolved.path))?;
                    return Ok(Admitted::Same(Box::new(record)));
                }
                Verdict::Other(image) => return Err(MountError::Other(resolved.path, image)),
                Verdict::Covers(inner) => return Err(MountError::Beneath(inner)),
            }
            if table.slots.len() >= MOUNTS_MAX {
                return Err(MountError::Many);
            }
            let orders = table.slots.iter().filter_map(|slot| match &slot.use_ {
                Use::Kept(record) => Some(record.order),
                Use::Busy => None,
            });
            let order = orders.max().unwrap_or(0) + 1;
            table.slots.push(Slot {
                asked: asked.as_path().into(),
                path: resolved.path.clone(),
                image: key.into(),
                use_: Use::Busy,
            });
            return Ok(Admitted::New(resolved, order));
        }
    }

    /// The same image is mounted there, or was: somebody may have unmounted it behind our back.
    fn again(&self, mut record: Record) -> Result<Mounted, MountError> {
        let path = record.path.clone();
        let way = record.journal.way();
        let result = match (record.journal.next(), way) {
            (Action::Rest, Way::Overlay | Way::Bind) => attach::attach(&record),
            (Action::Rest, Way::Swap | Way::Entries) => Ok(()),
            (Action::Do(_) | Action::Undo(_) | Action::Forget, _) => {
                Err(MountError::Unfinished(path.clone()))
            }
        };
        record.namespace.clone_from(&self.namespace);
        self.give_back(&path, Some(record));
        result.map(|()| Mounted { path, way, is_new: false, inside: Inside::default() })
    }

    /// Tries each way until one is not refused. Returns also what is left of it, which after an error is nothing,
    /// unless it could not be undone.
    fn by_any_way(
        &self,
        wanted: &Wanted<'_>,
        trees: &dyn TreeProvider,
    ) -> (Option<Record>, Result<Way, MountError>) {
        let mut refused = MountError::NotMounted(wanted.resolved.path.clone());
        for way in &self.ways {
            let mut record = match self.record(*way, wanted, trees) {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(error) => return (None, Err(error)),
            };
            match steps::make(&mut record, trees) {
                Ok(()) => {
                    let way = record.journal.way();
                    return (Some(record), Ok(way));
                }
                Err(error) if record.journal.next() != Action::Forget => {
                    return (Some(record), Err(error));
                }
                Err(error @ MountError::Failed("mount at", _, _)) => {
                    tracing::warn!("trying another way than {}: {error}", way.name());
                    refused = error;
                }
                Err(error) => return (None, Err(error)),
            }
        }
        (None, Err(refused))
    }

    /// The tree that an overlay lies over; `None` if this image is mounted in another way.
    fn lower(wanted: &Wanted<'_>, trees: &dyn TreeProvider) -> Result<Option<PathBuf>, MountError> {
        match wanted.key {
            "" => Ok(None),
            key => trees.shared_tree(key).map_err(MountError::Tree),
        }
    }

    /// A mount of which nothing is done; `None` if the image is not for this way.
    fn record(
        &self,
        way: Way,
        wanted: &Wanted<'_>,
        trees: &dyn TreeProvider,
    ) -> Result<Option<Record>, MountError> {
        let path = &wanted.resolved.path;
        let lower = if way == Way::Overlay { Self::lower(wanted, trees)? } else { None };
        if lower.is_some() != (way == Way::Overlay) {
            return Ok(None);
        }
        let (way, side) = match way {
            Way::Overlay | Way::Bind => (way, Side::Home),
            Way::Swap | Way::Entries => place(wanted.resolved),
        };
        let inode = std::fs::metadata(path).map_or(0, |found| inode(&found));
        let home = new_home(&self.home).map_err(MountError::failed("make", &self.home))?;
        Ok(Some(Record {
            home,
            asked: wanted.asked.as_path().into(),
            path: path.clone(),
            image: wanted.key.into(),
            journal: Journal::new(way),
            made: wanted.resolved.missing.clone(),
            side,
            inode,
            lower,
            namespace: self.namespace.clone(),
            order: wanted.order,
        }))
    }

    /// The path of a mount that is asked for: as it was asked for then, or where it leads.
    fn find(&self, slots: &[Slot], asked: &MountPath) -> Result<PathBuf, MountError> {
        let resolved = resolve(asked).map(|resolved| resolved.path);
        let is_it = |slot: &&Slot| resolved.as_ref().is_ok_and(|path| *path == slot.path);
        if let Some(slot) = slots.iter().find(is_it) {
            return Ok(slot.path.clone());
        }
        match slots.iter().find(|slot| slot.asked == asked.as_path()) {
            Some(slot) => Ok(slot.path.clone()),
            None => resolved,
        }
    }

    /// Waits for a change if something above, at or beneath the path is busy or looked at. True if it waited.
    fn wait_for(&self, table: &mut MutexGuard<'_, Table>, path: &Path) -> bool {
        let viewed = table.viewed.iter().any(|viewed| is_near(viewed, path));
        let busy = viewed || table.is_busy(path);
        if busy {
            self.changed.wait(table);
        }
        busy
    }

    /// What was busy is so no more: it has a record, or is gone.
    fn give_back(&self, path: &Path, record: Option<Record>) {
        let mut table = self.table.lock();
        match record {
            Some(record) => {
                let slot = table.slots.iter_mut().find(|slot| slot.path == path);
                if let Some(slot) = slot {
                    slot.use_ = Use::Kept(Box::new(record));
                }
            }
            None => table.slots.retain(|slot| slot.path != path),
        }
        self.changed.notify_all();
    }
}

impl Table {
    /// Whether something at, above or beneath the path is being mounted or unmounted.
    pub(super) fn is_busy(&self, path: &Path) -> bool {
        let busy = |slot: &Slot| matches!(slot.use_, Use::Busy) && is_near(&slot.path, path);
        self.slots.iter().any(busy)
    }
}

fn is_near(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

impl Slot {
    fn known(&self) -> Known<'_> {
        Known { path: &self.path, image: &self.image }
    }
}

enum Admitted {
    /// Its place in the table is taken.
    New(Resolved, u64),
    /// It is there already; its place in the table is taken too.
    Same(Box<Record>),
}

/// A new mount as it is wanted.
struct Wanted<'a> {
    asked: &'a MountPath,
    resolved: &'a Resolved,
    key: &'a str,
    order: u64,
}

/// Takes a mount's record out of the table, which makes it busy.
fn take(table: &mut [Slot], path: &Path) -> Option<Record> {
    let slot = table.iter_mut().find(|slot| slot.path == path)?;
    match std::mem::replace(&mut slot.use_, Use::Busy) {
        Use::Kept(record) => Some(*record),
        Use::Busy => None,
    }
}

/// How a tree is moved to a path: by entries where it is known that the directory cannot be renamed.
fn place(resolved: &Resolved) -> (Way, Side) {
    let exists = resolved.missing.is_empty();
    let beside = resolved.path.parent().is_some_and(is_writable);
    let mounted = crate::os::mount::table()
        .unwrap_or_default()
        .iter()
        .any(|point| point.path == resolved.path);
    match exists && (mounted || is_mount_root(&resolved.path) || !beside) {
        true => (Way::Entries, Side::Home),
        false => (Way::Swap, Side::Sibling),
    }
}

pub(super) fn inode(found: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(found)
}

/// A directory for a new mount; its name is the mount's id.
fn new_home(all: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let home = all.join(format!("{:016x}", u64::from_ne_bytes(random)));
    rustix::fs::mkdir(&home, rustix::fs::Mode::RWXU)?;
    Ok(home)
}
