//! The container's main command, run by the agent as one exec that no client can name.

use std::sync::Arc;

use super::config::{Entrypoint, EntrypointStdin};
use crate::{
    core::{
        ids::{ExecId, ExecIdError},
        outcome::{ExitStatus, Stage, StartFailure},
        spec::{Argv, ErrSink, ExecSpec, Input, Sink, SpecError, Stdio},
    },
    exec::{engine::Engine, handle::Exec},
};

/// The name that the entrypoint has in the log.
const NAME: &str = "entrypoint";
/// The exit code for a command that does not exist, as in a shell (POSIX, XCU 2.8.2).
const NOT_FOUND: u8 = 127;
/// The exit code for a command that cannot be executed.
const NOT_EXECUTABLE: u8 = 126;

/// Why there is no entrypoint although one was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum EntrypointError {
    #[error("start the entrypoint: {0}")]
    Spec(#[from] SpecError),
    #[error("start the entrypoint: {0}")]
    Id(#[from] ExecIdError),
}

/// Starts it, if there is one.
pub(super) fn start(
    engine: &Arc<Engine>,
    entrypoint: Option<&Entrypoint>,
) -> Result<Option<Arc<Exec>>, EntrypointError> {
    let Some(entrypoint) = entrypoint else { return Ok(None) };
    let stdin = match entrypoint.stdin {
        EntrypointStdin::Null => Input::Null,
        EntrypointStdin::Rpc => Input::Pipe,
    };
    let spec = ExecSpec {
        argv: Argv::from_os(entrypoint.command.clone())?,
        env: Vec::new(),
        workdir: None,
        stdio: Stdio::Pipes { stdin, stdout: Sink::Pipe, stderr: ErrSink::Pipe },
        timeout: None,
    };
    Ok(Some(engine.launch(ExecId::parse(NAME)?, spec)))
}

/// The exit code that the agent passes on: the command's, or what a shell says of one that
/// could not start.
pub(super) async fn code(exec: &Exec) -> u8 {
    match exec.ended().await {
        Ok(outcome) => match outcome.status {
            ExitStatus::Code(code) => code,
            status @ ExitStatus::Signal(_) => u8::try_from(status.shell_code()).unwrap_or(u8::MAX),
        },
        Err(failure) => {
            tracing::error!("the entrypoint did not start: {failure}");
            start_code(&failure)
        }
    }
}

fn start_code(failure: &StartFailure) -> u8 {
    let missing = matches!(failure.errno, Some(libc::ENOENT | libc::ENOTDIR));
    if failure.stage == Stage::Exec && missing { NOT_FOUND } else { NOT_EXECUTABLE }
}
