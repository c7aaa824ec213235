//! Looks up users and groups in this container's own files: a static binary has no NSS.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
};

pub use crate::core::passwd::Identity;
use crate::core::{
    limits::ACCOUNT_FILE_BYTES_MAX,
    passwd::{self, IdentityError},
};

/// Why a user could not be looked up.
#[derive(Debug)]
pub enum UserError {
    /// One of the files cannot be read.
    File {
        /// Which.
        path: &'static str,
        /// Why.
        error: io::Error,
    },
    /// Nobody is called that.
    Identity(IdentityError),
}

/// Finds who `name|uid[:group|gid]` is, in /etc/passwd and /etc/group as they are at this moment.
/// A missing file is an empty one.
pub fn lookup(wanted: &str) -> Result<Identity, UserError> {
    let passwd = read("/etc/passwd")?;
    let group = read("/etc/group")?;
    passwd::identify(wanted, &passwd, &group).map_err(UserError::Identity)
}

fn read(path: &'static str) -> Result<Vec<u8>, UserError> {
    let failed = |error| UserError::File { path, error };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(ACCOUNT_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > ACCOUNT_FILE_BYTES_MAX {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, error } => write!(f, "read {path}: {error}"),
            Self::Identity(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for UserError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_in_every_container() {
        let root = lookup("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(lookup("0").unwrap(), root);
        assert!(lookup("no such user").is_err());
    }
}
