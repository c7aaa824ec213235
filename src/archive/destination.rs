//! Where a copy goes, by the rules of `docker cp` and cp(1).
//!
//! - A directory that is there: the copy goes into it.
//! - Nothing is there: the copy gets that name; the directory above must be there.
//! - A file is there: a file replaces it; a directory is refused.
//! - A name that ends in a slash must be a directory, unless a directory is copied to it.
//! - Several sources, or somebody else's archive: it must be a directory that is there.

use std::{
    ffi::{OsStr, OsString},
    fmt, fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// What an archive holds at its top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One thing, under its own name.
    One,
    /// What is in one directory.
    Contents,
    /// Anything.
    Many,
}

/// Where the entries of an archive go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// A directory that is there.
    pub(super) directory: PathBuf,
    pub(super) naming: Naming,
    /// What is at the top must be a directory: the path ended in a slash.
    pub(super) only_directory: bool,
}

/// What becomes of the names in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Naming {
    /// They stay.
    Kept,
    /// The first component is replaced by this.
    Renamed(OsString),
    /// They go beneath this.
    Beneath(OsString),
}

/// Why there can be no copy to a path.
#[derive(Debug)]
pub enum NoDestination {
    /// It is no directory, and must be one.
    NoDirectory(PathBuf),
    /// It cannot be looked at, or what it would be in cannot.
    Unreachable(PathBuf, io::Error),
}

impl Destination {
    /// Looks where an archive of this layout goes that is copied to `path`.
    pub fn find(path: &Path, layout: Layout) -> Result<Self, NoDestination> {
        let unreachable = |error| NoDestination::Unreachable(path.into(), error);
        let slash = path.as_os_str().as_bytes().ends_with(b"/");
        let kept = |directory: &Path| Self {
            directory: directory.into(),
            naming: Naming::Kept,
            only_directory: false,
        };
        match fs::metadata(path) {
            Ok(there) if there.is_dir() => return Ok(kept(path)),
            Ok(_) if slash || layout != Layout::One => {
                return Err(NoDestination::NoDirectory(path.into()));
            }
            // Through a link to the file that it names, as cp does.
            Ok(_) => return Self::named(&path.canonicalize().map_err(unreachable)?, layout),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(unreachable(error));
            }
            Err(error) if layout == Layout::Many => return Err(unreachable(error)),
            Err(_) => {}
        }
        if fs::symlink_metadata(path).is_ok() {
            let dangling = io::Error::other("it is a link to nothing");
            return Err(unreachable(dangling));
        }
        Ok(Self { only_directory: slash, ..Self::named(path, layout)? })
    }

    /// A destination that is not there, or is a file.
    fn named(path: &Path, layout: Layout) -> Result<Self, NoDestination> {
        let unreachable = |error| NoDestination::Unreachable(path.into(), error);
        let name = path.file_name().ok_or_else(|| unreachable(io::ErrorKind::NotFound.into()))?;
        let parent = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Err(unreachable(io::ErrorKind::NotFound.into())),
        };
        let above = fs::metadata(parent);
        let above = above.map_err(|error| NoDestination::Unreachable(parent.into(), error))?;
        if !above.is_dir() {
            return Err(NoDestination::NoDirectory(parent.into()));
        }
        let naming = match layout {
            Layout::One | Layout::Many => Naming::Renamed(name.into()),
            Layout::Contents => Naming::Beneath(name.into()),
        };
        Ok(Self { directory: parent.into(), naming, only_directory: false })
    }
}

impl Naming {
    /// The components of a path in the archive become those of a path in the directory.
    pub(super) fn apply<'a>(&'a self, mut components: Vec<&'a [u8]>) -> Vec<&'a [u8]> {
        match self {
            Self::Kept => {}
            Self::Renamed(name) => {
                if let Some(first) = components.first_mut() {
                    *first = OsStr::as_bytes(name);
                }
            }
            Self::Beneath(name) => components.insert(0, OsStr::as_bytes(name)),
        }
        components
    }
}

impl fmt::Display for NoDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDirectory(path) => write!(f, "copy to {}: it is no directory", path.display()),
            Self::Unreachable(path, error) => write!(f, "copy to {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for NoDestination {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// What a destination is found to be: its naming, or words of the refusal.
    fn find(top: &Path, path: &str, layout: Layout) -> Result<Naming, String> {
        let found = Destination::find(Path::new(&format!("{}/{path}", top.display())), layout);
        found.map(|found| found.naming).map_err(|error| error.to_string())
    }

    #[test]
    fn the_table_of_forms() {
        use Layout::{Contents, Many, One};
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        fs::create_dir(top.join("directory")).unwrap();
        fs::write(top.join("file"), "").unwrap();
        symlink("directory", top.join("to-directory")).unwrap();
        symlink("file", top.join("to-file")).unwrap();
        symlink("nothing", top.join("to-nothing")).unwrap();
        let renamed = |name: &str| Ok(Naming::Renamed(name.into()));
        let refused = |words: &str| Err(words.to_string());
        let cases = [
            ("directory", One, Ok(Naming::Kept)),
            ("directory/", Contents, Ok(Naming::Kept)),
            ("to-directory", Many, Ok(Naming::Kept)),
            ("new", One, renamed("new")),
            ("new", Contents, Ok(Naming::Beneath("new".into()))),
            ("new/", One, renamed("new")),
            ("new", Many, refused("No such file")),
            ("file", One, renamed("file")),
            ("to-file", One, renamed("file")),
            ("file/", One, refused("Not a directory")),
            ("file", Contents, refused("it is no directory")),
            ("file", Many, refused("it is no directory")),
            ("to-nothing", One, refused("a link to nothing")),
            ("missing/new", One, refused("No such file")),
            ("file/new", One, refused("Not a directory")),
        ];
        for (path, layout, expected) in cases {
            let found = find(&top, path, layout);
            match (&found, &expected) {
                (Err(error), Err(words)) => assert!(error.contains(words), "{path}: {error}"),
                _ => assert_eq!(found, expected, "{path} {layout:?}"),
            }
        }
    }
}
