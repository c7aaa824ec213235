//! When to try again, and when to give up: pure, the clock and the dice are arguments.

use std::time::Duration;

use prost::Message;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::{
    core::limits::{CLIENT_PATIENCE, CLIENT_PAUSE_MAX, CLIENT_PAUSE_MIN},
    wire::modal::client::{RpcRetryPolicy, RpcStatus},
};

/// A run of failures without progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    pause: Duration,
    /// When the first failure since the last progress was.
    since: Option<Instant>,
}

/// What to do about a failure.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Try again after this pause.
    Again(Duration),
    /// It lasted this long.
    GiveUp(Duration),
}

impl Retry {
    pub(super) fn new() -> Self {
        Self { pause: CLIENT_PAUSE_MIN, since: None }
    }

    /// Something went well: the next failure is a first one.
    pub(super) fn progress(&mut self) {
        *self = Self::new();
    }

    /// A call was answered or held for this long before it failed: what holds a call for a while
    /// is alive.
    pub(super) fn lasted(&mut self, time: Duration) {
        if time > CLIENT_PAUSE_MAX {
            self.progress();
        }
    }

    /// Something failed at `now`. `dice` is evenly spread over all 32-bit numbers; it spreads
    /// the pauses so that many clients do not come back all at once.
    pub(super) fn failed(&mut self, now: Instant, dice: u32) -> Verdict {
        let since = *self.since.get_or_insert(now);
        let lasted = now.saturating_duration_since(since);
        if lasted >= CLIENT_PATIENCE {
            return Verdict::GiveUp(lasted);
        }
        let part = f64::from(dice) / f64::from(u32::MAX);
        let pause = self.pause.mul_f64(0.5 + part / 2.0);
        self.pause = (self.pause * 2).min(CLIENT_PAUSE_MAX);
        Verdict::Again(pause)
    }
}

/// Whether a failure may pass, as the public clients judge it too.
pub(super) fn may_pass(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Unavailable
    )
}

/// The pause that a refused caller is asked to make, if it is.
pub(super) fn asked_pause(status: &Status) -> Option<Duration> {
    if status.code() != Code::ResourceExhausted {
        return None;
    }
    let details = RpcStatus::decode(status.details()).ok()?.details;
    let policy =
        details.iter().find(|any| any.type_url.ends_with("/modal.client.RPCRetryPolicy"))?;
    let after = RpcRetryPolicy::decode(&policy.value[..]).ok()?.retry_after_secs;
    Duration::try_from_secs_f32(after.max(0.1)).ok()
}

/// Four random bytes for [`Retry::failed`].
pub(super) fn dice() -> u32 {
    // Without randomness the pauses are merely not spread.
    getrandom::u32().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_bound_and_patience_ends() {
        let (mut retry, mut now) = (Retry::new(), Instant::now());
        let mut pauses = Vec::new();
        let lasted = loop {
            match retry.failed(now, u32::MAX) {
                Verdict::Again(pause) => pauses.push(pause),
                Verdict::GiveUp(lasted) => break lasted,
            }
            now += pauses[pauses.len() - 1];
        };
        assert_eq!(pauses[..3], [10, 20, 40].map(Duration::from_millis));
        assert!(pauses.iter().all(|pause| *pause <= CLIENT_PAUSE_MAX));
        assert!(lasted >= CLIENT_PATIENCE && lasted < CLIENT_PATIENCE + CLIENT_PAUSE_MAX);
        retry.progress();
        assert_eq!(retry.failed(now, 0), Verdict::Again(CLIENT_PAUSE_MIN / 2));
    }

    #[test]
    fn a_call_that_was_held_is_progress() {
        let (mut retry, now) = (Retry::new(), Instant::now());
        retry.failed(now, 0);
        retry.lasted(CLIENT_PAUSE_MAX / 2);
        assert!(matches!(retry.failed(now + CLIENT_PATIENCE, 0), Verdict::GiveUp(_)));
        retry.lasted(CLIENT_PAUSE_MAX * 2);
        assert!(matches!(retry.failed(now + CLIENT_PATIENCE, 0), Verdict::Again(_)));
    }

    #[test]
    fn only_a_lack_that_says_when_is_waited_for() {
        let policy = RpcRetryPolicy { retry_after_secs: 0.5 };
        let any = prost_types::Any {
            type_url: "type.modal.com/modal.client.RPCRetryPolicy".into(),
            value: policy.encode_to_vec(),
        };
        let details = RpcStatus { details: vec![any], ..RpcStatus::default() }.encode_to_vec();
        let status = |code| Status::with_details(code, "full", details.clone().into());
        assert_eq!(asked_pause(&status(Code::ResourceExhausted)), Some(Duration::from_millis(500)));
        assert_eq!(asked_pause(&status(Code::NotFound)), None);
        assert_eq!(asked_pause(&Status::resource_exhausted("full")), None);
    }
}
