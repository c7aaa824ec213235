//! Sizes and durations as people write them in flags: `16GiB`, `200ms`.
//!
//! One whole number and one unit. Without a unit a size is in bytes and a duration in seconds, as
//! the tools that people know have it.

use std::time::Duration;

/// Why a text is no size or no duration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnitError {
    /// It does not start with a whole number.
    Number,
    /// What follows the number is none of the units, which are listed.
    Unit(&'static str),
    /// The value is too large to be written down in 64 bits.
    TooLarge,
}

impl std::fmt::Display for UnitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number => f.write_str("does not start with a whole number"),
            Self::Unit(known) => write!(f, "needs one of the units {known}"),
            Self::TooLarge => f.write_str("is too large"),
        }
    }
}

impl std::error::Error for UnitError {}

const SIZES: [(&str, u64); 6] =
    [("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
const SIZE_NAMES: &str = "B, KiB, MiB, GiB, TiB";

/// In milliseconds.
const DURATIONS: [(&str, u64); 6] =
    [("", 1_000), ("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const DURATION_NAMES: &str = "ms, s, m, h, d";

/// The bytes that a text such as `4096`, `32MiB` or `16GiB` stands for.
pub fn size(text: &str) -> Result<u64, UnitError> {
    scaled(text, &SIZES, SIZE_NAMES)
}

/// The time that a text such as `200ms`, `10s` or `24h` stands for.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    scaled(text, &DURATIONS, DURATION_NAMES).map(Duration::from_millis)
}

fn scaled(text: &str, units: &[(&str, u64)], names: &'static str) -> Result<u64, UnitError> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(UnitError::Number);
    }
    let number: u64 = number.parse().map_err(|_| UnitError::TooLarge)?;
    let unit = unit.trim_start();
    let (_, factor) = units.iter().find(|(n, _)| *n == unit).ok_or(UnitError::Unit(names))?;
    number.checked_mul(*factor).ok_or(UnitError::TooLarge)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes() {
        let unit = Err(UnitError::Unit(SIZE_NAMES));
        for (text, value) in [
            ("0", Ok(0)),
            ("4096", Ok(4096)),
            ("16B", Ok(16)),
            ("32MiB", Ok(32 << 20)),
            (" 16 GiB ", Ok(16 << 30)),
            ("16777215TiB", Ok(16_777_215 << 40)),
            ("16777216TiB", Err(UnitError::TooLarge)),
            ("18446744073709551616", Err(UnitError::TooLarge)),
            ("", Err(UnitError::Number)),
            ("-1", Err(UnitError::Number)),
            ("GiB", Err(UnitError::Number)),
            ("1.5GiB", unit.clone()),
            ("1GB", unit.clone()),
            ("1gib", unit),
        ] {
            assert_eq!(size(text), value, "{text:?}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("0", 0),
            ("200ms", 200),
            ("3", 3_000),
            ("10s", 10_000),
            ("2m", 120_000),
            ("24h", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text:?}");
        }
        for text in ["", "s", "1.5s", "10sec", "-1s"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused_without_a_panic(text in "\\PC*") {
            let _ = size(&text);
            let _ = duration(&text);
        }
    }
}
