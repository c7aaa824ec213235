//! The names that clients give and the agent checks.

use std::{fmt, sync::Arc};

use super::limits::EXEC_ID_BYTES_MAX;

/// The id of one exec, chosen by the client: 1-128 bytes of `[A-Za-z0-9._-]`.
///
/// It never becomes a path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecId(Arc<str>);

/// Why a string is no [`ExecId`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecIdError {
    /// It is empty.
    Empty,
    /// It is longer than 128 bytes.
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// It has a character outside `[A-Za-z0-9._-]`.
    Character {
        /// The first such character.
        found: char,
    },
}

impl ExecId {
    /// Takes an id as a client sent it.
    pub fn parse(text: &str) -> Result<Self, ExecIdError> {
        if text.is_empty() {
            return Err(ExecIdError::Empty);
        }
        if text.len() > EXEC_ID_BYTES_MAX {
            return Err(ExecIdError::TooLong { bytes: text.len() });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match text.chars().find(|c| !allowed(*c)) {
            Some(found) => Err(ExecIdError::Character { found }),
            None => Ok(Self(text.into())),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ExecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ExecIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("exec id is empty"),
            Self::TooLong { bytes } => {
                write!(f, "exec id has {bytes} bytes, at most {EXEC_ID_BYTES_MAX} are allowed")
            }
            Self::Character { found } => {
                write!(f, "exec id has the character {found:?}, allowed are A-Z a-z 0-9 . _ -")
            }
        }
    }
}

impl std::error::Error for ExecIdError {}

/// One of the two output streams of an exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output, and everything a terminal shows.
    Stdout,
    /// Standard error.
    Stderr,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_ids_at_and_beyond_each_edge() {
        let long = "x".repeat(128);
        let too_long = "x".repeat(129);
        for good in ["a", "A-1_b.c", long.as_str(), "..", "-"] {
            assert_eq!(ExecId::parse(good).map(|id| id.to_string()), Ok(good.to_string()));
        }
        assert_eq!(ExecId::parse(""), Err(ExecIdError::Empty));
        assert_eq!(ExecId::parse(&too_long), Err(ExecIdError::TooLong { bytes: 129 }));
        for (bad, found) in [("a/b", '/'), ("a b", ' '), ("é", 'é'), ("a\0", '\0'), ("a\n", '\n')]
        {
            assert_eq!(ExecId::parse(bad), Err(ExecIdError::Character { found }));
        }
    }
}
