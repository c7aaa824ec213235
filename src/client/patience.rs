//! Breaks, for callers who open a stream of Control or Images themselves and go on with it.

use tonic::Status;

use super::{Client, ClientError, Control, Images, retry::Retry};

/// When to open a broken stream again, and when to give up: the same pauses and the same patience as the
/// library's own calls have.
pub struct Patience {
    client: Client,
    retry: Retry,
}

impl Patience {
    pub(super) fn new(client: Client) -> Self {
        Self { client, retry: Retry::new() }
    }

    /// Something arrived: the next break is a first one.
    pub fn progress(&mut self) {
        self.retry.progress();
    }

    /// Returns when the stream that ended with `status` may be opened again. An error if it never may, or if
    /// nothing has arrived for too long.
    pub async fn after(&mut self, status: Status) -> Result<(), ClientError> {
        self.client.after(status, &mut self.retry).await
    }
}

impl Control {
    /// Patience with one stream.
    pub fn patience(&self) -> Patience {
        Patience::new(self.client.clone())
    }
}

impl Images {
    /// Patience with one stream.
    pub fn patience(&self) -> Patience {
        Patience::new(self.client.clone())
    }
}
