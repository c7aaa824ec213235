//! What a walk does with one name.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{FileType, Mode, OFlags, openat, readlinkat},
    io::Errno,
};

use super::{
    Devices, SnapshotError, holes, known,
    look::{self, Facts, Xattrs},
    names,
    tape::Large,
    walk::{Compared, Level, Miss, Place, WHITEOUT, Walk},
};
use crate::{
    archive::entry::{Entry, Kind},
    core::limits::{ARCHIVE_DEPTH_MAX, SNAPSHOT_SMALL_BYTES},
    image::record::{Known, What},
};

const FILE: OFlags = OFlags::RDONLY
    // Not waiting for anybody, should it have become a fifo meanwhile.
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Walk<'_> {
    /// Packs a name, enters it, or passes over it if it is what the base knows.
    pub(super) fn look(
        &mut self,
        place: Place<'_>,
        kind: FileType,
        known: Option<&Known>,
    ) -> Result<(), Miss> {
        if place.name.to_bytes().starts_with(WHITEOUT) {
            self.counts.unnamable += 1;
            self.counts.note(&self.path, format_args!("left out: its name means a whiteout"));
            return Err(Miss::LeftOut);
        }
        if self.is_among(self.spec.left_out) {
            return Err(Miss::Kept);
        }
        match kind {
            FileType::Directory => return self.enter(place, known),
            // Opened at once: it costs a system call less, and tells the same.
            FileType::RegularFile if known.is_none() && self.tape.is_some() => {
                return self.file(place);
            }
            _ => {}
        }
        let facts = look::named(place.directory, place.name).map_err(missed("look at"))?;
        match facts.kind {
            FileType::Directory => self.enter(place, known),
            _ if self.is_foreign(&facts, place) => Err(self.mounted()),
            _ => self.leaf(place, &facts, known),
        }
    }

    /// Anything but a directory.
    fn leaf(&mut self, place: Place<'_>, facts: &Facts, known: Option<&Known>) -> Result<(), Miss> {
        let what = self.what(facts)?;
        let mut now = known::line(&self.path, what, facts);
        if self.tape.is_none() {
            if !known::is_settled(&now, self.taken) {
                let content = known::content(place.directory, place.name, facts, &mut self.scratch);
                now.content = content.map_err(missed("read"))?;
            }
            self.recorder.push(&now);
            self.counts.entries += 1;
            return Ok(());
        }
        match known {
            Some(known) if self.is_same(place, facts, known, &now)? => {
                now.content = known.content;
                self.recorder.push(&now);
                self.unchanged(facts).map_err(Miss::Ended)
            }
            _ if what == What::File => self.file(place),
            _ => self.other(place, facts, &now),
        }
    }

    /// What a file is in a record, if layers have it.
    fn what(&mut self, facts: &Facts) -> Result<What, Miss> {
        match known::what(facts.kind) {
            Some(What::CharacterDevice | What::BlockDevice)
                if self.spec.devices == Devices::Skipped =>
            {
                self.counts.devices += 1;
                self.counts.note(&self.path, format_args!("left out: it is a device"));
                Err(Miss::LeftOut)
            }
            Some(what) => Ok(what),
            None => {
                self.counts.sockets += 1;
                Err(Miss::LeftOut)
            }
        }
    }

    /// Whether something is what the base knows: nothing about its stat changed, and that is old enough, or its
    /// content is the same.
    fn is_same(
        &mut self,
        place: Place<'_>,
        facts: &Facts,
        known: &Known,
        now: &Known,
    ) -> Result<bool, Miss> {
        if !known::same(known, now) {
            return Ok(false);
        }
        if self.base.as_ref().is_some_and(|base| base.is_settled(known)) {
            return Ok(true);
        }
        let Some(content) = known.content else {
            // All that a fifo or a device is, its stat tells.
            return Ok(!matches!(known.what, What::File | What::Symlink));
        };
        let read = known::content(place.directory, place.name, facts, &mut self.scratch);
        Ok(read.map_err(missed("read"))? == Some(content))
    }

    /// A file is as the base has it, unless another of its names is not.
    fn unchanged(&mut self, facts: &Facts) -> Result<(), SnapshotError> {
        match self.links.packed(facts) {
            Some(first) => self.link(self.path.clone(), first, facts),
            None => {
                self.links.unchanged(facts, &self.path);
                self.counts.unchanged += 1;
                Ok(())
            }
        }
    }

    fn link(&mut self, path: Vec<u8>, first: Vec<u8>, facts: &Facts) -> Result<(), SnapshotError> {
        self.counts.entries += 1;
        self.write(&Entry { path, ..entry(&[], Kind::Hardlink(first), facts) })
    }

    /// Packs a regular file.
    fn file(&mut self, place: Place<'_>) -> Result<(), Miss> {
        let file = openat(place.directory, place.name, FILE, Mode::empty());
        let file = file.map_err(missed("open"))?;
        let facts = look::opened(&file).map_err(missed("look at"))?;
        if facts.kind != FileType::RegularFile {
            return Err(Miss::Refused("open", Errno::AGAIN));
        }
        if self.is_foreign(&facts, place) {
            return Err(self.mounted());
        }
        let xattrs = look::xattrs(&file);
        let now = known::line(&self.path, What::File, &facts);
        if let Some(first) = self.links.packed(&facts) {
            self.recorder.push(&now);
            return self.link(self.path.clone(), first, &facts).map_err(Miss::Ended);
        }
        let mut entry = entry(&self.path, Kind::File(facts.size), &facts);
        self.attributed(&mut entry, xattrs);
        entry.sparse = holes::find(&file, facts.size, facts.blocks);
        if let Some(sparse) = &entry.sparse {
            entry.kind = Kind::File(sparse.extents.iter().map(|(_, length)| length).sum());
            self.recorder.push(&now);
            return self.large(file, entry, &facts).map_err(Miss::Ended);
        }
        if facts.size > SNAPSHOT_SMALL_BYTES {
            self.recorder.push(&now);
            return self.large(file, entry, &facts).map_err(Miss::Ended);
        }
        let read = self.read(file.as_fd(), &facts)?;
        self.recorder.push(&now);
        self.small(read, entry, &facts).map_err(Miss::Ended)
    }

    /// Reads a small file; how much there is of it.
    fn read(&mut self, file: BorrowedFd<'_>, facts: &Facts) -> Result<usize, Miss> {
        let size = usize::try_from(facts.size).expect("it is small");
        let mut count = 0;
        while count < size {
            // Looking for holes has left the file's own offset somewhere.
            match rustix::io::pread(file, &mut self.scratch[count..size], count as u64) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Miss::Refused("read", errno)),
            }
        }
        if count < size || !look::opened(file).is_ok_and(|after| after.same_data(facts)) {
            self.told.changed(&self.path, format_args!("it was changed meanwhile"));
        }
        Ok(count)
    }

    /// Packs a file that was read, as much as there was of it.
    fn small(
        &mut self,
        count: usize,
        mut entry: Entry,
        facts: &Facts,
    ) -> Result<(), SnapshotError> {
        let bytes = count as u64;
        entry.kind = Kind::File(bytes);
        self.write(&entry)?;
        if let Some(tape) = &mut self.tape {
            tape.write(&self.scratch[..count])?;
            tape.pad(bytes)?;
        }
        self.packed(bytes, facts)
    }

    /// Packs a file whose data is read later.
    fn large(&mut self, file: OwnedFd, entry: Entry, facts: &Facts) -> Result<(), SnapshotError> {
        self.write(&entry)?;
        let bytes = entry.kind.bytes();
        let whole = [(0, facts.size)];
        let extents = entry.sparse.as_ref().map_or(&whole[..], |sparse| &sparse.extents);
        let file = Large::new(file, self.path.clone(), *facts);
        if let Some(tape) = &mut self.tape {
            for (offset, length) in extents {
                tape.data(&file, *offset, *length)?;
            }
            tape.pad(bytes)?;
        }
        self.packed(bytes, facts)
    }

    /// Packs a link, fifo or device.
    fn other(&mut self, place: Place<'_>, facts: &Facts, now: &Known) -> Result<(), Miss> {
        let kind = match now.what {
            What::Symlink => {
                let target = readlinkat(place.directory, place.name, Vec::new());
                Kind::Symlink(target.map_err(missed("read the link"))?.into_bytes())
            }
            What::CharacterDevice => Kind::CharacterDevice(facts.numbers.0, facts.numbers.1),
            What::BlockDevice => Kind::BlockDevice(facts.numbers.0, facts.numbers.1),
            What::Fifo | What::File | What::Directory => Kind::Fifo,
        };
        self.recorder.push(now);
        let done = match self.links.packed(facts) {
            Some(first) => self.link(self.path.clone(), first, facts),
            None => {
                let entry = entry(&self.path, kind, facts);
                self.write(&entry).and_then(|()| self.packed(0, facts))
            }
        };
        done.map_err(Miss::Ended)
    }

    /// Something was packed; its other names that were passed over become links to it.
    fn packed(&mut self, bytes: u64, facts: &Facts) -> Result<(), SnapshotError> {
        self.counts.entries += 1;
        self.counts.data_bytes += bytes;
        for other in self.links.pack(facts, &self.path) {
            self.counts.unchanged -= 1;
            self.link(other, self.path.clone(), facts)?;
        }
        Ok(())
    }

    /// Goes into a directory; its entry is written now if anything about it is different.
    pub(super) fn enter(&mut self, place: Place<'_>, known: Option<&Known>) -> Result<(), Miss> {
        let directory = openat(place.directory, place.name, DIRECTORY, Mode::empty());
        let directory = directory.map_err(missed("open"))?;
        let facts = look::opened(&directory).map_err(missed("look at"))?;
        let known = known.filter(|known| known.what == What::Directory);
        if !self.levels.is_empty() && self.is_foreign(&facts, place) {
            return self.mount_point(known);
        }
        if self.levels.len() >= ARCHIVE_DEPTH_MAX {
            return Err(Miss::Refused("enter", Errno::NAMETOOLONG));
        }
        let names = names::sorted(&directory, &mut self.listing).map_err(missed("list"))?;
        let xattrs = look::xattrs(&directory);
        let mut now = known::line(&self.path, What::Directory, &facts);
        now.xattrs = known::xattrs_hash(&xattrs);
        let mut entry = entry(&self.path, Kind::Directory, &facts);
        self.attributed(&mut entry, xattrs);
        self.recorder.push(&now);
        let compared = match known {
            Some(known) if known.inode == now.inode => Compared::Yes,
            // The directory itself is the one that was asked for, whatever shows it there: of an overlay it is
            // the upper one, and of moved entries the one they were moved into.
            Some(_) if self.levels.is_empty() => Compared::Yes,
            _ => Compared::No,
        };
        let unwritten = match known {
            Some(known) if compared == Compared::Yes && known::same_directory(known, &now) => {
                self.counts.unchanged += 1;
                Some(entry)
            }
            _ => {
                self.write(&entry).map_err(Miss::Ended)?;
                self.counts.entries += 1;
                None
            }
        };
        if compared == Compared::No {
            if known.is_some() {
                self.opaque().map_err(Miss::Ended)?;
            }
            if let Some(base) = &mut self.base {
                base.skip_beneath(&self.path);
            }
        }
        self.levels.push(Level {
            directory: directory.into(),
            names: names.into_iter(),
            path_length: self.path.len(),
            device: facts.device,
            unwritten,
            compared,
        });
        Ok(())
    }

    /// A directory with something of others mounted on it is an empty one, so that it can be mounted on
    /// again. What it is like beneath is not seen.
    fn mount_point(&mut self, known: Option<&Known>) -> Result<(), Miss> {
        let miss = self.mounted();
        if known.is_some() {
            return Err(miss);
        }
        let nothing = Facts::nothing();
        self.recorder.push(&known::line(&self.path, What::Directory, &nothing));
        self.counts.entries += 1;
        self.write(&entry(&self.path, Kind::Directory, &nothing)).map_err(Miss::Ended)
    }

    fn mounted(&mut self) -> Miss {
        self.counts.mounts += 1;
        self.counts.note(&self.path, format_args!("left out: something is mounted there"));
        Miss::Kept
    }

    /// Whether something that is not ours is mounted here. Where the kernel does not say, a directory on
    /// another file system is; of files overlayfs says where they came from.
    fn is_foreign(&self, facts: &Facts, place: Place<'_>) -> bool {
        let elsewhere = facts.kind == FileType::Directory && facts.device != place.device;
        facts.mount.unwrap_or(elsewhere) && !self.is_among(self.spec.own_mounts)
    }

    /// Gives an entry its extended attributes.
    fn attributed(&mut self, entry: &mut Entry, xattrs: Xattrs) {
        if xattrs.left_out > 0 {
            self.counts.attributes += xattrs.left_out;
            self.counts.note(&self.path, format_args!("some extended attributes are left out"));
        }
        entry.xattrs = xattrs.kept;
    }
}

/// What a layer says about a file, without its extended attributes. The tree itself is `.`.
fn entry(path: &[u8], kind: Kind, facts: &Facts) -> Entry {
    let path = if path.is_empty() { b"." } else { path }.to_vec();
    let Facts { mode, uid, gid, modified, .. } = *facts;
    Entry { path, kind, mode, uid, gid, modified, xattrs: Vec::new(), sparse: None }
}

/// What an error means for a name: one that is not there any more was never there.
fn missed(act: &'static str) -> impl Fn(Errno) -> Miss {
    move |errno| match errno {
        Errno::NOENT => Miss::LeftOut,
        errno => Miss::Refused(act, errno),
    }
}
