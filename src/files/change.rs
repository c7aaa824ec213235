//! Directories are made; files and directories are removed.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use super::failure::{Failure, Kind};

/// What of the directories above one that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parents {
    /// They are made; the directory itself may be there.
    Made,
    /// They must be there; the directory itself must not.
    Required,
}

/// What of that which is in a directory that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// All of it is removed.
    Removed,
    /// There must be nothing.
    Refused,
}

/// Makes a directory.
pub(super) fn make(path: &Path, parents: Parents) -> Result<(), Failure> {
    let made = match parents {
        Parents::Made => fs::create_dir_all(path),
        Parents::Required => fs::create_dir(path),
    };
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(Kind::PathAlreadyExists, "path already exists")
        }
        io::ErrorKind::NotFound => Failure::new(Kind::NotFound, "parent directory does not exist"),
        _ => error.into(),
    })
}

/// Removes a file, a link (not what it leads to) or a directory.
pub(super) fn remove(path: &Path, within: Within) -> Result<(), Failure> {
    let found = fs::symlink_metadata(path)?;
    let removed = match within {
        _ if !found.is_dir() => fs::remove_file(path),
        Within::Refused => fs::remove_dir(path),
        Within::Removed if is_root(&found) => {
            return Err(Failure::new(Kind::PermissionDenied, "the root directory is not removed"));
        }
        Within::Removed => fs::remove_dir_all(path),
    };
    Ok(removed?)
}

/// Whether it is `/`, by whatever path. As `rm` has it, that is always a mistake.
fn is_root(found: &fs::Metadata) -> bool {
    fs::metadata("/").is_ok_and(|root| (root.dev(), root.ino()) == (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn kind(done: Result<(), Failure>) -> Result<(), Kind> {
        done.map_err(|failure| failure.kind)
    }

    #[test]
    fn directories_are_made() {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join(path);
        fs::write(at("file"), "").unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        let cases = [
            ("a/b/c", Parents::Required, Err(Kind::NotFound)),
            ("a/b/c", Parents::Made, Ok(())),
            ("a/b/c", Parents::Made, Ok(())),
            ("a/b/c", Parents::Required, Err(Kind::PathAlreadyExists)),
            ("a/d/", Parents::Required, Ok(())),
            ("file", Parents::Required, Err(Kind::PathAlreadyExists)),
            ("file", Parents::Made, Err(Kind::PathAlreadyExists)),
            ("dangling", Parents::Made, Err(Kind::PathAlreadyExists)),
            ("file/a", Parents::Required, Err(Kind::NotDirectory)),
            ("file/a/b", Parents::Made, Err(Kind::NotDirectory)),
        ];
        for (path, parents, expected) in cases {
            assert_eq!(kind(make(&at(path), parents)), expected, "{path} {parents:?}");
        }
        assert!(at("a/b/c").is_dir() && at("a/d").is_dir());
    }

    #[test]
    fn files_links_and_trees_are_removed() {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join(path);
        fs::create_dir_all(at("kept/in")).unwrap();
        fs::create_dir_all(at("tree/in")).unwrap();
        fs::create_dir(at("empty")).unwrap();
        fs::write(at("file"), "").unwrap();
        for link in ["link", "tree/in/link"] {
            symlink(at("kept"), at(link)).unwrap();
        }
        let cases = [
            ("none", Within::Removed, Err(Kind::NotFound)),
            ("file/none", Within::Refused, Err(Kind::NotDirectory)),
            ("tree", Within::Refused, Err(Kind::DirectoryNotEmpty)),
            ("tree", Within::Removed, Ok(())),
            ("link", Within::Removed, Ok(())),
            ("empty", Within::Refused, Ok(())),
            ("file", Within::Removed, Ok(())),
        ];
        for (path, within, expected) in cases {
            assert_eq!(kind(remove(&at(path), within)), expected, "{path} {within:?}");
        }
        assert!(at("kept/in").is_dir(), "a link was followed");
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_root_directory_is_known_by_any_path() {
        let found = |path| is_root(&fs::symlink_metadata(path).unwrap());
        assert!(found("/") && found("//tmp/..") && !found("/tmp"));
    }
}
