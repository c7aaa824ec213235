//! How long the calls of a client may take.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{Client, ClientError};
use crate::core::limits::CLIENT_PATIENCE;

/// The bounds of one handle of a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// How long failures may follow each other without any progress.
    pub(super) patience: Duration,
    /// When everything is over, whatever it is doing.
    pub(super) deadline: Option<Instant>,
}

impl Default for Bound {
    fn default() -> Self {
        Self { patience: CLIENT_PATIENCE, deadline: None }
    }
}

impl Bound {
    /// Does `work`, but not beyond the deadline.
    pub(super) async fn within<T>(
        self,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        match self.deadline {
            None => work.await,
            Some(at) => timeout_at(at, work).await.unwrap_or(Err(ClientError::Deadline)),
        }
    }
}

impl Client {
    /// This client with another patience: a call that fails in a way that may pass is given up once
    /// its failures have lasted this long without any progress. Without this it is 60 s. How long a
    /// call may go well is not bounded: a wait may take hours.
    ///
    /// The connection is shared; readers and writers made from the returned one have its bounds.
    pub fn with_patience(&self, patience: Duration) -> Self {
        let mut client = self.clone();
        client.bound.patience = patience;
        client
    }

    /// This client with a deadline: its calls, and everything that its readers and writers do, are
    /// over at `at`, with [`ClientError::Deadline`] if they have not come to an end before. A
    /// deadline that was set earlier and comes sooner stays.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn example(client: doorward::client::Client) -> Result<(), doorward::client::ClientError> {
    /// let soon = client.with_deadline(tokio::time::Instant::now() + Duration::from_secs(30));
    /// let status = soon.wait("build-1").await?;
    /// # Ok(()) }
    /// ```
    pub fn with_deadline(&self, at: Instant) -> Self {
        let deadline = self.bound.deadline.map_or(at, |earlier| earlier.min(at));
        let mut client = self.clone();
        client.bound.deadline = Some(deadline);
        client
    }
}
