//! How our own commands fail: what is said, and the exit code that goes with it.
//!
//! Scripts tell three things apart by the code: what a command that ran returned, a "no" of the
//! agent about what was asked for, and a failure to ask at all.

use std::{
    fmt,
    io::{self, Write},
};

use anyhow::anyhow;
use tonic::Code;

use super::{show::human::printable, stop::Stopped};
use crate::client::ClientError;

/// The agent's answer is no: there is no such exec, or its state forbids what was asked for.
pub const EXIT_NO: u8 = 1;
/// We could not ask, or did not understand the answer.
pub const EXIT_OWN: u8 = 125;
/// Nobody takes our output: 128 and SIGPIPE, as a shell has it.
pub const EXIT_NO_READER: u8 = 128 + 13;

/// What every command's help says of its exit code. It stands behind what is special to it.
pub(super) const EXIT_HELP: &str = "Exit code: 0; 1 if there is no such exec or its state forbids it; 125 if the agent could not \
     be asked.";

/// Whoever read our output has left. Nothing is said about it, as with any program.
#[derive(Debug)]
pub(super) struct NoReader;

impl fmt::Display for NoReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write the output: nobody reads it")
    }
}

impl std::error::Error for NoReader {}

/// The agent did what it could, and the answer is no all the same.
#[derive(Debug)]
pub(super) struct No(pub(super) String);

impl fmt::Display for No {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for No {}

/// An error of writing our own output.
pub(super) fn output(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => NoReader.into(),
        _ => anyhow!("write the output: {error}"),
    }
}

/// Turns what the library says into an error of a command of ours. A refusal says what is so and not what
/// failed: that is put before it.
pub(super) fn asking(what: impl fmt::Display) -> impl FnOnce(ClientError) -> anyhow::Error {
    move |error| match error {
        ClientError::Refused(_) => anyhow::Error::from(error).context(what.to_string()),
        ClientError::Address(_)
        | ClientError::File { .. }
        | ClientError::Connect { .. }
        | ClientError::Lost { .. }
        | ClientError::Deadline
        | ClientError::Token(_)
        | ClientError::Dropped { .. }
        | ClientError::NoControl
        | ClientError::NoImages
        | ClientError::Protocol(_)
        | ClientError::Source(_) => error.into(),
    }
}

/// The same of a start, whose refusals name the step that failed, but where there is no such task.
pub(super) fn starting(error: &ClientError) -> anyhow::Error {
    match error {
        ClientError::Refused(status) if status.code() == Code::NotFound => {
            anyhow::anyhow!("start it: {error}; --task-id names the agent's task")
        }
        _ => anyhow::anyhow!("{error}"),
    }
}

/// Says on standard error what went wrong, and returns the exit code for it.
pub fn told(error: &anyhow::Error) -> u8 {
    if error.is::<NoReader>() {
        return EXIT_NO_READER;
    }
    // Who stopped us knows it.
    if let Some(Stopped(code)) = error.downcast_ref() {
        return *code;
    }
    // The agent may repeat what a command of the container made up.
    // Who closed our standard error does not want to read it.
    let _ = writeln!(io::stderr(), "doorward: failed to {}", printable(&format!("{error:#}")));
    code(error)
}

/// The exit code that goes with an error.
fn code(error: &anyhow::Error) -> u8 {
    if error.is::<No>() {
        return EXIT_NO;
    }
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused(status)) => match status.code() {
            Code::NotFound | Code::FailedPrecondition | Code::OutOfRange => EXIT_NO,
            _ => EXIT_OWN,
        },
        Some(_) | None => EXIT_OWN,
    }
}

/// What came of several things done one after the other, each of which may fail by itself.
#[derive(Debug, Default)]
pub(super) struct Tally(u8);

impl Tally {
    /// Takes one result. A failure is told at once; an error of our own output ends everything.
    pub(super) fn take(&mut self, result: anyhow::Result<()>) -> anyhow::Result<()> {
        match result {
            Err(error) if error.is::<NoReader>() => Err(error),
            Err(error) => {
                self.0 = self.0.max(told(&error));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// The exit code: that of the worst failure.
    pub(super) fn code(&self) -> u8 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    fn refused(status: Status) -> anyhow::Error {
        asking("look at x")(ClientError::Refused(status))
    }

    #[test]
    fn a_no_is_not_a_failure_to_ask() {
        assert_eq!(code(&refused(Status::not_found("no exec x here"))), EXIT_NO);
        assert_eq!(code(&refused(Status::failed_precondition("it runs"))), EXIT_NO);
        assert_eq!(code(&refused(Status::unauthenticated("no token"))), EXIT_OWN);
        assert_eq!(code(&No("end x: it is frozen".into()).into()), EXIT_NO);
        assert_eq!(code(&ClientError::NoControl.into()), EXIT_OWN);
        assert_eq!(code(&anyhow!("anything")), EXIT_OWN);
    }

    #[test]
    fn a_reader_that_left_is_no_mistake() {
        let error = output(io::ErrorKind::BrokenPipe.into());
        assert_eq!(told(&error), 141);
        assert!(Tally::default().take(Err(error)).is_err());
    }

    #[test]
    fn the_worst_failure_counts() {
        let mut tally = Tally::default();
        tally.take(Ok(())).unwrap();
        assert_eq!(tally.code(), 0);
        tally.take(Err(anyhow!("ask"))).unwrap();
        tally.take(Err(refused(Status::not_found("no exec x here")))).unwrap();
        assert_eq!(tally.code(), EXIT_OWN);
    }
}
