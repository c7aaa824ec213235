//! Why a call failed, as its client reads it on standard error.

use std::io;

use rustix::io::Errno;
use serde::Serialize;

/// What a client can do about a failure; its library makes an exception of its own of each. The names
/// are those of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Kind {
    NotFound,
    /// Something on the way is no directory.
    NotDirectory,
    /// A directory was meant, and it is none.
    IsFile,
    /// The parent of a file to write is a file.
    AlreadyExists,
    /// The directory to make is there, or something else is.
    PathAlreadyExists,
    /// A file was meant, and it is a directory.
    IsDirectory,
    PermissionDenied,
    DirectoryNotEmpty,
    FileTooLarge,
    /// The file system cannot do it.
    NotSupported,
    /// Anything else.
    Io,
}

/// A failure. Clients put the path after the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    /// Of this shape; there is only one.
    version: u8,
    #[serde(rename = "error_kind")]
    pub(super) kind: Kind,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Failure {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { version: 1, kind, message: message.into(), detail: None }
    }

    /// A file that has more bytes than may be moved.
    pub(super) fn too_large(limit: u64) -> Self {
        Self::new(Kind::FileTooLarge, format!("the file exceeds the limit of {limit} bytes"))
    }

    /// A file was meant.
    pub(super) fn is_directory() -> Self {
        Self::new(Kind::IsDirectory, "expected a file path")
    }

    /// What the kernel's answer means where nothing more is known.
    fn of(error: &io::Error) -> (Kind, Option<&'static str>) {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        match errno {
            Some(Errno::NOENT) => (Kind::NotFound, Some("path does not exist")),
            Some(Errno::NOTDIR) => {
                (Kind::NotDirectory, Some("a component of the path is not a directory"))
            }
            Some(Errno::ISDIR) => (Kind::IsDirectory, Some("expected a file path")),
            Some(Errno::ACCESS | Errno::PERM) => {
                (Kind::PermissionDenied, Some("permission denied"))
            }
            Some(Errno::ROFS) => (Kind::PermissionDenied, Some("the file system is read-only")),
            Some(Errno::NOTEMPTY) => (Kind::DirectoryNotEmpty, Some("directory is not empty")),
            Some(Errno::OPNOTSUPP | Errno::NOSYS) => {
                (Kind::NotSupported, Some("the file system does not support this"))
            }
            Some(_) | None => (Kind::Io, None),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let text = error.to_string();
        match Self::of(&error) {
            (kind, Some(message)) => Self { detail: Some(text), ..Self::new(kind, message) },
            // Clients show the message alone.
            (kind, None) => Self::new(kind, text),
        }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_the_object_that_clients_parse() {
        let check = |failure: Failure, json: &str| {
            assert_eq!(serde_json::to_string(&failure).unwrap(), json);
        };
        check(
            Errno::NOENT.into(),
            r#"{"version":1,"error_kind":"NotFound","message":"path does not exist","detail":"No such file or directory (os error 2)"}"#,
        );
        check(
            Errno::NOSPC.into(),
            r#"{"version":1,"error_kind":"Io","message":"No space left on device (os error 28)"}"#,
        );
        check(
            Failure::too_large(5),
            r#"{"version":1,"error_kind":"FileTooLarge","message":"the file exceeds the limit of 5 bytes"}"#,
        );
    }

    #[test]
    fn what_the_kernel_says_has_a_kind() {
        let cases = [
            (Errno::NOTDIR, Kind::NotDirectory),
            (Errno::ISDIR, Kind::IsDirectory),
            (Errno::ACCESS, Kind::PermissionDenied),
            (Errno::PERM, Kind::PermissionDenied),
            (Errno::ROFS, Kind::PermissionDenied),
            (Errno::NOTEMPTY, Kind::DirectoryNotEmpty),
            (Errno::OPNOTSUPP, Kind::NotSupported),
            (Errno::LOOP, Kind::Io),
        ];
        for (errno, kind) in cases {
            assert_eq!(Failure::from(errno).kind, kind, "{errno}");
        }
        assert_eq!(Failure::from(io::Error::other("words")), Failure::new(Kind::Io, "words"));
    }
}
