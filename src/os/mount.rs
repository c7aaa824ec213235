//! Mounts: what is mounted where, and mounting and unmounting where we may.
//!
//! Only the calls of mount(2) are used, not the newer ones by descriptor: a sandbox may allow the one
//! and deny the other, and what was tried at start must be what is done later.

use std::{
    ffi::{CString, OsStr, OsString},
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags},
};

use super::features::Feature;
use crate::core::limits::MOUNT_TABLE_BYTES_MAX;

/// One mounted file system, as mountinfo has it (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// The directory of the file system that is shown.
    pub root: PathBuf,
    /// Where it is shown, seen from our root directory.
    pub path: PathBuf,
    /// The kind of file system.
    pub kind: OsString,
    /// What it was mounted from: a device, or any text.
    pub source: OsString,
}

/// Where a directory came to be shown: this mount namespace, in this run of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace(pub String);

impl Namespace {
    /// The one that we are in.
    pub fn own() -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let own = fs::read_link(of_this_thread("ns/mnt"))?;
        Ok(Self(format!("{} {}", boot.trim(), own.display())))
    }
}

/// All that is mounted, in the kernel's order: what lies on top of something comes after it.
pub fn table() -> io::Result<Vec<Point>> {
    let bytes = fs::read(of_this_thread("mountinfo"))?;
    if bytes.len() > MOUNT_TABLE_BYTES_MAX {
        return Err(Errno::FBIG.into());
    }
    Ok(parse(&bytes))
}

/// A thread may have a mount namespace of its own; /proc/self is the first thread's.
fn of_this_thread(name: &str) -> PathBuf {
    let thread = Path::new("/proc/thread-self");
    match thread.exists() {
        true => thread.join(name),
        false => Path::new("/proc/self").join(name),
    }
}

/// Lines that are not as they must be are passed over.
fn parse(bytes: &[u8]) -> Vec<Point> {
    let point = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
        let root = unescape(fields.nth(3)?).into();
        let path = unescape(fields.next()?).into();
        // Any number of optional fields, closed by a dash.
        fields.find(|field| *field == b"-")?;
        let kind = unescape(fields.next()?);
        let source = fields.next().map(unescape).unwrap_or_default();
        Some(Point { root, path, kind, source })
    };
    bytes.split(|byte| *byte == b'\n').filter_map(point).collect()
}

/// The kernel writes spaces, tabs, newlines and backslashes as `\` and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match after.get(..3).filter(|_| *first == b'\\').and_then(octal) {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(plain)
}

/// Shows the directory `tree` at `path` too; what is mounted beneath `tree` is not.
pub fn bind(tree: &Path, path: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount_bind(tree, path)?)
}

/// The directories of an overlay.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    /// What is shown and never written to.
    pub lower: &'a Path,
    /// Where changes go.
    pub upper: &'a Path,
    /// The kernel's own, empty, on the file system of `upper`.
    pub work: &'a Path,
}

/// Shows `layers` at `path`; the table says `source` for them.
pub fn overlay(source: &str, layers: Layers<'_>, path: &Path) -> io::Result<()> {
    let mut last = Err(Errno::INVAL.into());
    for options in OVERLAY_OPTIONS {
        let data = overlay_data(layers, options)?;
        last = rustix::mount::mount(source, path, "overlay", MountFlags::empty(), data.as_c_str())
            .map_err(io::Error::from);
        if last.is_ok() {
            break;
        }
    }
    last
}

/// The best first. With an index, names of one file stay names of one file when it is changed; with
/// redirects, directories of the lower layer can be renamed. A user namespace allows neither.
const OVERLAY_OPTIONS: [&str; 4] =
    [",index=on,redirect_dir=on", ",redirect_dir=on", "", ",userxattr"];

fn overlay_data(layers: Layers<'_>, options: &str) -> io::Result<CString> {
    let mut data = Vec::new();
    let all =
        [("lowerdir=", layers.lower), (",upperdir=", layers.upper), (",workdir=", layers.work)];
    for (name, path) in all {
        data.extend_from_slice(name.as_bytes());
        for byte in path.as_os_str().as_bytes() {
            if matches!(byte, b'\\' | b',' | b':') {
                data.push(b'\\');
            }
            data.push(*byte);
        }
    }
    data.extend_from_slice(options.as_bytes());
    Ok(CString::new(data)?)
}

/// How a mount is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// Only if nothing uses it: else EBUSY.
    Unused,
    /// Whatever uses it keeps what it has open.
    Detached,
}

/// Takes away what is mounted on top at `path`.
pub fn unmount(path: &Path, parting: Parting) -> io::Result<()> {
    let flags = match parting {
        Parting::Unused => UnmountFlags::NOFOLLOW,
        Parting::Detached => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    Ok(rustix::mount::unmount(path, flags)?)
}

/// Whether a directory in `place` can be shown elsewhere.
pub fn try_bind(place: &Path) -> Feature {
    in_scratch(place, |scratch| {
        bind(scratch, scratch)?;
        unmount(scratch, Parting::Detached)
    })
}

/// Whether an overlay can keep its changes in `place`.
pub fn try_overlay(place: &Path) -> Feature {
    in_scratch(place, overlay_within)
}

/// Whether the kernel offers overlays at all, wherever they keep their changes.
pub(super) fn try_overlay_in_memory(place: &Path) -> Feature {
    in_scratch(place, |scratch| {
        rustix::mount::mount("doorward", scratch, "tmpfs", MountFlags::empty(), c"size=64k")?;
        let tried = overlay_within(scratch);
        unmount(scratch, Parting::Detached)?;
        tried
    })
}

fn overlay_within(scratch: &Path) -> io::Result<()> {
    let [lower, upper, work, top] =
        ["lower", "upper", "work", "top"].map(|name| scratch.join(name));
    for directory in [&lower, &upper, &work, &top] {
        fs::create_dir(directory)?;
    }
    fs::write(lower.join("file"), "")?;
    overlay("doorward", Layers { lower: &lower, upper: &upper, work: &work }, &top)?;
    // Some file systems take the mount and then refuse the first change.
    let changed = fs::remove_file(top.join("file"));
    unmount(&top, Parting::Detached)?;
    changed
}

/// Runs a trial in a fresh directory of `place`, which is removed again.
fn in_scratch(place: &Path, trial: impl FnOnce(&Path) -> io::Result<()>) -> Feature {
    let tried = scratch(place).and_then(|scratch| {
        let tried = trial(&scratch);
        // One that something is still mounted on is not removed, and nothing within it.
        let table = table().unwrap_or_default();
        if !table.iter().any(|point| point.path.starts_with(&scratch)) {
            let _ = fs::remove_dir_all(&scratch);
        }
        tried
    });
    match tried {
        Ok(()) => Feature::Have,
        Err(error) => Feature::Missing(error.to_string()),
    }
}

fn scratch(place: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let name = format!(".doorward-trial-{:016x}", u64::from_ne_bytes(random));
    let scratch = place.canonicalize()?.join(OsStr::new(&name));
    fs::create_dir(&scratch)?;
    Ok(scratch)
}

/// Gives the calling thread a mount namespace of its own, so that a test leaves no mounts behind.
#[cfg(test)]
#[allow(unsafe_code)]
pub(crate) fn own_namespace() -> io::Result<()> {
    use rustix::{mount::MountPropagationFlags, thread::UnshareFlags};
    // SAFETY: what a thread must not do after leaving the others' file descriptor table does not arise,
    // because only the mount namespace, and with it root and working directory, become its own.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change("/", private)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let text =
            b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:7 - ext3 /dev/root rw\n\
            nonsense\n\
            37 36 0:5 / /x\\134y rw - tmpfs doorward-1 rw\n\
            38 36 0:5 / /z rw - tmpfs  rw\n";
        let point = |root: &str, path: &str, kind: &str, source: &str| Point {
            root: root.into(),
            path: path.into(),
            kind: kind.into(),
            source: source.into(),
        };
        let expected = [
            point("/mnt1", "/mnt 2", "ext3", "/dev/root"),
            point("/", "/x\\y", "tmpfs", "doorward-1"),
            point("/", "/z", "tmpfs", "rw"),
        ];
        assert_eq!(parse(text), expected);
        assert!(table().unwrap().iter().any(|point| point.path == Path::new("/proc")));
    }

    #[test]
    fn names_of_an_overlays_directories_may_hold_anything() {
        let top = tempfile::tempdir().unwrap();
        let place = top.path().join("a,b:c\\d e");
        fs::create_dir(&place).unwrap();
        if own_namespace().is_err() {
            println!("SKIPPED: overlay: no right to mount");
            return;
        }
        assert_eq!(try_bind(&place), Feature::Have);
        assert_eq!(try_overlay(&place), Feature::Have);
        assert_eq!(try_overlay_in_memory(&place), Feature::Have);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
        assert!(!try_bind(&place.join("nothing")).is_there());
    }

    #[test]
    fn an_unused_mount_is_taken_away_and_a_used_one_only_by_force() {
        let top = tempfile::tempdir().unwrap();
        let [tree, path] = ["tree", "path"].map(|name| top.path().join(name));
        for directory in [&tree, &path] {
            fs::create_dir(directory).unwrap();
        }
        fs::write(tree.join("file"), "").unwrap();
        if own_namespace().is_err() {
            println!("SKIPPED: unmount: no right to mount");
            return;
        }
        bind(&tree, &path).unwrap();
        let shown = table().unwrap().pop().unwrap();
        assert_eq!(shown.path, path);
        assert!(shown.root.ends_with(tree.strip_prefix(top.path().parent().unwrap()).unwrap()));
        let open = fs::File::open(path.join("file")).unwrap();
        let refused = unmount(&path, Parting::Unused).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EBUSY));
        unmount(&path, Parting::Detached).unwrap();
        drop(open);
        assert!(!path.join("file").exists());
    }
}
