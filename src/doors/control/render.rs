//! An exec as the wire shows it. Nothing here looks at the system: it is what the agent knows at
//! this moment.

use std::time::{Duration, Instant};

use super::{Control, wire};
use crate::{
    core::{
        ids::Stream,
        outcome::{ExitStatus, Reason, StartFailure},
        usage::Usage,
    },
    exec::{
        facts::Whole,
        handle::{Exec, State},
        input,
        measure::Looks,
    },
};

/// An exec as it is now.
pub(super) fn exec(_: &Control, exec: &Exec) -> wire::Exec {
    let facts = exec.facts();
    let command = facts.command();
    let state = exec.state();
    let (stdin_accepted, stdin) = exec.input().peek();
    let (attached, has_writer) = exec.attached();
    wire::Exec {
        exec_id: exec.id().to_string(),
        state: wire_state(state).into(),
        argv: command.arguments().map(String::from).collect(),
        argv_cut: command.whole() == Whole::Cut,
        workdir: facts.workdir().to_string(),
        user: facts.user().to_string(),
        terminal: terminal(exec),
        pid: exec.tree().and_then(|tree| tree.leader()).map(|pid| pid.as_raw_pid()),
        requested: Some(facts.requested().wall.into()),
        started: facts.started().map(|started| started.wall.into()),
        run_time: facts.run_time(Instant::now()).map(duration),
        deadline: facts.deadline().map(Into::into),
        ended: ended(exec),
        streams: [Stream::Stdout, Stream::Stderr].map(|stream| range(exec, stream)).to_vec(),
        stdin_accepted,
        // Before its process exists its input is not connected, and will be.
        stdin_closed: state != State::Starting && stdin == input::Ended::Yes,
        usage: facts.ended().and_then(|end| usage(&end.usage)),
        processes: None,
        attached,
        has_writer,
    }
}

/// The same with what a look at the system showed of it, if anybody looked.
pub(super) fn seen(control: &Control, exec: &Exec, looks: &Looks) -> wire::Exec {
    let shown = self::exec(control, exec);
    let Some(look) = looks.of(exec) else { return shown };
    let used = match exec.facts().ended() {
        None => look.usage,
        // What it used up is known for good; others of its tree may hold memory still.
        Some(end) if look.processes > 0 => {
            Usage { memory_bytes: look.usage.memory_bytes, ..end.usage }
        }
        Some(end) => end.usage,
    };
    wire::Exec { processes: Some(look.processes), usage: usage(&used), ..shown }
}

/// How an exec ended, once it has.
pub(super) fn ended(exec: &Exec) -> Option<wire::Ended> {
    let end = exec.facts().ended()?;
    let cancelled_by = exec.cancelled_by().unwrap_or_default().to_string();
    let common = wire::Ended {
        time: Some(end.moment.wall.into()),
        run_time: exec.facts().run_time(end.moment.at).map(duration),
        cancelled_by,
        ..wire::Ended::default()
    };
    match exec.poll() {
        Ok(None) => None,
        Ok(Some(outcome)) => {
            let (exit_code, signal) = match outcome.status {
                ExitStatus::Code(code) => (Some(code.into()), None),
                ExitStatus::Signal(signal) => (None, Some(signal)),
            };
            let reason = reason(outcome.reason(end.shortage)).into();
            Some(wire::Ended { reason, exit_code, signal, ..common })
        }
        Err(failure) => Some(wire::Ended {
            reason: reason(Reason::StartFailure).into(),
            run_time: None,
            start_failure: Some(start_failure(&failure)),
            ..common
        }),
    }
}

fn wire_state(state: State) -> wire::ExecState {
    match state {
        State::Starting => wire::ExecState::Starting,
        State::Running => wire::ExecState::Running,
        State::Lingering => wire::ExecState::Lingering,
        State::Ended => wire::ExecState::Ended,
        State::Failed => wire::ExecState::Failed,
    }
}

fn reason(reason: Reason) -> wire::EndReason {
    match reason {
        Reason::Exited => wire::EndReason::Exited,
        Reason::Signaled => wire::EndReason::Signaled,
        Reason::Deadline => wire::EndReason::Deadline,
        Reason::Cancelled => wire::EndReason::Cancelled,
        Reason::Shutdown => wire::EndReason::Shutdown,
        Reason::OutOfMemory => wire::EndReason::OutOfMemory,
        Reason::OutOfMemoryLikely => wire::EndReason::OutOfMemoryLikely,
        Reason::StartFailure => wire::EndReason::StartFailure,
    }
}

fn start_failure(failure: &StartFailure) -> wire::StartFailure {
    wire::StartFailure {
        stage: failure.stage.word().to_string(),
        errno: failure.errno,
        message: failure.to_string(),
    }
}

/// The size of its terminal.
fn terminal(exec: &Exec) -> Option<wire::TerminalSize> {
    let size = exec.window()?;
    Some(wire::TerminalSize { rows: size.rows().into(), columns: size.columns().into() })
}

fn range(exec: &Exec, stream: Stream) -> wire::StreamRange {
    let range = exec.output(stream).range();
    let stream = match stream {
        Stream::Stdout => wire::OutputStream::Stdout,
        Stream::Stderr => wire::OutputStream::Stderr,
    };
    wire::StreamRange {
        stream: stream.into(),
        first_offset: range.first,
        end_offset: range.end,
        dropped_bytes: range.dropped,
        ended: range.ended,
    }
}

/// What was used up; absent where nothing is known.
fn usage(usage: &Usage) -> Option<wire::Usage> {
    (*usage != Usage::default()).then(|| wire::Usage {
        memory_peak_bytes: usage.memory_peak_bytes,
        memory_bytes: usage.memory_bytes,
        user_time: usage.user_time.map(duration),
        system_time: usage.system_time.map(duration),
        read_bytes: usage.read_bytes,
        written_bytes: usage.written_bytes,
        major_faults: usage.major_faults,
    })
}

/// A duration on the wire; what is longer than it can hold is the longest.
pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    let longest = prost_types::Duration { seconds: i64::MAX, nanos: 999_999_999 };
    duration.try_into().unwrap_or(longest)
}
