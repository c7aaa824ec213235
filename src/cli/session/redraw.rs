//! The screen as it is, asked for in the middle of a session: after a line of ours on a program's
//! screen, after we were stopped, when somebody wants it.

use bytes::Bytes;
use tokio::time::timeout;

use crate::{
    client::{AttachEvent, AttachOptions, AttachRole, AttachStart, Client, ClientError},
    core::limits::REDRAW,
};

/// A screen.
pub(super) struct Drawing {
    /// What draws it on a cleared terminal.
    pub(super) data: Bytes,
    /// The offset of the output that it shows.
    pub(super) offset: u64,
    /// It starts cleared: too much came to know it.
    pub(super) incomplete: bool,
}

/// Looks on for as long as it takes to see the screen; `None` if that is too long.
pub(super) async fn look(client: Client, id: String) -> Result<Option<Drawing>, ClientError> {
    let options =
        AttachOptions { role: AttachRole::Observer, size: None, start: AttachStart::Screen };
    let drawing = async {
        let mut attached = client.attach(&id, options).await?;
        while let Some(event) = attached.next().await? {
            if let AttachEvent::Drawn { data, offset, incomplete, .. } = event {
                return Ok(Some(Drawing { data, offset, incomplete }));
            }
        }
        Ok(None)
    };
    timeout(REDRAW, drawing).await.unwrap_or(Ok(None))
}
