//! What changes about execs, however often the connection breaks.

use tonic::{Code, Status, Streaming};

use crate::{
    client::{ClientError, Control, Patience},
    wire::doorward::v1::{self as wire, watch_execs_response::Event},
};

/// State changes from a cursor on, resumed by themselves.
pub(super) struct Changes {
    control: Control,
    patience: Patience,
    cursor: String,
    open: Option<Streaming<wire::WatchExecsResponse>>,
}

impl Changes {
    /// What changes after `cursor`; with an empty one, every exec as it is first.
    pub(super) fn after(control: &Control, cursor: String) -> Self {
        Self { control: control.clone(), patience: control.patience(), cursor, open: None }
    }

    /// The next change. It never ends by itself. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Event, ClientError> {
        loop {
            let open = match &mut self.open {
                Some(open) => open,
                None => self.open.insert(self.control.watch_execs(self.cursor.clone()).await?),
            };
            let status = match open.message().await {
                Ok(Some(message)) => {
                    self.patience.progress();
                    self.cursor = message.cursor;
                    match message.event {
                        Some(event) => return Ok(event),
                        // Something that this version does not know.
                        None => continue,
                    }
                }
                Ok(None) => Status::new(Code::Unavailable, "the stream of changes ended"),
                Err(status) => status,
            };
            self.open = None;
            self.patience.after(status).await?;
        }
    }
}
