//! The name of a blob: the SHA-256 of its bytes.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// `sha256:` and 64 lowercase hexadecimal digits. No other algorithm is taken: what we cannot
/// check we do not keep.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// A text is no digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestError {
    /// What was given, cut to a few characters.
    pub text: String,
}

/// Characters of a refused text that its error repeats.
const SHOWN_CHARS: usize = 80;
const PREFIX: &str = "sha256:";

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest that a hasher came to.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 digits alone: the blob's name in a layout.
    pub fn hex(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            text.extend([byte >> 4, byte & 15].map(|half| char::from(HEX[usize::from(half)])));
            text
        })
    }

    /// The digest whose digits these are.
    pub fn from_hex(text: &str) -> Result<Self, DigestError> {
        let refused = || DigestError { text: text.chars().take(SHOWN_CHARS).collect() };
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(refused());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let high = half(pair[0]).ok_or_else(refused)?;
            let low = half(pair[1]).ok_or_else(refused)?;
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn half(digit: u8) -> Option<u8> {
    HEX.iter().zip(0..).find(|(known, _)| **known == digit).map(|(_, value)| value)
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let refused = || DigestError { text: text.chars().take(SHOWN_CHARS).collect() };
        Self::from_hex(text.strip_prefix(PREFIX).ok_or_else(refused)?).map_err(|_| refused())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for DigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no digest, which is sha256: and 64 digits 0-9 a-f", self.text)
    }
}

impl std::error::Error for DigestError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        let known = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), known);
        assert_eq!(known.parse(), Ok(Digest::of(b"")));
    }

    #[test]
    fn anything_else_is_refused() {
        let hex = Digest::of(b"x").hex();
        for text in [
            "",
            "sha256:",
            hex.as_str(),
            &format!("sha512:{hex}{hex}"),
            &format!("sha256:{}", &hex[1..]),
            &format!("sha256:{hex}0"),
            &format!("sha256:{}", hex.to_uppercase()),
            &format!("SHA256:{hex}"),
            &format!("sha256:{}/", &hex[1..]),
            &format!("sha256:é{}", &hex[2..]),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text:?}");
        }
        let long = "x".repeat(1000);
        assert_eq!(long.parse::<Digest>().unwrap_err().text.len(), SHOWN_CHARS);
    }

    proptest! {
        #[test]
        fn a_digest_is_what_it_says(bytes: [u8; 32]) {
            let digest = Digest::from_bytes(bytes);
            prop_assert_eq!(digest.to_string().parse(), Ok(digest));
            let json = serde_json::to_string(&digest).unwrap();
            prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        }
    }
}
