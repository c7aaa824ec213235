//! Trees made of layers, as they should be, and of layers that want more than they may.

mod gnu;
mod hostile;
mod layers;
mod noise;
mod ordinary;
mod room;
mod streams;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use tar::{EntryType, Header};
use tempfile::TempDir;

use super::*;
use crate::core::limits::IMAGE_SMALL_FILE_BYTES_MAX;

/// A place for a tree, beside things that must not be touched.
struct Place {
    top: TempDir,
    outside: BTreeMap<PathBuf, Thing>,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image) struct Thing {
    /// Its kind and mode, owner and time of change.
    facts: String,
    /// Its data, its target, or its device numbers.
    content: Vec<u8>,
    xattrs: Vec<(String, Vec<u8>)>,
    /// The first path of those that are the same file, if there are several.
    first: Option<PathBuf>,
}

impl Place {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("root")).unwrap();
        fs::create_dir_all(top.path().join("outside/inner")).unwrap();
        fs::write(top.path().join("outside/file"), "canary").unwrap();
        fs::write(top.path().join("outside/inner/file"), "canary").unwrap();
        let outside = everything(&top.path().join("outside"));
        Self { top, outside }
    }

    fn root(&self) -> PathBuf {
        self.top.path().join("root")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Unpacks archives that are somebody's.
    fn unpack(&self, layers: &[Vec<u8>]) -> Result<Unpacked, UnpackError> {
        self.unpack_as(layers, &UnpackSpec::of(Origin::Foreign))
    }

    fn unpack_as(&self, layers: &[Vec<u8>], spec: &UnpackSpec) -> Result<Unpacked, UnpackError> {
        let layers = layers.iter().map(|archive| Ok(plain(archive)));
        let made = unpack_layers(layers, &self.root(), spec, &AtomicBool::new(false));
        self.check(&made);
        made
    }

    /// Nothing outside was touched, and after an error nothing is left.
    fn check(&self, made: &Result<Unpacked, UnpackError>) {
        assert_eq!(everything(&self.top.path().join("outside")), self.outside, "{made:?}");
        assert_eq!(fs::read_dir(self.top.path()).unwrap().count(), 2, "{made:?}");
        if made.is_err() {
            assert_eq!(fs::read_dir(self.root()).unwrap().count(), 0, "{made:?}");
        }
    }
}

/// An archive as a layer that is not compressed, and of which no digest is known.
fn plain(archive: &[u8]) -> Layer<'_> {
    Layer { from: Box::new(archive), compression: Compression::None, diff_id: None, blob: None }
}

/// All beneath a directory, and the directory itself under the empty path.
pub(in crate::image) fn everything(top: &Path) -> BTreeMap<PathBuf, Thing> {
    let (mut found, mut ahead) = (BTreeMap::new(), vec![top.to_path_buf()]);
    let mut paths = BTreeMap::new();
    while let Some(path) = ahead.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let short = path.strip_prefix(top).unwrap().to_path_buf();
        let content = if kind.is_file() {
            fs::read(&path).unwrap()
        } else if kind.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else if kind.is_char_device() || kind.is_block_device() {
            meta.rdev().to_string().into_bytes()
        } else {
            Vec::new()
        };
        if kind.is_dir() {
            ahead.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if meta.nlink() > 1 {
            paths.entry(meta.ino()).or_insert_with(Vec::new).push(short.clone());
        }
        let facts = format!(
            "{:o} of {}:{} at {}.{:09}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        let thing = Thing { facts, content, xattrs: xattrs(&path), first: None };
        found.insert(short, thing);
    }
    for same in paths.values().filter(|same| same.len() > 1) {
        for path in same {
            found.get_mut(path).unwrap().first = same.iter().min().cloned();
        }
    }
    found
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 64 << 10];
    let Ok(count) = rustix::fs::llistxattr(path, &mut names[..]) else { return Vec::new() };
    let names = String::from_utf8(names[..count].to_vec()).unwrap();
    let mut all: Vec<(String, Vec<u8>)> = names
        .split_terminator('\0')
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let count = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            (name.to_string(), value[..count].to_vec())
        })
        .collect();
    all.sort();
    all
}

/// A member by hand, of which `change` makes what it shall be, with its data.
fn member(
    kind: EntryType,
    path: &str,
    (link, data): (&str, &[u8]),
    change: impl FnOnce(&mut Header),
) -> Vec<u8> {
    let mut blocks = Vec::new();
    if path.len() > 100 {
        let name = [path.as_bytes(), b"\0"].concat();
        let same: fn(&mut Header) = |_| ();
        blocks = member(EntryType::GNULongName, "././@LongLink", ("", &name), same);
    }
    let mut header = Header::new_gnu();
    let short = &path.as_bytes()[..path.len().min(100)];
    header.as_old_mut().name[..short.len()].copy_from_slice(short);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_uid(rustix::process::geteuid().as_raw().into());
    header.set_gid(rustix::process::getegid().as_raw().into());
    header.set_mtime(1_000_000_000);
    header.set_size(data.len() as u64);
    change(&mut header);
    header.set_cksum();
    blocks.extend_from_slice(header.as_bytes());
    blocks.extend_from_slice(data);
    blocks.resize(blocks.len().next_multiple_of(512), 0);
    blocks
}

fn file(path: &str, data: &str) -> Vec<u8> {
    member(EntryType::Regular, path, ("", data.as_bytes()), |_| ())
}

fn directory(path: &str) -> Vec<u8> {
    member(EntryType::Directory, path, ("", b""), |_| ())
}

fn symlink(path: &str, target: &str) -> Vec<u8> {
    member(EntryType::Symlink, path, (target, b""), |_| ())
}

fn hardlink(path: &str, target: &str) -> Vec<u8> {
    member(EntryType::Link, path, (target, b""), |_| ())
}

/// A PAX header for the member behind it.
fn records(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut all = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest + 1..).find(|length| rest + length.to_string().len() == *length);
        all.extend_from_slice(format!("{} {key}=", length.unwrap()).as_bytes());
        all.extend_from_slice(value);
        all.push(b'\n');
    }
    member(EntryType::XHeader, "x", ("", &all), |_| ())
}

/// The archive of these members.
fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::stream::encode_all(bytes, 1).unwrap()
}

/// What is in a tree, for comparison with what is expected: data, `-> target`, `/` or another kind.
fn listing(top: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (path, thing) in everything(top) {
        let kind = fs::symlink_metadata(top.join(&path)).unwrap().file_type();
        let content = String::from_utf8_lossy(&thing.content).into_owned();
        let what = if kind.is_dir() {
            "/".to_string()
        } else if kind.is_symlink() {
            format!("-> {content}")
        } else if kind.is_file() {
            content
        } else {
            "special".to_string()
        };
        all.insert(String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned(), what);
    }
    all.remove("");
    all
}
