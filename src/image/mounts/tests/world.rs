//! Something to mount, somewhere to mount it, and a picture of what is to be seen there.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, mknodat};

use crate::{
    image::mounts::{
        Listed, MountError, Mounted, Mounts, TreeError, TreeProvider, WantedTree, clone_tree,
        point::point, record_beside,
    },
    os::features::Features,
};

/// A fresh directory with a state directory, a place to mount at, and images.
pub(super) struct World {
    pub(super) top: PathBuf,
    pub(super) features: Features,
    _dir: Option<tempfile::TempDir>,
}

/// Makes trees by cloning those in a directory.
pub(super) struct Trees(pub(super) PathBuf);

impl TreeProvider for Trees {
    fn private_tree(&self, wanted: WantedTree<'_>) -> Result<(), TreeError> {
        if wanted.key == "im-bad" {
            fs::create_dir(wanted.into)?;
            fs::write(wanted.into.join("half"), "made")?;
            return Err("it is bad".into());
        }
        // Killed halfway through it, there is part of a tree.
        fs::create_dir_all(wanted.into.join("half/of"))?;
        point();
        fs::remove_dir_all(wanted.into)?;
        clone_tree(&self.0.join(wanted.key), wanted.into, &|| false)?;
        point();
        fs::write(wanted.record, wanted.key)?;
        Ok(())
    }

    fn shared_tree(&self, key: &str) -> Result<Option<PathBuf>, TreeError> {
        let shared = self.0.join(key);
        Ok(shared.is_dir().then_some(shared))
    }
}

impl World {
    /// One where these features are not used.
    pub(super) fn without(disabled: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        for name in ["state", "place", "images"] {
            fs::create_dir(top.join(name)).unwrap();
        }
        fill(&top.join("images/im-1"), "one");
        fill(&top.join("images/im-2"), "two");
        for key in ["im-1", "im-2"] {
            fs::write(record_beside(&top.join("images").join(key)), key).unwrap();
        }
        let features = Features::probe(disabled).unwrap();
        Self { top, features, _dir: Some(dir) }
    }

    /// The same one, in another process.
    pub(super) fn at(top: &Path, disabled: &str) -> Self {
        Self { top: top.into(), features: Features::probe(disabled).unwrap(), _dir: None }
    }

    /// A directory with something in it, to be mounted over.
    pub(super) fn original(&self) -> PathBuf {
        let path = self.place();
        fill(&path, "original");
        path
    }

    pub(super) fn place(&self) -> PathBuf {
        self.top.join("place/work")
    }

    pub(super) fn image(&self, key: &str) -> PathBuf {
        self.top.join("images").join(key)
    }

    pub(super) fn open(&self) -> Mounts {
        self.open_told().0
    }

    pub(super) fn open_told(&self) -> (Mounts, Vec<String>) {
        Mounts::open(&self.top.join("state"), &self.features).unwrap()
    }

    pub(super) fn mount(
        &self,
        mounts: &Mounts,
        path: &Path,
        key: &str,
    ) -> Result<Mounted, MountError> {
        let trees = Trees(self.top.join("images"));
        mounts.mount(path.as_os_str().as_bytes(), key, &trees)
    }

    /// Nothing is left of any mount.
    pub(super) fn is_clean(&self) {
        let names = |path: &Path| -> Vec<String> {
            let entries = fs::read_dir(path).unwrap();
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into()).collect()
        };
        let mut state = names(&self.top.join("state/mounts"));
        state.retain(|name| name != "gone");
        assert_eq!(state, ["lock"]);
        let place = names(&self.top.join("place"));
        let left: Vec<_> = place.iter().filter(|name| name.starts_with('.')).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

pub(super) fn unmount(mounts: &Mounts, path: &Path) -> Result<(), MountError> {
    mounts.unmount(path.as_os_str().as_bytes()).map(|_| ())
}

pub(super) fn paths(listed: &[Listed]) -> Vec<&Path> {
    listed.iter().map(|listed| listed.path.as_path()).collect()
}

/// A tree with one of everything, all of it saying `word`.
pub(in crate::image) fn fill(top: &Path, word: &str) {
    fs::create_dir_all(top.join("a/deep/er")).unwrap();
    fs::create_dir(top.join(format!("{word}-only"))).unwrap();
    fs::write(top.join("file"), word).unwrap();
    fs::write(top.join("a/deep/file"), word.repeat(1000)).unwrap();
    fs::write(top.join("a/deep/er/x"), "").unwrap();
    fs::hard_link(top.join("a/deep/file"), top.join("a/again")).unwrap();
    symlink(format!("to-{word}"), top.join("link")).unwrap();
    mknodat(CWD, top.join("a/fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let sparse = fs::File::create(top.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, word.as_bytes(), 1 << 20).unwrap();
    sparse.set_len(3 << 20).unwrap();
    let mode = |path: &str, mode| {
        fs::set_permissions(top.join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("file", 0o4640);
    mode("a", 0o1751);
    // Not every file system keeps these.
    for path in [top.to_path_buf(), top.join("a/deep"), top.join("file")] {
        let _ = lsetxattr(&path, "user.word", word.as_bytes(), XattrFlags::empty());
    }
    let seconds = 1_000_000_000 + word.len() as i64..;
    let paths = [
        "a/deep/er/x",
        "a/deep/er",
        "a/deep/file",
        "a/deep",
        "a/fifo",
        "a",
        "file",
        "link",
        "sparse",
        ".",
    ];
    for (seconds, path) in seconds.zip(paths) {
        let time = Timespec { tv_sec: seconds, tv_nsec: 123_456_789 };
        let times = Timestamps { last_access: time, last_modification: time };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(CWD, top.join(path), &times, flags).unwrap();
    }
}

/// All that can be seen of a tree: a line for each path.
pub(in crate::image) fn picture(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut lines = BTreeMap::new();
    let mut links: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut ahead = vec![top.to_path_buf()];
    while let Some(path) = ahead.pop() {
        let seen = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(top).unwrap().to_path_buf();
        let data = if seen.is_dir() {
            let mut inner: Vec<_> =
                fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
            inner.sort();
            inner.reverse();
            ahead.extend(inner);
            String::new()
        } else if seen.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if seen.is_file() {
            let text = fs::read(&path).unwrap();
            format!(
                "{} {:?}",
                text.len(),
                String::from_utf8_lossy(&text).trim_matches('\0').get(..8)
            )
        } else {
            String::new()
        };
        let size = if seen.is_dir() { 0 } else { seen.len() };
        let first = match seen.nlink() > 1 && !seen.is_dir() {
            true => links.entry(seen.ino()).or_insert(name.clone()).display().to_string(),
            false => String::new(),
        };
        let mut word = [0; 64];
        let word = rustix::fs::lgetxattr(&path, "user.word", &mut word)
            .map_or(String::new(), |bytes| String::from_utf8_lossy(&word[..bytes]).into());
        let line = format!(
            "{:o} {}:{} {}.{} {size} {first} {word} {data}",
            seen.mode(),
            seen.uid(),
            seen.gid(),
            seen.mtime(),
            seen.mtime_nsec()
        );
        lines.insert(name, line);
    }
    lines
}

/// The same without the times of directories, for trees that something was done in.
pub(in crate::image) fn same(one: &Path, other: &BTreeMap<PathBuf, String>, what: &str) {
    let one = picture(one);
    for (path, line) in &one {
        assert_eq!(Some(line), other.get(path), "{what}: {path:?}");
    }
    let missing: Vec<_> = other.keys().filter(|path| !one.contains_key(*path)).collect();
    assert!(missing.is_empty(), "{what}: {missing:?} are missing");
}
