//! The other side of a copy: the agent's own binary, run there as an ordinary exec.

use std::time::Duration;

use anyhow::{anyhow, bail};
use bytes::BytesMut;
use tokio::time::timeout;

use super::watch::failed_there;
use crate::{
    archive::{GREETING, Report, Tally},
    cli::progress::Progress,
    client::{Client, ClientError, Command, OutputReader, random_id},
    core::{
        ids::Stream,
        limits::{ARCHIVE_END, ARCHIVE_GREETING, GRACE},
        outcome::ExitStatus,
    },
    wire::doorward::v1::{CancelExecRequest, ForgetExecRequest},
};

/// The program of the process that the agent makes: in its child, before the exec, that is the agent's
/// own, also where the file was replaced or removed since it started.
const OWN_BINARY: &str = "/proc/self/exe";
/// Longest line of the tool, in bytes: a path has 4 KiB.
const LINE_BYTES_MAX: usize = 64 << 10;

/// The tool as it runs.
pub(super) struct Tool {
    pub(super) client: Client,
    pub(super) id: String,
}

/// What the tool says.
pub(super) struct Lines {
    reader: OutputReader,
    buffer: BytesMut,
}

impl Tool {
    /// Starts it and hears from it that it is what it should be.
    pub(super) async fn start(
        client: Client,
        arguments: Vec<String>,
    ) -> anyhow::Result<(Self, Lines)> {
        let own = [OWN_BINARY, "archive"].map(String::from);
        let command = Command::new(own.into_iter().chain(arguments));
        let id = format!("cp-{}", random_id());
        client
            .start(&id, &command)
            .await
            .map_err(|error| anyhow!("start the agent's archive tool: {error}"))?;
        let reader = client.output(&id, Stream::Stderr, 0);
        let mut lines = Lines { reader, buffer: BytesMut::new() };
        let tool = Self { client, id };
        let greeted = timeout(ARCHIVE_GREETING, lines.next()).await;
        match greeted.unwrap_or(Ok(None)) {
            Ok(Some(line)) if line == GREETING => Ok((tool, lines)),
            other => {
                tool.end(Ending::Early).await;
                let said = match other {
                    Ok(Some(line)) => format!("it says {line:?}"),
                    Ok(None) => "it says nothing".into(),
                    Err(error) => error.to_string(),
                };
                bail!("copy through this agent: it is no Doorward, or of another version ({said})");
            }
        }
    }

    /// Listens to all that it says, and returns what it did. `read` is told how far it has read.
    pub(super) async fn listen(
        &self,
        lines: &mut Lines,
        progress: &Progress,
        mut read: impl FnMut(u64),
    ) -> anyhow::Result<Tally> {
        while let Some(line) = lines.next().await.map_err(|error| anyhow!("{error}"))? {
            match serde_json::from_str(&line) {
                Ok(Report::Read(offset)) => read(offset),
                Ok(Report::Problem(text)) => failed_there(progress, &text),
                Ok(Report::Notice(text)) => progress.notice(&format!("in the container: {text}")),
                Ok(Report::Fatal(reason)) => bail!(InContainer(reason)),
                Ok(Report::Done(tally)) => return Ok(tally),
                // A panic, or a word that a later version has.
                Err(_) => progress.say(&format!("the archive tool says: {line}")),
            }
        }
        let status = self.client.wait(&self.id).await.map_err(|error| anyhow!("{error}"))?;
        match status {
            ExitStatus::Code(code) => bail!("copy: the archive tool ended with code {code}"),
            ExitStatus::Signal(signal) => {
                bail!("copy: the archive tool was ended by signal {signal}")
            }
        }
    }

    /// Ends it, if it has not ended, and frees what it said. What cannot be done is left: the tool ends
    /// by itself when nobody speaks to it.
    pub(super) async fn end(&self, ending: Ending) {
        let ended = match ending {
            Ending::Done => true,
            Ending::Early => {
                // At the end of its input it removes what is half made.
                let mut input = self.client.stdin(&self.id);
                let _ = timeout(ARCHIVE_END, input.finish()).await;
                timeout(ARCHIVE_END, self.client.wait(&self.id)).await.is_ok()
            }
        };
        let control = self.client.control();
        if !ended {
            let exec_id = self.id.clone();
            let cancel = control.cancel_exec(CancelExecRequest { exec_id, ..Default::default() });
            let _ = timeout(GRACE + ARCHIVE_END, cancel).await;
        }
        let forget = async {
            // It can be forgotten once its process and its streams have ended.
            let _ = self.client.wait(&self.id).await;
            let exec_id = self.id.clone();
            control.forget_exec(ForgetExecRequest { exec_id, ..Default::default() }).await
        };
        if let Ok(Err(error)) = timeout(Duration::from_secs(5), forget).await {
            tracing::debug!("ignoring that the output of {} stays: {error}", self.id);
        }
    }
}

/// How it is with the tool when a copy ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It said its last word.
    Done,
    /// It may still run.
    Early,
}

/// What the tool could not do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct InContainer(pub(super) String);

impl Lines {
    /// The next line, without its newline; `None` at the end. Cancel-safe.
    async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            let newline = self.buffer.iter().position(|byte| *byte == b'\n');
            if let Some(length) = newline {
                let line = self.buffer.split_to(length + 1);
                return Ok(Some(String::from_utf8_lossy(&line[..length]).into_owned()));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(ClientError::Protocol("a line of the archive tool has no end".into()));
            }
            match self.reader.next().await? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None if self.buffer.is_empty() => return Ok(None),
                None => self.buffer.extend_from_slice(b"\n"),
            }
        }
    }
}
