//! How long an image is kept.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use crate::core::limits::{IMAGE_RENEWED, IMAGE_TTL_MAX};

/// When an image goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// So long after its last use.
    Renewed(Duration),
    /// Not by itself.
    Never,
    /// At this moment, used or not.
    Until(SystemTime),
}

/// Why a number of seconds is no time to live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TtlError {
    /// It is 0, or negative and not -1.
    NotPositive {
        /// What was asked for.
        seconds: i64,
    },
    /// It is beyond [`IMAGE_TTL_MAX`].
    TooLong {
        /// What was asked for.
        seconds: i64,
    },
}

impl Ttl {
    /// Takes `ttl_seconds` as a client sent it: unset is 30 days renewed by use, -1 never, a
    /// positive number a hard end. Everything else is refused.
    pub fn parse(seconds: Option<i64>, now: SystemTime) -> Result<Self, TtlError> {
        let Some(seconds) = seconds else { return Ok(Self::Renewed(IMAGE_RENEWED)) };
        match u64::try_from(seconds) {
            Err(_) if seconds == -1 => Ok(Self::Never),
            Err(_) | Ok(0) => Err(TtlError::NotPositive { seconds }),
            Ok(positive) => Some(Duration::from_secs(positive))
                .filter(|ttl| *ttl <= IMAGE_TTL_MAX)
                .and_then(|ttl| now.checked_add(ttl))
                .map(Self::Until)
                .ok_or(TtlError::TooLong { seconds }),
        }
    }

    /// The first moment at which an image that was used last at `last_used` is there no more;
    /// `None` is never.
    pub fn expires_at(&self, last_used: SystemTime) -> Option<SystemTime> {
        match self {
            Self::Renewed(after) => last_used.checked_add(*after),
            Self::Never => None,
            Self::Until(end) => Some(*end),
        }
    }
}

impl fmt::Display for TtlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPositive { seconds } => write!(
                f,
                "ttl_seconds is {seconds}: a positive number, or -1 for an image that never expires"
            ),
            Self::TooLong { seconds } => write!(
                f,
                "ttl_seconds is {seconds}, at most {} are allowed, or -1 for ever",
                IMAGE_TTL_MAX.as_secs()
            ),
        }
    }
}

impl std::error::Error for TtlError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 24 * 3600;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_each_number_means() {
        let now = at(1000);
        let long = IMAGE_TTL_MAX.as_secs();
        for (seconds, ttl) in [
            (None, Ok(Ttl::Renewed(Duration::from_secs(30 * DAY)))),
            (Some(-1), Ok(Ttl::Never)),
            (Some(1), Ok(Ttl::Until(at(1001)))),
            (Some(long as i64), Ok(Ttl::Until(at(1000 + long)))),
            (Some(long as i64 + 1), Err(TtlError::TooLong { seconds: long as i64 + 1 })),
            (Some(i64::MAX), Err(TtlError::TooLong { seconds: i64::MAX })),
            (Some(0), Err(TtlError::NotPositive { seconds: 0 })),
            (Some(-2), Err(TtlError::NotPositive { seconds: -2 })),
            (Some(i64::MIN), Err(TtlError::NotPositive { seconds: i64::MIN })),
        ] {
            assert_eq!(Ttl::parse(seconds, now), ttl, "{seconds:?}");
        }
    }

    #[test]
    fn use_renews_only_what_is_renewed() {
        for (ttl, early, late) in [
            (Ttl::Renewed(Duration::from_secs(5)), Some(at(15)), Some(at(25))),
            (Ttl::Never, None, None),
            (Ttl::Until(at(12)), Some(at(12)), Some(at(12))),
        ] {
            assert_eq!(ttl.expires_at(at(10)), early, "{ttl:?}");
            assert_eq!(ttl.expires_at(at(20)), late, "{ttl:?}");
        }
    }

    proptest! {
        #[test]
        fn any_number_is_taken_or_refused_without_a_panic(seconds: Option<i64>, now: u32) {
            if let Ok(ttl) = Ttl::parse(seconds, at(now.into())) {
                let end = ttl.expires_at(at(now.into()));
                prop_assert_eq!(end.is_none(), seconds == Some(-1));
                prop_assert!(end.is_none_or(|end| end > at(now.into())));
            }
        }
    }
}
