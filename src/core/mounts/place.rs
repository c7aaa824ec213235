//! Paths that an image may be mounted at.

use std::{
    ffi::OsStr,
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use crate::core::limits::MOUNT_PATH_BYTES_MAX;

/// A path as it was asked for: absolute, not the root directory, without `.` and empty components. It
/// may still hold links and `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPath(PathBuf);

/// Why a path can be no mount point, whatever there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadPath {
    /// It does not begin with a slash.
    Relative(PathBuf),
    /// It is the root directory.
    Root,
    /// It holds a NUL.
    Nul,
    /// It has so many bytes.
    Long(usize),
}

/// Why no image is mounted at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPlace {
    /// It is the root directory.
    Root,
    /// It belongs to the kernel.
    Kernel(PathBuf),
    /// The agent's own files lie beneath it, and would be hidden from the agent.
    HoldsState(PathBuf),
    /// It lies within the agent's own files.
    WithinState(PathBuf),
}

impl MountPath {
    /// A path in a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadPath> {
        if bytes.len() > MOUNT_PATH_BYTES_MAX {
            return Err(BadPath::Long(bytes.len()));
        }
        if bytes.contains(&0) {
            return Err(BadPath::Nul);
        }
        let path = Path::new(OsStr::from_bytes(bytes));
        if !path.is_absolute() {
            return Err(BadPath::Relative(path.into()));
        }
        // Collecting drops `.` and empty components.
        let plain: PathBuf = path.components().collect();
        let named = plain.components().any(|part| matches!(part, Component::Normal(_)));
        if named { Ok(Self(plain)) } else { Err(BadPath::Root) }
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

/// Judges a resolved path; `state` is the agent's directory, resolved too.
pub fn judge_place(path: &Path, state: &Path) -> Result<(), NoPlace> {
    if path.parent().is_none() {
        return Err(NoPlace::Root);
    }
    let kernel = ["/proc", "/sys", "/dev"].iter().any(|top| path.starts_with(top));
    if kernel && !(path.starts_with("/dev/shm") && path != Path::new("/dev/shm")) {
        return Err(NoPlace::Kernel(path.into()));
    }
    if state.starts_with(path) {
        return Err(NoPlace::HoldsState(path.into()));
    }
    if path.starts_with(state) {
        return Err(NoPlace::WithinState(path.into()));
    }
    Ok(())
}

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relative(path) => write!(f, "{path:?} is not an absolute path"),
            Self::Root => f.write_str("an image cannot be mounted at the root directory"),
            Self::Nul => f.write_str("the path holds a NUL"),
            Self::Long(bytes) => {
                write!(f, "a path of {bytes} bytes; the longest has {MOUNT_PATH_BYTES_MAX}")
            }
        }
    }
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("an image cannot be mounted at the root directory"),
            Self::Kernel(path) => write!(f, "{path:?} belongs to the kernel"),
            Self::HoldsState(path) => {
                write!(f, "the agent keeps its files beneath {path:?}; they would be hidden")
            }
            Self::WithinState(path) => write!(f, "{path:?} lies within the agent's own files"),
        }
    }
}

impl std::error::Error for BadPath {}
impl std::error::Error for NoPlace {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_not_the_root() {
        let good = [
            (&b"/a"[..], "/a"),
            (b"//a/./b/", "/a/b"),
            (b"/a/../b", "/a/../b"),
            (b"/...", "/..."),
            (b"/a\n", "/a\n"),
        ];
        for (bytes, expected) in good {
            let parsed = MountPath::parse(bytes).unwrap();
            assert_eq!(parsed.as_path(), Path::new(expected));
        }
        let not_text = MountPath::parse(b"/\xff").unwrap();
        assert_eq!(not_text.as_path().as_os_str().as_bytes(), b"/\xff");
        let bad = [
            (&b""[..], BadPath::Relative("".into())),
            (b"a/b", BadPath::Relative("a/b".into())),
            (b"/", BadPath::Root),
            (b"//./.", BadPath::Root),
            (b"/..", BadPath::Root),
            (b"/a\0b", BadPath::Nul),
        ];
        for (bytes, expected) in bad {
            assert_eq!(MountPath::parse(bytes), Err(expected));
        }
        let longest = [&b"/"[..], &[b'a'; MOUNT_PATH_BYTES_MAX - 1]].concat();
        assert!(MountPath::parse(&longest).is_ok());
        let longer = [&longest[..], b"a"].concat();
        assert_eq!(MountPath::parse(&longer), Err(BadPath::Long(MOUNT_PATH_BYTES_MAX + 1)));
    }

    #[test]
    fn places_of_the_kernel_and_of_the_agent_are_refused() {
        let state = Path::new("/var/lib/doorward");
        for path in ["/work", "/dev/shm/x", "/var/lib/doorward2", "/device", "/var/log"] {
            assert_eq!(judge_place(Path::new(path), state), Ok(()), "{path}");
        }
        for path in ["/proc", "/proc/1", "/sys/fs/cgroup", "/dev", "/dev/pts", "/dev/shm"] {
            assert_eq!(judge_place(Path::new(path), state), Err(NoPlace::Kernel(path.into())));
        }
        for path in ["/var", "/var/lib", "/var/lib/doorward"] {
            assert_eq!(judge_place(Path::new(path), state), Err(NoPlace::HoldsState(path.into())));
        }
        let within = Path::new("/var/lib/doorward/images");
        assert_eq!(judge_place(within, state), Err(NoPlace::WithinState(within.into())));
        assert_eq!(judge_place(Path::new("/"), state), Err(NoPlace::Root));
    }
}
