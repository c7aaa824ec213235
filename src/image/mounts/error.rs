//! What can go wrong with mounts.

use std::{fmt, io, path::PathBuf};

use super::TreeError;
use crate::core::{
    limits::MOUNTS_MAX,
    mounts::{BadPath, NoPlace},
};

/// Why an image was not mounted or unmounted.
#[derive(Debug)]
pub enum MountError {
    /// The path can be no mount point.
    Path(BadPath),
    /// No image is mounted there.
    Place(NoPlace),
    /// It is no directory, or leads through something that is none.
    NotDirectory(PathBuf),
    /// A link on the way leads to nothing.
    Dangling(PathBuf),
    /// What names the image cannot be a name.
    Key(String),
    /// Another image is mounted there: the path, and what names the image.
    Other(PathBuf, String),
    /// An image is mounted beneath it.
    Beneath(PathBuf),
    /// Something that is no image is mounted on it, or beneath it.
    Foreign(PathBuf),
    /// No image is mounted there.
    NotMounted(PathBuf),
    /// It was unmounted or mounted in part, and could not be ended: unmounting it again goes on.
    Unfinished(PathBuf),
    /// So many are mounted already.
    Many,
    /// There is no tree of the image.
    Tree(TreeError),
    /// The kernel refused something, at this path.
    Failed(&'static str, PathBuf, io::Error),
}

/// What the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ask for something else.
    Invalid,
    /// Change what is there, and ask again.
    Refused,
    /// Make room.
    Full,
    /// Ask whoever made the tree: [`MountError::Tree`] holds their error.
    Tree,
    /// Nothing.
    Failed,
}

impl MountError {
    /// What the caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Path(_) | Self::Place(_) | Self::Key(_) => Kind::Invalid,
            Self::NotDirectory(_)
            | Self::Dangling(_)
            | Self::Other(_, _)
            | Self::Beneath(_)
            | Self::Foreign(_)
            | Self::NotMounted(_)
            | Self::Unfinished(_) => Kind::Refused,
            Self::Many => Kind::Full,
            Self::Tree(_) => Kind::Tree,
            Self::Failed(_, _, error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Full,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Kind::Refused
                }
                _ => Kind::Failed,
            },
        }
    }

    /// An error of the kernel's, for `map_err`.
    pub(super) fn failed<E: Into<io::Error>>(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        move |error| Self::Failed(what, path.into(), error.into())
    }

    /// The error number, if the kernel gave one.
    pub(super) fn errno(&self) -> Option<i32> {
        match self {
            Self::Failed(_, _, error) => error.raw_os_error(),
            _ => None,
        }
    }
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(bad) => bad.fmt(f),
            Self::Place(no) => no.fmt(f),
            Self::NotDirectory(path) => write!(f, "{path:?} is no directory"),
            Self::Dangling(path) => write!(f, "{path:?} is a link to nothing"),
            Self::Key(key) => write!(f, "{key:?} names no image"),
            Self::Other(path, image) if image.is_empty() => {
                write!(f, "an empty directory is mounted at {path:?}")
            }
            Self::Other(path, image) => write!(f, "the image {image} is mounted at {path:?}"),
            Self::Beneath(path) => write!(f, "an image is mounted beneath it, at {path:?}"),
            Self::Foreign(path) => write!(f, "something that is no image is mounted at {path:?}"),
            Self::NotMounted(path) => write!(f, "no image is mounted at {path:?}"),
            Self::Unfinished(path) => {
                write!(f, "{path:?} was mounted or unmounted in part; unmount it to go on")
            }
            Self::Many => write!(f, "{MOUNTS_MAX} images are mounted, the most there may be"),
            Self::Tree(error) => error.fmt(f),
            Self::Failed(what, path, error) => write!(f, "{what} {path:?}: {error}"),
        }
    }
}

impl std::error::Error for MountError {}
