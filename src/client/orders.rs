//! What only `doorward.v1.Control` can do to an exec, in the terms of a caller. Against another
//! `TaskCommandRouter` each is [`ClientError::NoControl`].

use std::time::Duration;

use super::{Client, ClientError};
use crate::wire::doorward::v1 as wire;

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The exec's first process.
    Leader,
    /// The group in the foreground of its terminal; without a terminal, the group of its first
    /// process.
    Group,
    /// Every process that came of it.
    Tree,
}

impl Client {
    /// Sends a signal, 1-64 as signal(7) numbers them; returns how many processes it was sent to,
    /// where they were counted. Repeated after a break, it may be sent twice.
    pub async fn signal(
        &self,
        exec_id: &str,
        signal: i32,
        target: Target,
    ) -> Result<Option<u32>, ClientError> {
        let target = match target {
            Target::Leader => wire::SignalTarget::Leader,
            Target::Group => wire::SignalTarget::Group,
            Target::Tree => wire::SignalTarget::Tree,
        };
        let request = wire::SignalExecRequest {
            exec_id: exec_id.into(),
            signal,
            target: target.into(),
            ..wire::SignalExecRequest::default()
        };
        Ok(self.control().signal_exec(request).await?.processes)
    }

    /// Sets the size of an exec's terminal; neither may be 0.
    pub async fn resize(&self, exec_id: &str, rows: u16, columns: u16) -> Result<(), ClientError> {
        let size = wire::TerminalSize { rows: rows.into(), columns: columns.into() };
        let request = wire::ResizePtyRequest {
            exec_id: exec_id.into(),
            size: Some(size),
            ..wire::ResizePtyRequest::default()
        };
        self.control().resize_pty(request).await.map(|_| ())
    }

    /// Every exec that the agent knows, oldest start first.
    pub async fn list(&self) -> Result<Vec<wire::Exec>, ClientError> {
        Ok(self.control().list_execs(wire::ListExecsRequest::default()).await?.execs)
    }

    /// Ends an exec with everything that came of it: TERM, after `grace` (at most an hour; `None`:
    /// what the agent was told) KILL. Returns when nothing is left, or with what could not be
    /// ended. The end goes on if the future is dropped; asking again joins it.
    pub async fn cancel(
        &self,
        exec_id: &str,
        grace: Option<Duration>,
    ) -> Result<wire::CancelExecResponse, ClientError> {
        let too_long = |_| ClientError::Protocol("a grace of more than an hour".into());
        let grace = grace.map(prost_types::Duration::try_from).transpose().map_err(too_long)?;
        let request = wire::CancelExecRequest {
            exec_id: exec_id.into(),
            grace,
            ..wire::CancelExecRequest::default()
        };
        self.control().cancel_exec(request).await
    }
}
