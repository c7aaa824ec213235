//! The id of an image.

use std::fmt;

use crate::core::limits::IMAGE_ID_BYTES_MAX;

/// `im-` and 1-64 characters of `[0-9A-Za-z_-]`. Ours have 22, which is 128 random bits; clients
/// expect no more of one than its beginning.
///
/// It is safe as the name of a file: it has neither `/` nor `.`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(String);

/// Why a text is no [`ImageId`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageIdError {
    /// It does not begin with `im-`.
    Prefix,
    /// What follows has no or too many characters.
    Length {
        /// How many bytes follow.
        bytes: usize,
    },
    /// It has a character outside `[0-9A-Za-z_-]`.
    Character {
        /// The first such character.
        found: char,
    },
}

const PREFIX: &str = "im-";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of base 62 that 128 bits need.
const LENGTH: usize = 22;

impl ImageId {
    /// The id that these random bytes make.
    pub fn from_random(random: [u8; 16]) -> Self {
        let mut rest = u128::from_be_bytes(random);
        let digits = std::iter::repeat_with(|| {
            let digit = usize::try_from(rest % 62).expect("a remainder of 62 is small");
            rest /= 62;
            char::from(DIGITS[digit])
        });
        Self(PREFIX.chars().chain(digits.take(LENGTH)).collect())
    }

    /// Takes an id as a client sent it.
    pub fn parse(text: &str) -> Result<Self, ImageIdError> {
        let rest = text.strip_prefix(PREFIX).ok_or(ImageIdError::Prefix)?;
        if rest.is_empty() || rest.len() > IMAGE_ID_BYTES_MAX {
            return Err(ImageIdError::Length { bytes: rest.len() });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        match rest.chars().find(|c| !allowed(*c)) {
            Some(found) => Err(ImageIdError::Character { found }),
            None => Ok(Self(text.into())),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ImageIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix => write!(f, "image id does not begin with {PREFIX}"),
            Self::Length { bytes } => write!(
                f,
                "image id has {bytes} bytes after {PREFIX}, 1 to {IMAGE_ID_BYTES_MAX} are allowed"
            ),
            Self::Character { found } => {
                write!(f, "image id has the character {found:?}, allowed are A-Z a-z 0-9 _ -")
            }
        }
    }
}

impl std::error::Error for ImageIdError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_at_and_beyond_each_edge() {
        for good in ["im-x".into(), "im--_".into(), format!("im-{}", "x".repeat(64))] {
            assert_eq!(ImageId::parse(&good).map(|id| id.to_string()), Ok(good));
        }
        let long = format!("im-{}", "x".repeat(65));
        for (bad, error) in [
            ("", ImageIdError::Prefix),
            ("IM-x", ImageIdError::Prefix),
            ("im-", ImageIdError::Length { bytes: 0 }),
            (&long, ImageIdError::Length { bytes: 65 }),
            ("im-../x", ImageIdError::Character { found: '.' }),
            ("im-a/b", ImageIdError::Character { found: '/' }),
            ("im-é", ImageIdError::Character { found: 'é' }),
            ("im-a\0", ImageIdError::Character { found: '\0' }),
        ] {
            assert_eq!(ImageId::parse(bad), Err(error), "{bad:?}");
        }
    }

    #[test]
    fn the_largest_random_number_fits() {
        assert_eq!(ImageId::from_random([0xff; 16]).as_str().len(), 25);
    }

    proptest! {
        #[test]
        fn an_id_of_ours_is_an_id_and_no_two_are_the_same(one: [u8; 16], other: [u8; 16]) {
            let id = ImageId::from_random(one);
            prop_assert_eq!(ImageId::parse(id.as_str()), Ok(id.clone()));
            prop_assert_eq!(one == other, id == ImageId::from_random(other));
        }
    }
}
