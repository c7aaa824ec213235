//! Tokens: JSON Web Tokens (RFC 7519) in compact form, and static ones.
//!
//! Of a JWT nothing is believed before its signature was checked. `exp` is required and is a
//! number; `nbf` is honoured; both with 30 s of leeway. Where a task claim is configured it is
//! required and must be the task's id.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{keys::Key, static_tokens::StaticTokens};
use crate::core::limits::TOKEN_LEEWAY;

/// The tokens that are taken.
pub struct Tokens {
    keys: Vec<Key>,
    fixed: StaticTokens,
    /// A claim that a JWT must have, and its value.
    task: Option<(String, String)>,
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// It is not one of ours: form, algorithm, signature, or a claim that is missing.
    Bad,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    Early,
    /// It is for another task.
    OtherTask,
}

/// What a JWT says about itself; fields that change nothing here are not read.
#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood: we know none.
    crit: Option<Value>,
}

/// What a genuine token grants. Checking a signature costs as much as a whole call, so a
/// connection keeps the grant of the token that it showed last.
#[derive(Clone)]
pub(super) struct Grant {
    subject: Arc<str>,
    /// `nbf` and `exp`, in seconds since 1970.
    from: f64,
    until: f64,
    task: Task,
}

#[derive(Clone, Copy)]
enum Task {
    Ours,
    Other,
}

impl Grant {
    /// Whom it lets in at this time.
    pub(super) fn at(&self, now: SystemTime) -> Result<Arc<str>, TokenError> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let leeway = TOKEN_LEEWAY.as_secs_f64();
        if now >= self.until + leeway {
            return Err(TokenError::Expired);
        }
        if now + leeway < self.from {
            return Err(TokenError::Early);
        }
        match self.task {
            Task::Ours => Ok(self.subject.clone()),
            Task::Other => Err(TokenError::OtherTask),
        }
    }
}

impl Tokens {
    /// JWTs that one of `keys` verifies and that carry the claim `task`, and `fixed` ones.
    pub fn new(keys: Vec<Key>, fixed: StaticTokens, task: Option<(String, String)>) -> Self {
        Self { keys, fixed, task }
    }

    /// Whether callers need a token at all.
    pub fn configured(&self) -> bool {
        !self.keys.is_empty() || !self.fixed.is_empty()
    }

    /// What `token` grants, if it is genuine; whether it does so now is for [`Grant::at`].
    pub(super) fn verify(&self, token: &[u8]) -> Result<Grant, TokenError> {
        if self.fixed.contain(token) {
            let (from, until) = (f64::NEG_INFINITY, f64::INFINITY);
            return Ok(Grant { subject: "static token".into(), from, until, task: Task::Ours });
        }
        let claims = self.verified(token).ok_or(TokenError::Bad)?;
        let number = |claim: &Value| claim.as_f64().ok_or(TokenError::Bad);
        let task = match &self.task {
            None => Task::Ours,
            Some((claim, task)) => match claims.get(claim).and_then(Value::as_str) {
                None => return Err(TokenError::Bad),
                Some(found) if found == task => Task::Ours,
                Some(_) => Task::Other,
            },
        };
        Ok(Grant {
            subject: claims.get("sub").and_then(Value::as_str).unwrap_or("token").into(),
            from: claims.get("nbf").map_or(Ok(f64::NEG_INFINITY), number)?,
            until: claims.get("exp").map_or(Err(TokenError::Bad), number)?,
            task,
        })
    }

    /// The claims of a JWT that one of the keys signed.
    fn verified(&self, token: &[u8]) -> Option<Map<String, Value>> {
        let token = std::str::from_utf8(token).ok()?;
        let (message, signature) = token.rsplit_once('.')?;
        let (head, claims) = message.split_once('.')?;
        let signature = decode(signature)?;
        let head: Head = serde_json::from_slice(&decode(head)?).ok()?;
        if head.crit.is_some() {
            return None;
        }
        let signed = self
            .keys
            .iter()
            .filter(|key| key.takes(&head.alg) && key.answers_to(head.kid.as_deref()))
            .any(|key| key.verifies(message.as_bytes(), &signature));
        if !signed {
            return None;
        }
        serde_json::from_slice(&decode(claims)?).ok()
    }
}

/// Dots and padding are outside the alphabet, so a fourth part does not pass.
fn decode(part: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(part).ok()
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("keys", &self.keys)
            .field("fixed", &self.fixed)
            .field("task", &self.task)
            .finish()
    }
}
