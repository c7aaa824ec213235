//! Removes trees, whatever they have become: of any depth, without rights to themselves, and never
//! anything that is mounted within them.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, Mode, OFlags, StatxAttributes, StatxFlags, chmod, fchmod, openat,
        renameat, statx, unlinkat,
    },
    io::Errno,
};

use super::point::point;
use crate::core::limits::{TREE_DEPTH_MAX, TREE_NAMES_MAX};

/// A directory, opened to be read and not through a link.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes the file or tree at `path`; none is fine. What is mounted within is an error (EBUSY) and
/// stays, and with it the directories above it.
pub(in crate::image) fn remove(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::INVAL.into());
    };
    match openat(CWD, parent, DIRECTORY, Mode::empty()) {
        Ok(parent) => remove_at(parent.as_fd(), &CString::new(name.as_bytes())?),
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The same for a name in a directory.
pub(super) fn remove_at(parent: BorrowedFd<'_>, name: &CString) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let top = open(parent, name)?;
    let removal = Removal { mount: mount_of(top.as_fd())?, top: top.as_fd() };
    removal.empty(top.as_fd(), 0)?;
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// Removes all that is in a directory.
pub(super) fn empty(directory: BorrowedFd<'_>) -> io::Result<()> {
    let removal = Removal { mount: mount_of(directory)?, top: directory };
    removal.empty(directory, 0)
}

struct Removal<'a> {
    mount: (u64, u64),
    top: BorrowedFd<'a>,
}

impl Removal<'_> {
    fn empty(&self, directory: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
        loop {
            let names = some_names(directory)?;
            if names.is_empty() {
                return Ok(());
            }
            for name in names {
                self.remove(directory, &name, depth)?;
                point();
            }
        }
    }

    fn remove(&self, parent: BorrowedFd<'_>, name: &CString, depth: usize) -> io::Result<()> {
        match unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(errno.into()),
        }
        if depth == TREE_DEPTH_MAX {
            // It comes to its turn at the top, so that no depth needs more descriptors.
            return self.raise(parent, name);
        }
        let directory = open(parent, name)?;
        if mount_of(directory.as_fd())? != self.mount {
            return Err(Errno::BUSY.into());
        }
        self.empty(directory.as_fd(), depth + 1)?;
        Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
    }

    fn raise(&self, parent: BorrowedFd<'_>, name: &CString) -> io::Result<()> {
        let mut last = Errno::EXIST;
        for number in 0..TREE_NAMES_MAX {
            match renameat(parent, name, self.top, format!(".doorward-raised-{number}")) {
                Ok(()) => return Ok(()),
                Err(errno @ (Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR)) => last = errno,
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(last.into())
    }
}

/// Opens a directory so that what is in it can be removed: who owns it can always get that right.
fn open(parent: BorrowedFd<'_>, name: &CString) -> io::Result<OwnedFd> {
    let opened = match openat(parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let named = openat(parent, name, DIRECTORY | OFlags::PATH, Mode::empty())?;
            let number = std::os::fd::AsRawFd::as_raw_fd(&named);
            chmod(format!("/proc/self/fd/{number}"), Mode::RWXU)?;
            openat(parent, name, DIRECTORY, Mode::empty())?
        }
        opened => opened?,
    };
    if rustix::fs::fstat(&opened)?.st_mode & 0o700 != 0o700 {
        // Where it is not ours to change, removing will say why it cannot.
        let _ = fchmod(&opened, Mode::RWXU);
    }
    Ok(opened)
}

/// What tells one mount from another: its number where the kernel says it, and the device.
pub(super) fn mount_of(directory: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let wanted = StatxFlags::MNT_ID | StatxFlags::BASIC_STATS;
    match statx(directory, c"", AtFlags::EMPTY_PATH, wanted) {
        Ok(seen) => {
            let known = StatxFlags::from_bits_retain(seen.stx_mask).contains(StatxFlags::MNT_ID);
            let mount = if known { seen.stx_mnt_id } else { 0 };
            Ok((mount, rustix::fs::makedev(seen.stx_dev_major, seen.stx_dev_minor)))
        }
        Err(Errno::NOSYS) => Ok((0, rustix::fs::fstat(directory)?.st_dev)),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether something is mounted on this very directory, as far as the kernel says it.
pub(super) fn is_mount_root(path: &Path) -> bool {
    let seen = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
    seen.is_ok_and(|seen| seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Some names in a directory, without `.` and `..`; none only if there are none.
pub(super) fn some_names(directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
        if names.len() == TREE_NAMES_MAX {
            break;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::{image::mounts::tests::places::may_mount, os::mount};

    #[test]
    fn any_tree_goes_and_nothing_beside_it() {
        let top = tempfile::tempdir().unwrap();
        let tree = top.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/file"), "x").unwrap();
        fs::create_dir(top.path().join("beside")).unwrap();
        fs::write(top.path().join("beside/file"), "x").unwrap();
        symlink(top.path().join("beside"), tree.join("link")).unwrap();
        for number in 0..5000 {
            fs::write(tree.join(format!("a/b/{number}")), "").unwrap();
        }
        fchmod(fs::File::open(tree.join("a")).unwrap(), Mode::empty()).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists());
        assert!(top.path().join("beside/file").exists());
        remove(&tree).unwrap();
        remove(&tree.join("not/even/this")).unwrap();
        remove(&top.path().join("beside/file")).unwrap();
        assert!(!top.path().join("beside/file").exists());
    }

    #[test]
    fn depth_needs_no_more_descriptors() {
        let top = tempfile::tempdir().unwrap();
        let tree = top.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut at = openat(CWD, &tree, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..3 * TREE_DEPTH_MAX {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = openat(&at, "d", DIRECTORY, Mode::empty()).unwrap();
        }
        remove(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn what_is_mounted_within_stays() {
        let top = tempfile::tempdir().unwrap();
        let (tree, precious) = (top.path().join("tree"), top.path().join("precious"));
        fs::create_dir_all(tree.join("a/on")).unwrap();
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "x").unwrap();
        if !may_mount("trees with mounts that are removed") {
            return;
        }
        // Of the same file system, so that the device alone would not tell.
        mount::bind(&precious, &tree.join("a/on")).unwrap();
        assert!(is_mount_root(&tree.join("a/on")) && !is_mount_root(&tree));
        let refused = remove(&tree).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EBUSY));
        assert!(precious.join("file").exists());
    }
}
