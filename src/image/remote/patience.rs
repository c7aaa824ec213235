//! How often something is tried again, and how long is waited before.

use std::time::Duration;

use super::RemoteError;
use crate::core::limits::{REMOTE_ATTEMPTS_MAX, REMOTE_PAUSE_MAX, REMOTE_PAUSE_MIN};

/// Counts attempts that got nowhere.
pub(super) struct Patience {
    barren: u32,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { barren: 0 }
    }

    /// The last attempt got somewhere, although it did not come to its end.
    pub(super) fn progressed(&mut self) {
        self.barren = 0;
    }

    /// Waits before the next attempt, or gives back the error that ends it all.
    pub(super) async fn after(&mut self, error: RemoteError) -> Result<(), RemoteError> {
        if error.may_pass() { self.after_loss(error).await } else { Err(error) }
    }

    /// The same after an error that ends this attempt for good, but not the next one.
    pub(super) async fn after_loss(&mut self, error: RemoteError) -> Result<(), RemoteError> {
        let Some(pause) = self.pause(&error) else { return Err(error) };
        tracing::debug!("once more in {pause:?}: {error}");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn pause(&mut self, error: &RemoteError) -> Option<Duration> {
        self.barren += 1;
        if self.barren >= REMOTE_ATTEMPTS_MAX {
            return None;
        }
        let doubled = REMOTE_PAUSE_MIN.saturating_mul(1 << (self.barren - 1).min(16));
        let wanted = error.retry_after().unwrap_or_default();
        Some(doubled.max(wanted).min(REMOTE_PAUSE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, retry_after: Option<Duration>) -> RemoteError {
        let (place, doing, said) = (String::new(), String::new(), String::new());
        RemoteError::Refused { place, doing, status: Some(status), said, retry_after }
    }

    #[test]
    fn what_may_pass_is_tried_again_with_growing_pauses_and_not_for_ever() {
        let mut patience = Patience::new();
        let busy = refused(503, None);
        let mut last = Duration::ZERO;
        for _ in 1..REMOTE_ATTEMPTS_MAX {
            let pause = patience.pause(&busy).unwrap();
            assert!(pause > last && pause <= REMOTE_PAUSE_MAX);
            last = pause;
        }
        assert_eq!(patience.pause(&busy), None);
        patience.progressed();
        assert_eq!(patience.pause(&busy), Some(REMOTE_PAUSE_MIN));
    }

    #[tokio::test]
    async fn a_wish_is_heard_within_bounds_and_a_no_is_a_no() {
        let second = Duration::from_secs(1);
        let hour = Duration::from_secs(3600);
        assert_eq!(Patience::new().pause(&refused(429, Some(second))), Some(second));
        assert_eq!(Patience::new().pause(&refused(429, Some(hour))), Some(REMOTE_PAUSE_MAX));
        assert!(Patience::new().after(refused(403, Some(hour))).await.is_err());
    }
}
