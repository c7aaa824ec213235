//! States and ends in words: long ones for people, short ones for a column, stable ones for JSON.

use super::{
    colour::Tone,
    human::{More, command, printable},
};
use crate::{
    cli::signals,
    wire::doorward::v1::{self as wire, EndReason, ExecState, OutputStream},
};

/// An exec's state; stable, it is in JSON too.
pub(in crate::cli) fn state(exec: &wire::Exec) -> &'static str {
    match exec.state() {
        ExecState::Unspecified => "unknown",
        ExecState::Starting => "starting",
        ExecState::Running => "running",
        ExecState::Lingering => "lingering",
        ExecState::Ended => "ended",
        ExecState::Failed => "failed",
    }
}

/// How an exec's state looks.
pub(in crate::cli) fn state_tone(exec: &wire::Exec) -> Tone {
    match exec.state() {
        ExecState::Starting | ExecState::Running => Tone::Good,
        ExecState::Lingering => Tone::Doubtful,
        ExecState::Ended => Tone::Faint,
        ExecState::Failed => Tone::Bad,
        ExecState::Unspecified => Tone::Plain,
    }
}

/// Whether an exec has ended and its output too.
pub(in crate::cli) fn is_over(exec: &wire::Exec) -> bool {
    match exec.state() {
        ExecState::Ended | ExecState::Failed => true,
        ExecState::Unspecified
        | ExecState::Starting
        | ExecState::Running
        | ExecState::Lingering => false,
    }
}

/// Why an exec ended, as JSON has it.
pub(in crate::cli) fn reason_name(ended: &wire::Ended) -> &'static str {
    match ended.reason() {
        EndReason::Unspecified => "unknown",
        EndReason::Exited => "exited",
        EndReason::Signaled => "signaled",
        EndReason::Deadline => "deadline",
        EndReason::Cancelled => "cancelled",
        EndReason::Shutdown => "shutdown",
        EndReason::OutOfMemory => "out_of_memory",
        EndReason::OutOfMemoryLikely => "out_of_memory_likely",
        EndReason::StartFailure => "start_failure",
    }
}

/// Why an exec ended, in a column.
pub(in crate::cli) fn reason_short(ended: &wire::Ended) -> String {
    match ended.reason() {
        EndReason::Unspecified => "?".into(),
        EndReason::Exited => format!("exit {}", ended.exit_code.unwrap_or_default()),
        EndReason::Signaled => {
            format!("signal {}", signals::shown(ended.signal.unwrap_or_default()))
        }
        EndReason::Deadline => "deadline".into(),
        EndReason::Cancelled => "cancelled".into(),
        EndReason::Shutdown => "agent ended".into(),
        EndReason::OutOfMemory => "out of memory".into(),
        EndReason::OutOfMemoryLikely => "out of memory?".into(),
        EndReason::StartFailure => "not started".into(),
    }
}

/// Why an exec ended, in a sentence's worth of words.
pub(in crate::cli) fn reason(ended: &wire::Ended) -> String {
    match ended.reason() {
        EndReason::Unspecified => "ended for a reason that this version does not know".into(),
        EndReason::Exited => status(ended),
        EndReason::Signaled => status(ended),
        EndReason::Deadline => "killed: its deadline passed".into(),
        EndReason::Cancelled if ended.cancelled_by.is_empty() => {
            format!("cancelled ({})", status(ended))
        }
        EndReason::Cancelled => {
            format!("cancelled by {} ({})", printable(&ended.cancelled_by), status(ended))
        }
        EndReason::Shutdown => "ended with the agent".into(),
        EndReason::OutOfMemory => "killed by the kernel: out of memory".into(),
        EndReason::OutOfMemoryLikely => {
            "killed by the kernel: likely out of memory (the container was)".into()
        }
        EndReason::StartFailure => match &ended.start_failure {
            Some(failure) => format!("could not be started: failed to {}", start_failure(failure)),
            None => "could not be started".into(),
        },
    }
}

/// How good the end of an exec is.
pub(in crate::cli) fn reason_tone(ended: &wire::Ended) -> Tone {
    match ended.reason() {
        EndReason::Exited if ended.exit_code == Some(0) => Tone::Good,
        EndReason::Exited | EndReason::Cancelled | EndReason::Shutdown => Tone::Doubtful,
        EndReason::Signaled
        | EndReason::Deadline
        | EndReason::OutOfMemory
        | EndReason::OutOfMemoryLikely
        | EndReason::StartFailure => Tone::Bad,
        EndReason::Unspecified => Tone::Plain,
    }
}

/// An exec's command, as one would type it.
pub(in crate::cli) fn command_of(exec: &wire::Exec) -> String {
    command(&exec.argv, if exec.argv_cut { More::Cut } else { More::Whole })
}

/// One of the outputs; stable, it is in JSON too.
pub(in crate::cli) fn stream(stream: OutputStream) -> &'static str {
    match stream {
        OutputStream::Unspecified => "unknown",
        OutputStream::Stdout => "stdout",
        OutputStream::Stderr => "stderr",
    }
}

fn status(ended: &wire::Ended) -> String {
    match (ended.exit_code, ended.signal) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("killed by signal {}", signals::shown(signal)),
        (None, None) => "no process ran".into(),
    }
}

fn start_failure(failure: &wire::StartFailure) -> String {
    match failure.message.is_empty() {
        true => format!("do the step {:?}", printable(&failure.stage)),
        false => printable(&failure.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(reason: EndReason, exit_code: Option<i32>, signal: Option<i32>) -> wire::Ended {
        wire::Ended { reason: reason.into(), exit_code, signal, ..wire::Ended::default() }
    }

    #[test]
    fn ends_in_words() {
        let cases = [
            (ended(EndReason::Exited, Some(3), None), "exit 3", "exited with code 3"),
            (ended(EndReason::Signaled, None, Some(11)), "signal SEGV", "killed by signal SEGV"),
            (ended(EndReason::Deadline, None, Some(9)), "deadline", "killed: its deadline passed"),
            (
                ended(EndReason::Cancelled, Some(0), None),
                "cancelled",
                "cancelled (exited with code 0)",
            ),
            (
                ended(EndReason::OutOfMemoryLikely, None, Some(9)),
                "out of memory?",
                "killed by the kernel: likely out of memory (the container was)",
            ),
            (ended(EndReason::StartFailure, None, None), "not started", "could not be started"),
        ];
        for (ended, short, long) in cases {
            let seen = (reason_short(&ended), reason(&ended));
            assert_eq!(seen, (short.to_string(), long.to_string()));
        }
    }

    #[test]
    fn strangers_texts_are_made_harmless() {
        let mut cancelled = ended(EndReason::Cancelled, None, Some(15));
        cancelled.cancelled_by = "\x1b[2Jx".into();
        assert_eq!(reason(&cancelled), r"cancelled by \u{1b}[2Jx (killed by signal TERM)");
        let mut failed = ended(EndReason::StartFailure, None, None);
        let message = "execute \"no\x07\": no such file".to_string();
        failed.start_failure = Some(wire::StartFailure { message, ..Default::default() });
        let shown = r#"could not be started: failed to execute "no\u{7}": no such file"#;
        assert_eq!(reason(&failed), shown);
    }
}
