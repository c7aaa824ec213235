//! Why an image was not unpacked.

use std::{io, path::PathBuf};

use rustix::io::Errno;

use super::source::SourceError;
use crate::{
    archive::decode::StreamError, core::limits::IMAGE_SHOWN_CHARS_MAX,
    image::snapshot::SnapshotError,
};

/// Why an image was not unpacked. Layers are counted from 1, the lowest.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The directory cannot be used.
    #[error("unpack into {}: {error}", path.display())]
    Into {
        /// The directory.
        path: PathBuf,
        /// What the kernel says.
        error: io::Error,
    },
    /// Something is in the directory.
    #[error("unpack into {}: it is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// A layer cannot be opened.
    #[error("open layer {layer}: {error}")]
    Open {
        /// Which.
        layer: usize,
        /// Why.
        error: io::Error,
    },
    /// A layer cannot be read on, or is not what it has to be.
    #[error("read layer {layer}, {place}: {what}")]
    Layer {
        /// Which.
        layer: usize,
        /// How far it could be read.
        place: Place,
        /// What is wrong.
        what: String,
        /// Whether the bytes are wrong, or could not be had.
        kind: Kind,
    },
    /// An entry asks for what is not done.
    #[error("unpack {path} of layer {layer}: {what}")]
    Refused {
        /// In which layer.
        layer: usize,
        /// Its name, for people.
        path: String,
        /// What it asks for.
        what: &'static str,
    },
    /// The kernel did not let us make an entry.
    #[error("make {path} of layer {layer}: {error}")]
    Make {
        /// In which layer.
        layer: usize,
        /// Its name, for people.
        path: String,
        /// What the kernel says.
        error: io::Error,
    },
    /// There are more layers than are taken.
    #[error("unpack the image: it has more than {0} layers")]
    Layers(usize),
    /// What was made cannot be recorded.
    #[error("record what was unpacked: {0}")]
    Record(SnapshotError),
    /// It was asked to stop.
    #[error("unpack the image: stopped")]
    Stopped,
}

/// How far a layer could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// No entry was read.
    Beginning,
    /// The last entry that was begun, for people.
    Entry(String),
    /// All entries were read.
    End,
}

/// What whoever asked for an image can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The image is at fault.
    Image,
    /// The disk or a quota is full.
    Room,
    /// This machine is at fault.
    Machine,
    /// It was asked for.
    Stopped,
}

impl UnpackError {
    /// What can be done about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Into { error, .. } | Self::Open { error, .. } => of_machine(error),
            Self::NotEmpty(_) | Self::Record(_) => Kind::Machine,
            Self::Layer { kind, .. } => *kind,
            Self::Refused { .. } | Self::Layers(_) => Kind::Image,
            Self::Make { error, .. } => match Errno::from_io_error(error) {
                Some(
                    Errno::NAMETOOLONG
                    | Errno::LOOP
                    | Errno::NOTDIR
                    | Errno::INVAL
                    | Errno::FBIG
                    | Errno::MLINK,
                ) => Kind::Image,
                _ => of_machine(error),
            },
            Self::Stopped => Kind::Stopped,
        }
    }

    /// Why a tree was not recorded.
    pub(super) fn recorded(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Stopped => Self::Stopped,
            error => Self::Record(error),
        }
    }

    /// What a stream said that could not be read on.
    pub(super) fn stream(layer: usize, place: Place, error: StreamError) -> Self {
        let (what, kind) = match error {
            StreamError::Read(error) => match error.downcast::<SourceError>() {
                Ok(SourceError::Stopped) => return Self::Stopped,
                Ok(error) => (error.to_string(), error.kind()),
                Err(error) => (error.to_string(), of_machine(&error)),
            },
            StreamError::Cut => ("the archive stops before its end".into(), Kind::Image),
            StreamError::NoArchive(_) => ("it is no tar archive".into(), Kind::Image),
            StreamError::Malformed(what) => (what.into(), Kind::Image),
        };
        Self::Layer { layer, place, what, kind }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Beginning => f.write_str("at its beginning"),
            Self::Entry(path) => write!(f, "at {path}"),
            Self::End => f.write_str("at its end"),
        }
    }
}

/// A path of an archive for people: nothing in it does anything to a terminal.
pub(super) fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(&path[..path.len().min(4 * IMAGE_SHOWN_CHARS_MAX)]);
    let mut shown: String = text.chars().take(IMAGE_SHOWN_CHARS_MAX).collect();
    if shown.len() < path.len() && text.chars().count() > IMAGE_SHOWN_CHARS_MAX {
        shown.push('…');
    }
    if shown.chars().any(char::is_control) { shown.escape_debug().to_string() } else { shown }
}

/// What can be done about an error that the kernel gave for no fault of the image.
pub(super) fn of_machine(error: &io::Error) -> Kind {
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => Kind::Room,
        _ => Kind::Machine,
    }
}
