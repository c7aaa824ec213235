//! What can go wrong for a client, after everything that may pass was retried.

use std::{fmt, io, path::PathBuf, time::Duration};

use tonic::{Code, Status};

use super::{Address, AddressError};

/// A failure that asking again does not repair.
#[derive(Debug)]
pub enum ClientError {
    /// The address makes no sense.
    Address(AddressError),
    /// A file with a token or certificates cannot be used.
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There was no connection to begin with.
    Connect {
        /// Where to.
        address: Address,
        /// Why not.
        reason: String,
    },
    /// The agent said no, and would say it again.
    Refused(Status),
    /// The connection broke, or the agent failed, for so long that we gave up.
    Lost {
        /// How long there was no progress.
        after: Duration,
        /// The last failure.
        last: Status,
    },
    /// The caller's deadline has passed.
    Deadline,
    /// The source of tokens failed.
    Token(Box<dyn std::error::Error + Send + Sync>),
    /// The bytes at this offset are no longer kept.
    Dropped {
        /// The offset that was asked for.
        asked: u64,
        /// The first one that is still there, where the agent says so.
        first: Option<u64>,
    },
    /// The call needs `doorward.v1.Control`, and the agent is one without it.
    NoControl,
    /// The call needs `doorward.v1.Images`, and the agent is one without it.
    NoImages,
    /// The agent answered with what no agent should.
    Protocol(String),
    /// The source of an upload failed.
    Source(io::Error),
}

impl From<AddressError> for ClientError {
    fn from(error: AddressError) -> Self {
        Self::Address(error)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(error) => error.fmt(f),
            Self::File { path, reason } => write!(f, "use {path:?}: {reason}"),
            Self::Connect { address, reason } => write!(f, "connect to {address}: {reason}"),
            Self::Refused(status) => f.write_str(said(status)),
            Self::Lost { after, last } => {
                write!(f, "get an answer for {} s: {}", after.as_secs(), said(last))
            }
            Self::Deadline => f.write_str("get an answer before the deadline"),
            Self::Token(error) => write!(f, "get a token: {error}"),
            Self::Dropped { asked, first: Some(first) } => {
                write!(f, "read from byte {asked}: the first one that is kept is {first}")
            }
            Self::Dropped { asked, first: None } => {
                write!(f, "read from byte {asked}: it is not kept")
            }
            Self::NoControl => f.write_str(
                "use doorward.v1.Control: the server has no such service, it is another TaskCommandRouter \
                 or an old Doorward",
            ),
            Self::NoImages => f.write_str(
                "use doorward.v1.Images: the server has no such service, it is another TaskCommandRouter or a \
                 Doorward without images",
            ),
            Self::Protocol(what) => write!(f, "understand the agent: {what}"),
            Self::Source(error) => write!(f, "read the input: {error}"),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<ClientError> for io::Error {
    /// For those who read and write as std and tokio do; the error itself is inside.
    fn from(error: ClientError) -> Self {
        use io::ErrorKind;
        let kind = match &error {
            ClientError::Deadline => ErrorKind::TimedOut,
            ClientError::Connect { .. } | ClientError::Lost { .. } => ErrorKind::ConnectionAborted,
            ClientError::NoControl | ClientError::NoImages => ErrorKind::Unsupported,
            ClientError::Protocol(_) => ErrorKind::InvalidData,
            ClientError::Source(error) => error.kind(),
            ClientError::Refused(status) => match status.code() {
                Code::NotFound => ErrorKind::NotFound,
                Code::Unauthenticated | Code::PermissionDenied => ErrorKind::PermissionDenied,
                _ => ErrorKind::Other,
            },
            ClientError::Address(_)
            | ClientError::File { .. }
            | ClientError::Token(_)
            | ClientError::Dropped { .. } => ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// What a status says, in words.
fn said(status: &Status) -> &str {
    match status.message() {
        "" => status.code().description(),
        message => message,
    }
}
