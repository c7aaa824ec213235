//! What is copied: a path as a user names it, and how such a path travels in an argument.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};

use super::Layout;

/// What is escaped in an argument, besides all bytes that are not ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// A path to copy from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// What of it is copied.
    pub name: Name,
}

/// What of a source is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// The thing itself, under this name.
    Own(OsString),
    /// What is in the directory: the path ends in `.` or `..` or is the root.
    Contents,
}

impl Source {
    /// Takes a path as a user writes it.
    pub fn parse(path: PathBuf) -> Self {
        let dot = path.as_os_str().as_bytes().ends_with(b"/.");
        let name = match path.file_name() {
            Some(name) if !dot => Name::Own(name.into()),
            Some(_) | None => Name::Contents,
        };
        Self { path, name }
    }

    /// What an archive of it alone has at its top.
    pub fn layout(&self) -> Layout {
        match self.name {
            Name::Own(_) => Layout::One,
            Name::Contents => Layout::Contents,
        }
    }
}

/// A path as an argument, which has to be UTF-8 on the wire: other bytes, controls and `%` as `%XX`.
pub fn to_argument(path: &Path) -> String {
    percent_encode(path.as_os_str().as_bytes(), ESCAPED).to_string()
}

/// The path that [`to_argument`] made an argument of.
pub fn from_argument(text: &str) -> PathBuf {
    OsString::from_vec(percent_decode_str(text).collect()).into()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn what_of_a_path_is_copied() {
        let own = |name: &str| Name::Own(name.into());
        let cases = [
            ("a", own("a")),
            ("/etc/hosts", own("hosts")),
            ("/etc/", own("etc")),
            ("a/..b", own("..b")),
            ("a/.", Name::Contents),
            (".", Name::Contents),
            ("/", Name::Contents),
            ("/..", Name::Contents),
            ("/usr/bin/..", Name::Contents),
            ("..", Name::Contents),
        ];
        for (path, name) in cases {
            assert_eq!(Source::parse(path.into()).name, name, "{path}");
        }
    }

    #[test]
    fn every_path_survives_an_argument() {
        let bytes: Vec<u8> = (1..=255).collect();
        for path in [&bytes[..], b"plain/name-1.txt", b"50%", "ä\n".as_bytes()] {
            let path = Path::new(OsStr::from_bytes(path));
            let argument = to_argument(path);
            assert!(argument.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_control()));
            assert_eq!(from_argument(&argument), path);
        }
        assert_eq!(to_argument(Path::new("/a b/c.txt")), "/a b/c.txt");
    }
}
