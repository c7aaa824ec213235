//! From a start request to a spec.

use std::time::{Duration, Instant};

use prost::Message;
use sha2::{Digest, Sha256};

use crate::{
    core::{
        caller::Caller,
        ids::ExecId,
        spec::{
            Argv, EnvSource, EnvVar, ErrSink, ExecSpec, Input, SecretId, Sink, SpecError, Stdio,
            WindowSize, Workdir,
        },
    },
    exec::engine::Start,
    wire::modal::{
        client::{PtyInfo, secret_source::Source},
        task_command_router::{TaskExecStartRequest, TaskExecStderrConfig, TaskExecStdoutConfig},
    },
};

/// What is wrong with a start request.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadStart {
    #[error("start {id}: {error}")]
    Spec { id: ExecId, error: SpecError },
    #[error("start {id}: {field} {value} is not a value we know")]
    Enum { id: ExecId, field: &'static str, value: i32 },
}

/// When a request arrived, and from whom.
pub(super) struct Arrival {
    pub(super) received: Instant,
    pub(super) caller: Option<Caller>,
}

/// Reads a request whose task, container and id were checked.
pub(super) fn parse(
    id: ExecId,
    request: TaskExecStartRequest,
    Arrival { received, caller }: Arrival,
) -> Result<Start, BadStart> {
    let fingerprint = Sha256::digest(request.encode_to_vec()).into();
    let stdio = stdio(&id, &request)?;
    match spec(request, stdio) {
        Ok(spec) => Ok(Start { id, fingerprint, spec, received, caller }),
        Err(error) => Err(BadStart::Spec { id, error }),
    }
}

fn spec(request: TaskExecStartRequest, stdio: Stdio) -> Result<ExecSpec, SpecError> {
    let timeout = match request.timeout_secs {
        // Present and 0 is what `timeout=0` sends; its sender sets no deadline either.
        None | Some(0) => None,
        Some(seconds) => Some(Duration::from_secs(seconds.into())),
    };
    Ok(ExecSpec {
        env: environment(&request)?,
        argv: Argv::parse(request.command_args)?,
        workdir: request.workdir.as_deref().map(Workdir::parse).transpose()?,
        stdio,
        timeout,
    })
}

fn stdio(id: &ExecId, request: &TaskExecStartRequest) -> Result<Stdio, BadStart> {
    let unknown = |field, value| BadStart::Enum { id: id.clone(), field, value };
    let stdout = TaskExecStdoutConfig::try_from(request.stdout_config)
        .map_err(|_| unknown("stdout_config", request.stdout_config))?;
    let stderr = TaskExecStderrConfig::try_from(request.stderr_config)
        .map_err(|_| unknown("stderr_config", request.stderr_config))?;
    if let Some(pty) = &request.pty_info {
        return Ok(Stdio::Pty(WindowSize::new(pty.winsz_rows, pty.winsz_cols)));
    }
    Ok(Stdio::Pipes {
        stdin: Input::Pipe,
        stdout: match stdout {
            TaskExecStdoutConfig::Devnull => Sink::Null,
            TaskExecStdoutConfig::Pipe => Sink::Pipe,
        },
        stderr: match stderr {
            TaskExecStderrConfig::Devnull => ErrSink::Null,
            TaskExecStderrConfig::Pipe => ErrSink::Pipe,
            TaskExecStderrConfig::Stdout => ErrSink::Merged,
        },
    })
}

/// The terminal's own variables first, so that a caller who sets TERM has the last word; then in
/// the order of the contract.
fn environment(request: &TaskExecStartRequest) -> Result<Vec<EnvSource>, SpecError> {
    let inline = |variables: &mut dyn Iterator<Item = (&String, &String)>| {
        let parsed = variables.map(|(key, value)| EnvVar::parse(key, value));
        parsed.collect::<Result<_, _>>().map(EnvSource::Inline)
    };
    let mut sources = Vec::new();
    if let Some(pty) = &request.pty_info {
        sources.push(EnvSource::Inline(terminal(pty)?));
    }
    sources.push(inline(&mut request.env.iter())?);
    for id in &request.secret_ids {
        sources.push(EnvSource::Secret(SecretId::parse(id)?));
    }
    for source in &request.secret_sources {
        match &source.source {
            Some(Source::SecretId(id)) => sources.push(EnvSource::Secret(SecretId::parse(id)?)),
            Some(Source::Env(map)) => sources.push(inline(&mut map.contents.iter())?),
            None => {}
        }
    }
    Ok(sources)
}

fn terminal(pty: &PtyInfo) -> Result<Vec<EnvVar>, SpecError> {
    let term = if pty.env_term.is_empty() { "xterm-256color" } else { &pty.env_term };
    let mut variables = vec![EnvVar::parse("TERM", term)?];
    let others = [("COLORTERM", &pty.env_colorterm), ("TERM_PROGRAM", &pty.env_term_program)];
    for (key, value) in others {
        if !value.is_empty() {
            variables.push(EnvVar::parse(key, value)?);
        }
    }
    Ok(variables)
}
