//! From a path as it was asked for to the directory that it leads to.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::MountError;
use crate::core::mounts::MountPath;

/// Where an image will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Without links and `..`.
    pub(super) path: PathBuf,
    /// The directories that are not there, outermost first; the path is the last of them.
    pub(super) missing: Vec<PathBuf>,
}

/// Follows the links of a path. What is not there may be missing at its end only.
pub(super) fn resolve(asked: &MountPath) -> Result<Resolved, MountError> {
    let mut tail = Vec::new();
    let mut there = asked.as_path();
    let found = loop {
        match fs::canonicalize(there) {
            Ok(found) => break found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(MountError::NotDirectory(there.into()));
            }
            Err(error) => return Err(MountError::failed("look at", there)(error)),
        }
        if fs::symlink_metadata(there).is_ok() {
            return Err(MountError::Dangling(there.into()));
        }
        // A path that ends in `..` has no name: what it leads out of is missing.
        let (Some(name), Some(parent)) = (there.file_name(), there.parent()) else {
            return Err(MountError::failed("look at", there)(rustix::io::Errno::NOENT));
        };
        tail.push(name);
        there = parent;
    };
    if !fs::metadata(&found).is_ok_and(|found| found.is_dir()) {
        return Err(MountError::NotDirectory(found));
    }
    let mut resolved = Resolved { path: found, missing: Vec::new() };
    for name in tail.into_iter().rev() {
        resolved.path.push(name);
        resolved.missing.push(resolved.path.clone());
    }
    Ok(resolved)
}

/// Whether names in a directory can be made and renamed by us.
pub(super) fn is_writable(directory: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    accessat(CWD, directory, wanted, AtFlags::EACCESS).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::{ffi::OsStrExt, fs::symlink};

    use super::*;

    #[test]
    fn links_are_followed_and_what_is_missing_is_named() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("real/sub")).unwrap();
        fs::write(top.join("file"), "").unwrap();
        symlink("real", top.join("link")).unwrap();
        symlink("nothing", top.join("dangling")).unwrap();
        let resolve = |path: &str| {
            let asked = MountPath::parse(top.join(path).as_os_str().as_bytes()).unwrap();
            resolve(&asked).map_err(|error| error.to_string())
        };
        let good: [(&str, &str, &[&str]); 6] = [
            ("real", "real", &[]),
            ("link", "real", &[]),
            ("link/sub", "real/sub", &[]),
            ("link/sub/../new", "real/new", &["real/new"]),
            ("link/a/b", "real/a/b", &["real/a", "real/a/b"]),
            ("real/sub/..", "real", &[]),
        ];
        for (path, expected, missing) in good {
            let missing = missing.iter().map(|path| top.join(path)).collect();
            let expected = Resolved { path: top.join(expected), missing };
            assert_eq!(resolve(path), Ok(expected), "{path}");
        }
        let bad = [
            ("file", "is no directory"),
            ("file/x", "is no directory"),
            ("dangling", "is a link to nothing"),
            ("dangling/x", "is a link to nothing"),
            ("missing/../x", "No such file"),
        ];
        for (path, words) in bad {
            let refused = resolve(path).unwrap_err();
            assert!(refused.contains(words), "{path}: {refused}");
        }
    }
}
