//! How an exec ended, as a type: there is no number to guess from.

use std::fmt;

use super::failure::Kind;

/// What the kernel said about an ended process (wait(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It returned this code, 0-255.
    Code(u8),
    /// This signal ended it.
    Signal(i32),
}

/// Why a process that ended did so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// By itself, or by a signal that was not ours.
    Own,
    /// Its deadline passed and we killed its tree.
    Deadline,
    /// Somebody asked for its end.
    Cancelled,
    /// The agent ended.
    Shutdown,
}

/// The end of an exec that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// What the kernel said.
    pub status: ExitStatus,
    /// Why.
    pub cause: Cause,
}

/// The step of a start that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Looking up a named secret.
    Secret,
    /// Making pipes or a terminal.
    Descriptors,
    /// Making the process (clone(2)).
    Clone,
    /// Starting a session, taking the terminal (setsid(2), TIOCSCTTY).
    Session,
    /// Putting the descriptors in place (dup2(2)).
    Redirect,
    /// Setting a limit (setrlimit(2)).
    Limits,
    /// Changing groups and user (setgroups(2), setgid(2), setuid(2)).
    Identity,
    /// Entering the working directory (chdir(2)).
    Workdir,
    /// Becoming the program (execve(2)).
    Exec,
}

/// A start that failed. It is an outcome too: a repeat of the request gives the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartFailure {
    /// The step.
    pub stage: Stage,
    /// The value that the step was given: a program, a directory, a secret's id.
    pub value: String,
    /// What went wrong, in words: the errno's text or our own.
    pub reason: String,
    /// The errno, where the kernel gave one.
    pub errno: Option<i32>,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "look up secret",
            Self::Descriptors => "make pipes or terminal for",
            Self::Clone => "make a process for",
            Self::Session => "start a session for",
            Self::Redirect => "put descriptors in place for",
            Self::Limits => "set limits for",
            Self::Identity => "change user to",
            Self::Workdir => "enter working directory",
            Self::Exec => "execute",
        })
    }
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}: {}", self.stage, self.value, self.reason)
    }
}

impl std::error::Error for StartFailure {}

impl StartFailure {
    /// What the caller can do about it: a string that is too long is the request's fault, a lack of processes,
    /// memory or descriptors may pass, everything else stays as it is.
    pub fn kind(&self) -> Kind {
        match self.errno {
            Some(libc::E2BIG | libc::ENAMETOOLONG) => Kind::Invalid,
            Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE) => Kind::Exhausted,
            Some(_) | None => Kind::Refused,
        }
    }
}

impl ExitStatus {
    /// The code that a shell would show: 128+n for a signal.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => i32::from(code),
            Self::Signal(signal) => 128 + signal,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}
