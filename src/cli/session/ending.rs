//! Ending an exec from before its terminal, and what its end means for our exit code.

use crate::{
    cli::failure::EXIT_OWN,
    client::{Client, ClientError},
    wire::doorward::v1 as wire,
};

/// Ends an exec as a terminal does that goes away: an interactive shell ignores TERM, but not that. Whoever
/// stays all the same gets KILL after the agent's grace. Returns what could not be ended.
pub(super) async fn end(
    client: Client,
    exec_id: String,
) -> Result<Vec<wire::LeftProcess>, ClientError> {
    let control = client.control();
    let cancel = wire::CancelExecRequest { exec_id: exec_id.clone(), ..Default::default() };
    let hang_up = wire::SignalExecRequest {
        exec_id,
        signal: libc::SIGHUP,
        target: wire::SignalTarget::Tree.into(),
        ..Default::default()
    };
    // Where the cancel was quicker there is nobody left to hang up on.
    let (answer, _) = tokio::join!(control.cancel_exec(cancel), control.signal_exec(hang_up));
    answer.map(|answer| answer.left)
}

/// The exit code that says how an exec ended.
pub(super) fn code(ended: &wire::Ended) -> u8 {
    match (ended.exit_code, ended.signal) {
        (Some(code), _) => u8::try_from(code).unwrap_or(EXIT_OWN),
        (None, Some(signal)) => u8::try_from(128 + signal).unwrap_or(EXIT_OWN),
        (None, None) => EXIT_OWN,
    }
}

/// Processes in words: `sleep (12, frozen), cat (13)`.
pub(super) fn names(left: &[wire::LeftProcess]) -> String {
    let name = |process: &wire::LeftProcess| match process.reason.as_str() {
        "" => format!("{} ({})", process.name, process.pid),
        reason => format!("{} ({}, {reason})", process.name, process.pid),
    };
    left.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_execs_own_or_says_that_there_is_none() {
        let ended = |exit_code, signal| wire::Ended { exit_code, signal, ..Default::default() };
        assert_eq!(code(&ended(Some(7), None)), 7);
        assert_eq!(code(&ended(None, Some(9))), 137);
        assert_eq!(code(&ended(None, None)), EXIT_OWN);
    }

    #[test]
    fn processes_are_named() {
        let left = |pid, name: &str, reason: &str| wire::LeftProcess {
            pid,
            name: name.into(),
            reason: reason.into(),
        };
        let all = [left(12, "sleep", "frozen"), left(13, "cat", "")];
        assert_eq!(names(&all), "sleep (12, frozen), cat (13)");
    }
}
