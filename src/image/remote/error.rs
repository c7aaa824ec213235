//! What can go wrong with a place for images.

use std::{fmt, io, time::Duration};

use super::http::LinkError;
use crate::{
    core::image::Digest,
    image::{manifest::ManifestError, store::StoreError},
};

/// Why a push, a pull or a question failed. No message has a secret in it.
#[derive(Debug)]
pub enum RemoteError {
    /// A setting of this machine is of no use: a file of certificates or credentials, a variable.
    Setting {
        /// Which, and why.
        what: String,
    },
    /// Nobody answers, the link breaks again and again, or its other end cannot be trusted.
    Link {
        /// The place.
        place: String,
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: LinkError,
    },
    /// The other side refused something.
    Refused {
        /// The place.
        place: String,
        /// What was being done.
        doing: String,
        /// The HTTP status, if that is known.
        status: Option<u16>,
        /// What it said, cut short.
        said: String,
        /// When it may be asked again.
        retry_after: Option<Duration>,
    },
    /// The other side wants another, or any, password or key.
    Unauthorized {
        /// The place.
        place: String,
        /// What was being done.
        doing: String,
        /// What it said, and where a password was looked for.
        said: String,
    },
    /// There is no such image or blob.
    NotFound {
        /// The place.
        place: String,
        /// What was looked for.
        name: String,
    },
    /// An image id is there already, for another image. It stays what it is.
    Taken {
        /// The place.
        place: String,
        /// The id.
        name: String,
        /// The manifest that is there.
        theirs: Digest,
        /// The manifest that was to be there.
        ours: Digest,
    },
    /// Bytes are not what their name says.
    Mismatch {
        /// The place.
        place: String,
        /// What they were to be.
        expected: Digest,
        /// What they are.
        found: Digest,
    },
    /// The other side does not keep to its protocol.
    Strange {
        /// The place.
        place: String,
        /// What is strange.
        what: String,
    },
    /// An image is larger than whoever pulls it wants to take.
    TooLarge {
        /// The image.
        name: String,
        /// Its size in bytes.
        bytes: u64,
        /// What is taken.
        bytes_max: u64,
    },
    /// A place of this kind does not have such a thing.
    Unsupported {
        /// The place.
        place: String,
        /// What it does not have.
        what: String,
    },
    /// A manifest that is none for us.
    Manifest {
        /// The image.
        name: String,
        /// Why.
        source: ManifestError,
    },
    /// The local store failed.
    Store(StoreError),
}

impl RemoteError {
    /// Whether the same may succeed in a moment.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Link { source, .. } => source.may_pass(),
            Self::Refused { status, .. } => {
                matches!(status, Some(408 | 425 | 429 | 500 | 502 | 503 | 504))
            }
            Self::Setting { .. }
            | Self::Unauthorized { .. }
            | Self::NotFound { .. }
            | Self::Taken { .. }
            | Self::Mismatch { .. }
            | Self::Strange { .. }
            | Self::TooLarge { .. }
            | Self::Unsupported { .. }
            | Self::Manifest { .. }
            | Self::Store(_) => false,
        }
    }

    /// How long the other side wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// A file of the store that could not be read.
    pub(super) fn reading(digest: &Digest, error: io::Error) -> Self {
        Self::Store(StoreError::io(format!("read blob {digest}"), error))
    }
}

impl From<StoreError> for RemoteError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { what } => f.write_str(what),
            Self::Link { place, doing, source } => write!(f, "{doing}, at {place}: {source}"),
            Self::Refused { place, doing, status, said, .. } => {
                write!(f, "{doing}: {place} refused it")?;
                if let Some(status) = status {
                    write!(f, " with status {status}")?;
                }
                if said.is_empty() { Ok(()) } else { write!(f, ": {said}") }
            }
            Self::Unauthorized { place, doing, said } => {
                write!(f, "{doing}: {place} does not let us: {said}")
            }
            Self::NotFound { place, name } => write!(f, "no {name} at {place}"),
            Self::Taken { place, name, theirs, ours } => write!(
                f,
                "{name} at {place} is another image already: its manifest is {theirs}, not {ours}"
            ),
            Self::Mismatch { place, expected, found } => {
                write!(f, "{place} was asked for {expected}, and {found} came")
            }
            Self::Strange { place, what } => write!(f, "understand {place}: {what}"),
            Self::TooLarge { name, bytes, bytes_max } => {
                write!(f, "take {name}: it has {bytes} bytes, at most {bytes_max} are taken")
            }
            Self::Unsupported { place, what } => write!(f, "{place} has no {what}"),
            Self::Manifest { name, source } => write!(f, "use the manifest of {name}: {source}"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RemoteError {}

/// What a stranger said, for a message: one line, cut to a length.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_CHARS: usize = 300;
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(SHOWN_CHARS).collect::<String>().trim().to_owned()
}
