//! One line in the log for every start and every end of an exec, at level info and with the target
//! `audit`: which exec, which program, for whom, why it ended. Never its arguments, environment,
//! input or output.

use super::handle::Exec;
use crate::core::{
    caller::Caller,
    limits::PROGRAM_CHARS_MAX,
    outcome::{ExitStatus, StartFailure},
};

/// Who is named where no client asked: for the container's main command, and for what looks
/// whether it is ready.
const AGENT: &str = "agent";

/// Who asked for an exec, as the log names it.
struct Names<'a> {
    subject: &'a str,
    peer: &'a str,
}

impl<'a> Names<'a> {
    fn of(caller: Option<&'a Caller>) -> Self {
        match caller {
            Some(caller) => Self { subject: &caller.subject, peer: &caller.peer },
            None => Self { subject: AGENT, peer: AGENT },
        }
    }
}

/// Its process exists.
pub(super) fn started(exec: &Exec, caller: Option<&Caller>) {
    let Names { subject, peer } = Names::of(caller);
    let pid = exec.tree().and_then(|tree| tree.leader()).map_or(0, |pid| pid.as_raw_pid());
    let program = program(exec);
    tracing::info!(target: "audit", exec = %exec.id(), program, subject, peer, pid, "exec started");
}

/// It could not be started.
pub(super) fn failed(exec: &Exec, caller: Option<&Caller>, failure: &StartFailure) {
    let Names { subject, peer } = Names::of(caller);
    // Not the failure's own words: they repeat what the request named.
    let (stage, errno) = (failure.stage.word(), failure.errno);
    let program = program(exec);
    tracing::info!(
        target: "audit", exec = %exec.id(), program, subject, peer, stage, errno,
        "exec could not be started"
    );
}

/// Its process has ended.
pub(super) fn ended(exec: &Exec, caller: Option<&Caller>) {
    let (Ok(Some(outcome)), Some(reason)) = (exec.poll(), exec.reason()) else { return };
    let Names { subject, peer } = Names::of(caller);
    let (code, signal) = match outcome.status {
        ExitStatus::Code(code) => (Some(code), None),
        ExitStatus::Signal(signal) => (None, Some(signal)),
    };
    let (program, cancelled_by) = (program(exec), exec.cancelled_by());
    tracing::info!(
        target: "audit", exec = %exec.id(), program, subject, peer, %reason, code, signal,
        cancelled_by, "exec ended"
    );
}

/// The program's name, short enough for a line.
fn program(exec: &Exec) -> &str {
    let program = exec.facts().command().program();
    let end = program.char_indices().nth(PROGRAM_CHARS_MAX);
    &program[..end.map_or(program.len(), |(end, _)| end)]
}
