//! One member of an archive, without its data.

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file with so many bytes of data in the archive.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Symlink(Vec<u8>),
    /// Another name of the member with this path.
    Hardlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A device of characters, by its numbers.
    CharacterDevice(u32, u32),
    /// A device of blocks, by its numbers.
    BlockDevice(u32, u32),
}

/// A member: its name and all that is kept about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its path in the archive, with slashes between components, as the stream has it.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// The twelve bits of permission.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) modified: Time,
    pub(crate) xattrs: Extended,
    /// Where the data of a file with holes goes.
    pub(crate) sparse: Option<Sparse>,
}

/// Extended attributes (xattr(7)): their names, sorted, each with its value.
pub(crate) type Extended = Vec<(Vec<u8>, Vec<u8>)>;

/// The shape of a file with holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sparse {
    /// Its size, with the holes.
    pub(crate) size: u64,
    /// Offset and length of each piece of data, ascending; none is empty, and none overlaps another.
    pub(crate) extents: Vec<(u64, u64)>,
}

/// A moment, since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Time {
    /// Whole seconds, rounded down.
    pub(crate) seconds: i64,
    /// 0 to 999,999,999 more.
    pub(crate) nanoseconds: u32,
}

impl Kind {
    /// The bytes of data that follow the header.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::File(bytes) => *bytes,
            Self::Directory
            | Self::Symlink(_)
            | Self::Hardlink(_)
            | Self::Fifo
            | Self::CharacterDevice(..)
            | Self::BlockDevice(..) => 0,
        }
    }
}

impl Time {
    /// As a PAX record has it: a decimal fraction, negative before the epoch.
    pub(crate) fn to_decimal(self) -> String {
        match (self.seconds, self.nanoseconds) {
            (seconds, 0) => seconds.to_string(),
            (seconds @ 0.., fraction) => format!("{seconds}.{fraction:09}"),
            // -1 s and 0.75 s more is -0.25 s.
            (seconds, fraction) => {
                format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - fraction)
            }
        }
    }

    /// Reads what [`Time::to_decimal`] writes; digits behind the ninth are passed over.
    pub(crate) fn from_decimal(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let seconds = sign * whole.parse::<i64>().ok()?;
        let fraction: u32 = format!("{:0<9}", &fraction[..fraction.len().min(9)]).parse().ok()?;
        match (sign, fraction) {
            (-1, 1..) => Some(Self { seconds: seconds - 1, nanoseconds: 1_000_000_000 - fraction }),
            _ => Some(Self { seconds, nanoseconds: fraction }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_again() {
        let cases = [
            (0, 0, "0"),
            (12, 5, "12.000000005"),
            (1_700_000_000, 123_456_789, "1700000000.123456789"),
            (-1, 750_000_000, "-0.250000000"),
            (-3, 1, "-2.999999999"),
            (-3, 0, "-3"),
        ];
        for (seconds, nanoseconds, text) in cases {
            let time = Time { seconds, nanoseconds };
            assert_eq!(time.to_decimal(), text);
            assert_eq!(Time::from_decimal(text.as_bytes()), Some(time), "{text}");
        }
        let half = Time { seconds: 1, nanoseconds: 500_000_000 };
        assert_eq!(Time::from_decimal(b"1.5"), Some(half));
        assert_eq!(Time::from_decimal(b"1.5000000009"), Some(half));
        for nonsense in [&b""[..], b"-", b".5", b"1.x", b"1e5", b"99999999999999999999", b"+1"] {
            assert_eq!(Time::from_decimal(nonsense), None, "{nonsense:?}");
        }
    }
}
