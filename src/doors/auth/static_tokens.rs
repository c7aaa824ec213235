//! Static tokens: a file with one a line.
//!
//! Only their hashes are kept. A token is held against all of them, each in constant time, so
//! that neither its content nor its place in the file shows in how long that takes.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::core::limits::KEYS_MAX;

/// The tokens of one file.
#[derive(Default)]
pub struct StaticTokens(Vec<[u8; 32]>);

/// Why a file is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaticTokensError {
    /// It has no token.
    None,
    /// It has more than [`KEYS_MAX`].
    TooMany,
    /// This line, counted from 1, has a byte that no header can carry, or a space.
    Line(usize),
}

impl fmt::Display for StaticTokensError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("has no token"),
            Self::TooMany => write!(f, "has more than {KEYS_MAX} tokens"),
            Self::Line(number) => {
                write!(f, "line {number} has a space or a byte that no header can carry")
            }
        }
    }
}

impl std::error::Error for StaticTokensError {}

impl StaticTokens {
    /// Takes the bytes of a file: one token a line, empty lines left out.
    pub fn parse(bytes: &[u8]) -> Result<Self, StaticTokensError> {
        let mut hashes = Vec::new();
        for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            if !line.iter().all(u8::is_ascii_graphic) {
                return Err(StaticTokensError::Line(number + 1));
            }
            hashes.push(Sha256::digest(line).into());
        }
        match hashes.len() {
            0 => Err(StaticTokensError::None),
            n if n > KEYS_MAX => Err(StaticTokensError::TooMany),
            _ => Ok(Self(hashes)),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `token` is one of them.
    pub fn contain(&self, token: &[u8]) -> bool {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let any = self.0.iter().fold(Choice::from(0), |any, known| any | known.ct_eq(&hash));
        any.into()
    }
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} static tokens", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let tokens = StaticTokens::parse(b"first\n\nsecond\r\nlast\n").unwrap();
        for good in ["first", "second", "last"] {
            assert!(tokens.contain(good.as_bytes()), "{good}");
        }
        for bad in ["", "firs", "first\n", "second\r", "third"] {
            assert!(!tokens.contain(bad.as_bytes()), "{bad}");
        }
        assert!(!StaticTokens::default().contain(b""));
    }

    #[test]
    fn files_of_no_use() {
        for (bytes, why) in [
            (b"".as_slice(), StaticTokensError::None),
            (b"\n\n", StaticTokensError::None),
            (b"good\nbad one\n", StaticTokensError::Line(2)),
            (b"\xff\n", StaticTokensError::Line(1)),
        ] {
            assert_eq!(StaticTokens::parse(bytes).err(), Some(why));
        }
        let full = "t\n".repeat(KEYS_MAX);
        assert!(StaticTokens::parse(full.as_bytes()).is_ok());
        let more = "t\n".repeat(KEYS_MAX + 1);
        assert_eq!(StaticTokens::parse(more.as_bytes()).err(), Some(StaticTokensError::TooMany));
    }
}
