//! Looks up users and groups in this container's own files: a static binary has no NSS.

use std::{
    collections::HashMap,
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

/// The names of users and groups, as the files were when this was made.
#[derive(Debug)]
pub struct Names {
    passwd: Vec<u8>,
    group: Vec<u8>,
    /// What was looked up: many files have few owners.
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    /// Reads both files; one that cannot be read names nobody.
    pub fn read() -> Self {
        let file = |path| read(path).unwrap_or_default();
        let (passwd, group) = (file("/etc/passwd"), file("/etc/group"));
        Self { passwd, group, users: HashMap::new(), groups: HashMap::new() }
    }

    /// The name of a user; its number where it has none.
    pub fn user(&mut self, uid: u32) -> String {
        let look = || passwd::user_name(uid, &self.passwd).unwrap_or_else(|| uid.to_string());
        self.users.entry(uid).or_insert_with(look).clone()
    }

    /// The name of a group; its number where it has none.
    pub fn group(&mut self, gid: u32) -> String {
        let look = || passwd::group_name(gid, &self.group).unwrap_or_else(|| gid.to_string());
        self.groups.entry(gid).or_insert_with(look).clone()
    }
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

    #[test]
    fn root_has_a_name_and_nobody_a_number() {
        let mut names = Names::read();
        for _ in 0..2 {
            assert_eq!((names.user(0), names.group(0)), ("root".into(), "root".into()));
            let none = u32::MAX - 77;
            assert_eq!((names.user(none), names.group(none)), (none.to_string(), none.to_string()));
        }
    }
}
