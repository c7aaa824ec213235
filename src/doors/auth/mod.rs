//! Who may call.
//!
//! The commands that the agent runs share its loopback interface and its file system, so nothing
//! is trusted for where it comes from, except a Unix socket's peer credentials, which the kernel
//! vouches for. A decision needs the peer, the headers and the time, nothing else; it is made
//! before a byte of the body is read.
//!
//! - A Unix peer must have an admitted user id.
//! - A TCP peer must have shown a certificate, where one is asked for (TLS sees to that).
//! - Where tokens are configured, every peer must show one as well.
//! - `grpc.health.v1` is open to all.

pub mod keys;
pub mod static_tokens;
pub mod token;

use std::{collections::BTreeSet, fmt, net::SocketAddr, sync::Arc, time::SystemTime};

use http::{HeaderMap, header::AUTHORIZATION};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tonic::Status;

use self::token::{Grant, TokenError, Tokens};
/// In the extensions of each request that was let in by its credentials.
pub use crate::core::caller::Caller;

/// Paths that need no authentication: probes have no credentials.
const OPEN: &str = "/grpc.health.v1.Health/";

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP.
    Tcp {
        /// Its address.
        address: SocketAddr,
        /// The name of its verified certificate.
        certificate: Option<String>,
    },
    /// Over a Unix socket.
    Unix {
        /// Its user id, from the kernel.
        uid: u32,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address, certificate: None } => write!(f, "{address}"),
            Self::Tcp { address, certificate: Some(name) } => write!(f, "{address} ({name})"),
            Self::Unix { uid } => write!(f, "uid {uid}"),
        }
    }
}

/// Whether TCP peers show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificates {
    /// A connection without one does not come about.
    Required,
    /// They do not.
    NotAsked,
}

/// Why a call is not let in. None of them says which part of a token was wrong in a way that
/// helps to make a better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A token is needed and there is none, or more than one.
    Missing,
    /// The token is not one of ours.
    Bad,
    /// The token is ours and its time is over.
    Expired,
    /// The token is ours and its time has not come.
    Early,
    /// The token is for another task.
    OtherTask,
    /// The user id may not call.
    Uid(u32),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("one `authorization: Bearer TOKEN` header is needed"),
            Self::Bad => f.write_str("the token is not valid"),
            Self::Expired => f.write_str("the token has expired"),
            Self::Early => f.write_str("the token is not valid yet"),
            Self::OtherTask => f.write_str("the token is for another task"),
            Self::Uid(uid) => write!(f, "user id {uid} may not call (see --allow-uid)"),
        }
    }
}

impl Refusal {
    /// What the caller is told.
    pub(super) fn status(self) -> Status {
        let text = format!("authenticate: {self}");
        match self {
            Self::Missing | Self::Bad | Self::Expired | Self::Early => {
                Status::unauthenticated(text)
            }
            Self::OtherTask | Self::Uid(_) => Status::permission_denied(text),
        }
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Bad => Self::Bad,
            TokenError::Expired => Self::Expired,
            TokenError::Early => Self::Early,
            TokenError::OtherTask => Self::OtherTask,
        }
    }
}

/// Who may call, as configured.
#[derive(Debug)]
pub struct Policy {
    tokens: Tokens,
    certificates: Certificates,
    uids: BTreeSet<u32>,
}

impl Policy {
    /// `uids` are those that may use a Unix socket. That a TCP listener without any
    /// authentication is meant to be one is for the configuration to know.
    pub fn new(tokens: Tokens, certificates: Certificates, uids: BTreeSet<u32>) -> Self {
        Self { tokens, certificates, uids }
    }

    /// Whether commands that run as `uid` could call through a Unix socket without a token: then
    /// each of them can do all that a caller can, which the operator must be told.
    pub fn lets_in_commands(&self, uid: u32) -> bool {
        self.uids.contains(&uid) && !self.tokens.configured()
    }
}

/// One connection's dealings with the policy.
pub struct Session {
    policy: Arc<Policy>,
    peer: Peer,
    /// The peer as text, made once.
    name: Arc<str>,
    /// The hash of the token that was shown last and found genuine, and what it grants.
    last: Mutex<Option<([u8; 32], Grant)>>,
}

impl Session {
    /// A connection of `peer`.
    pub fn new(policy: Arc<Policy>, peer: Peer) -> Self {
        let name = peer.to_string().into();
        Self { policy, peer, name, last: Mutex::new(None) }
    }

    /// Who is at the other end, as text.
    pub fn peer(&self) -> &str {
        &self.name
    }

    /// Decides about one call. `None`: the path is open to everybody.
    pub fn admit(
        &self,
        path: &str,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Option<Caller>, Refusal> {
        if path.starts_with(OPEN) {
            return Ok(None);
        }
        let policy = &self.policy;
        match &self.peer {
            Peer::Unix { uid } if !policy.uids.contains(uid) => return Err(Refusal::Uid(*uid)),
            Peer::Tcp { certificate: None, .. }
                if policy.certificates == Certificates::Required =>
            {
                // TLS lets nobody come this far without one; this is the second lock.
                return Err(Refusal::Missing);
            }
            Peer::Unix { .. } | Peer::Tcp { .. } => {}
        }
        let subject = if policy.tokens.configured() {
            self.grant(bearer(headers)?)?.at(now)?
        } else {
            self.name.clone()
        };
        Ok(Some(Caller { subject, peer: self.name.clone() }))
    }

    fn grant(&self, token: &[u8]) -> Result<Grant, TokenError> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        if let Some((known, grant)) = &*self.last.lock()
            && bool::from(known.ct_eq(&hash))
        {
            return Ok(grant.clone());
        }
        let grant = self.policy.tokens.verify(token)?;
        *self.last.lock() = Some((hash, grant.clone()));
        Ok(grant)
    }
}

/// The token of the one authorization header.
fn bearer(headers: &HeaderMap) -> Result<&[u8], Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Refusal::Missing);
    };
    let (scheme, token) = value.as_bytes().split_at_checked(7).ok_or(Refusal::Missing)?;
    if scheme.eq_ignore_ascii_case(b"Bearer ") { Ok(token) } else { Err(Refusal::Missing) }
}

#[cfg(test)]
mod tests;
