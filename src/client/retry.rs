//! When to try again, and when to give up: pure, the clock and the dice are arguments.

use std::time::Duration;

use prost::Message;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::{
    core::limits::{CLIENT_AT_ONCE_BYTES, CLIENT_PAUSE_MAX, CLIENT_PAUSE_MIN, CLIENT_RENEWALS_MAX},
    wire::modal::client::{RpcRetryPolicy, RpcStatus},
};

/// A run of failures without progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    pause: Duration,
    /// When the first failure since the last progress was.
    since: Option<Instant>,
    /// Tokens that were fetched since.
    renewals: u32,
    /// Bytes that came since.
    moved: u64,
}

/// What came of fetching a token again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fetched {
    /// Another one than was refused, as far as we know.
    Another,
    /// The same.
    Same,
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
        Self { pause: CLIENT_PAUSE_MIN, since: None, renewals: 0, moved: 0 }
    }

    /// Something went well: the next failure is a first one.
    pub(super) fn progress(&mut self) {
        *self = Self::new();
    }

    /// So many bytes came, which is progress; after enough of them the next try is not waited for.
    pub(super) fn moved(&mut self, bytes: u64) {
        *self = Self { moved: self.moved.saturating_add(bytes), ..Self::new() };
    }

    /// A call was answered or held for this long before it failed: what holds a call for a while
    /// is alive.
    pub(super) fn lasted(&mut self, time: Duration) {
        if time > CLIENT_PAUSE_MAX {
            self.progress();
        }
    }

    /// A token was refused and fetched again. Whether to try with it: a source that gives nothing but
    /// tokens that are refused must come to an end.
    pub(super) fn renewed(&mut self, fetched: Fetched) -> bool {
        let first = self.renewals == 0;
        self.renewals += 1;
        self.renewals <= CLIENT_RENEWALS_MAX && (first || fetched == Fetched::Another)
    }

    /// Something failed at `now`, and `patience` is how long it may go on. `dice` is evenly spread over all 32-bit numbers; it spreads
    /// the pauses so that many clients do not come back all at once.
    pub(super) fn failed(&mut self, now: Instant, patience: Duration, dice: u32) -> Verdict {
        let since = *self.since.get_or_insert(now);
        let lasted = now.saturating_duration_since(since);
        if lasted >= patience {
            return Verdict::GiveUp(lasted);
        }
        if std::mem::take(&mut self.moved) >= CLIENT_AT_ONCE_BYTES {
            return Verdict::Again(Duration::ZERO);
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
    use crate::core::limits::CLIENT_PATIENCE;

    #[test]
    fn pauses_double_to_a_bound_and_patience_ends() {
        let (mut retry, mut now) = (Retry::new(), Instant::now());
        let mut pauses = Vec::new();
        let lasted = loop {
            match retry.failed(now, CLIENT_PATIENCE, u32::MAX) {
                Verdict::Again(pause) => pauses.push(pause),
                Verdict::GiveUp(lasted) => break lasted,
            }
            now += pauses[pauses.len() - 1];
        };
        assert_eq!(pauses[..3], [10, 20, 40].map(Duration::from_millis));
        assert!(pauses.iter().all(|pause| *pause <= CLIENT_PAUSE_MAX));
        assert!(lasted >= CLIENT_PATIENCE && lasted < CLIENT_PATIENCE + CLIENT_PAUSE_MAX);
        retry.progress();
        assert_eq!(retry.failed(now, CLIENT_PATIENCE, 0), Verdict::Again(CLIENT_PAUSE_MIN / 2));
    }

    #[test]
    fn a_link_that_carried_much_is_opened_again_at_once_but_not_twice() {
        let now = Instant::now();
        let pauses = |moved: [u64; 2]| {
            let mut retry = Retry::new();
            moved.into_iter().for_each(|bytes| retry.moved(bytes));
            [(); 3].map(|()| retry.failed(now, CLIENT_PATIENCE, u32::MAX))
        };
        let again = |pauses: [u64; 3]| pauses.map(|ms| Verdict::Again(Duration::from_millis(ms)));
        assert_eq!(pauses([1, CLIENT_AT_ONCE_BYTES - 1]), again([0, 10, 20]));
        assert_eq!(pauses([1, CLIENT_AT_ONCE_BYTES - 2]), again([10, 20, 40]));
    }

    #[test]
    fn a_call_that_was_held_is_progress() {
        let (mut retry, now) = (Retry::new(), Instant::now());
        retry.failed(now, CLIENT_PATIENCE, 0);
        retry.lasted(CLIENT_PAUSE_MAX / 2);
        assert!(matches!(
            retry.failed(now + CLIENT_PATIENCE, CLIENT_PATIENCE, 0),
            Verdict::GiveUp(_)
        ));
        retry.lasted(CLIENT_PAUSE_MAX * 2);
        assert!(matches!(
            retry.failed(now + CLIENT_PATIENCE, CLIENT_PATIENCE, 0),
            Verdict::Again(_)
        ));
    }

    #[test]
    fn tokens_are_tried_again_when_that_may_help() {
        let mut retry = Retry::new();
        assert!(retry.renewed(Fetched::Same), "another call may have replaced the refused one");
        assert!(!retry.renewed(Fetched::Same));
        retry.progress();
        let tries = (0..100).filter(|_| retry.renewed(Fetched::Another)).count();
        assert_eq!(tries, CLIENT_RENEWALS_MAX as usize);
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
