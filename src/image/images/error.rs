//! Why something about images failed, in one form for all doors.

use std::io;

use crate::{
    core::failure::Kind,
    image::{
        manifest::ManifestError,
        mounts::{self, MountError},
        snapshot::SnapshotError,
        store::StoreError,
        transfer::TransferError,
        unpack::{self, UnpackError},
    },
};

/// Why something about images failed. Its text names what was refused; it never has a key in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ImagesError {
    /// What the caller can do about it. [`Kind::Internal`] for damage of the store too.
    pub kind: Kind,
    /// Whether a blob of the store is damaged.
    pub damaged: bool,
    /// What happened.
    pub text: String,
}

impl ImagesError {
    pub(super) fn new(kind: Kind, text: impl ToString) -> Self {
        Self { kind, damaged: false, text: text.to_string() }
    }

    pub(super) fn invalid(text: impl ToString) -> Self {
        Self::new(Kind::Invalid, text)
    }

    pub(super) fn refused(text: impl ToString) -> Self {
        Self::new(Kind::Refused, text)
    }

    pub(super) fn internal(text: impl ToString) -> Self {
        Self::new(Kind::Internal, text)
    }

    pub(super) fn damaged(text: impl ToString) -> Self {
        Self { damaged: true, ..Self::internal(text) }
    }

    /// It was given up because the agent ends.
    pub(super) fn stopped() -> Self {
        Self::refused("stopped: the agent ends")
    }

    /// What an error of the kernel comes to, where nobody is at fault.
    pub(super) fn io(doing: &str, error: &io::Error) -> Self {
        Self::new(of_io(error), format!("{doing}: {error}"))
    }
}

/// What can be done about an error of the kernel.
fn of_io(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Exhausted,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::Refused,
        _ => Kind::Internal,
    }
}

impl From<StoreError> for ImagesError {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Stopped => return Self::stopped(),
            StoreError::Full { .. } | StoreError::TooMany => Kind::Exhausted,
            StoreError::NotFound { .. } => Kind::Unknown,
            StoreError::Held { .. } => Kind::Refused,
            StoreError::Io { .. } | StoreError::Strange { .. } => Kind::Internal,
            StoreError::Missing { .. }
            | StoreError::Corrupt { .. }
            | StoreError::TooLarge { .. }
            | StoreError::Manifest(_)
            | StoreError::Mismatch { .. } => return Self::damaged(error),
        };
        Self::new(kind, error)
    }
}

/// Of a document that is in the store.
impl From<ManifestError> for ImagesError {
    fn from(error: ManifestError) -> Self {
        Self::refused(format!("use the image: {error}"))
    }
}

impl From<MountError> for ImagesError {
    fn from(error: MountError) -> Self {
        let kind = match (error.kind(), error) {
            (mounts::Kind::Tree, MountError::Tree(error)) => {
                return match error.downcast::<Self>() {
                    Ok(error) => *error,
                    Err(error) => Self::internal(error),
                };
            }
            (mounts::Kind::Invalid, error) => (Kind::Invalid, error),
            (mounts::Kind::Refused, error) => (Kind::Refused, error),
            (mounts::Kind::Full, error) => (Kind::Exhausted, error),
            (mounts::Kind::Failed | mounts::Kind::Tree, error) => (Kind::Internal, error),
        };
        Self::new(kind.0, kind.1)
    }
}

impl From<UnpackError> for ImagesError {
    fn from(error: UnpackError) -> Self {
        let kind = match error.kind() {
            unpack::Kind::Image => Kind::Refused,
            unpack::Kind::Room => Kind::Exhausted,
            unpack::Kind::Machine => Kind::Internal,
            unpack::Kind::Stopped => return Self::stopped(),
        };
        Self::new(kind, error)
    }
}

impl From<SnapshotError> for ImagesError {
    fn from(error: SnapshotError) -> Self {
        let kind = match &error {
            SnapshotError::Stopped => return Self::stopped(),
            SnapshotError::Root(cause) => match cause.kind() {
                io::ErrorKind::NotFound => Kind::Unknown,
                _ => Kind::Refused,
            },
            SnapshotError::Compress(_) => Kind::Exhausted,
            SnapshotError::Write(cause) => of_io(cause),
            SnapshotError::Ended => Kind::Internal,
        };
        Self::new(kind, error)
    }
}

impl From<TransferError> for ImagesError {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Store(StoreError::Mismatch { .. } | StoreError::Manifest(_)) => {
                Self::invalid(error)
            }
            TransferError::Store(error) => error.into(),
            TransferError::Stopped => Self::stopped(),
            TransferError::Write(_) => Self::refused(error),
            TransferError::Read(_)
            | TransferError::Archive { .. }
            | TransferError::Manifest(_)
            | TransferError::Sealed
            | TransferError::Key(_) => Self::invalid(error),
        }
    }
}
