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

/// Why an exec ended, whether or not it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It returned by itself.
    Exited,
    /// A signal that was not ours ended it.
    Signaled,
    /// Its deadline passed.
    Deadline,
    /// Somebody asked for its end.
    Cancelled,
    /// The agent ended.
    Shutdown,
    /// The kernel killed it for want of memory.
    OutOfMemory,
    /// The same, as far as can be known.
    OutOfMemoryLikely,
    /// It could not be started.
    StartFailure,
}

/// What is known about a want of memory at the moment when a process was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// There was none.
    None,
    /// The kernel killed some process of the container for it.
    Near,
    /// The kernel killed a process of this exec for it.
    Own,
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

impl Outcome {
    /// Why it ended; a KILL that was not ours may have been the kernel's, for want of memory.
    pub fn reason(self, shortage: Shortage) -> Reason {
        match (self.cause, self.status, shortage) {
            (Cause::Own, ExitStatus::Code(_), _) => Reason::Exited,
            (Cause::Own, ExitStatus::Signal(libc::SIGKILL), Shortage::Own) => Reason::OutOfMemory,
            (Cause::Own, ExitStatus::Signal(libc::SIGKILL), Shortage::Near) => {
                Reason::OutOfMemoryLikely
            }
            (Cause::Own, ExitStatus::Signal(_), _) => Reason::Signaled,
            (Cause::Deadline, _, _) => Reason::Deadline,
            (Cause::Cancelled, _, _) => Reason::Cancelled,
            (Cause::Shutdown, _, _) => Reason::Shutdown,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exited => "exited",
            Self::Signaled => "signaled",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::Shutdown => "shutdown",
            Self::OutOfMemory => "out of memory",
            Self::OutOfMemoryLikely => "out of memory (likely)",
            Self::StartFailure => "start failure",
        })
    }
}

impl Stage {
    /// One word for it, for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Descriptors => "descriptors",
            Self::Clone => "clone",
            Self::Session => "session",
            Self::Redirect => "redirect",
            Self::Limits => "limits",
            Self::Identity => "identity",
            Self::Workdir => "workdir",
            Self::Exec => "exec",
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kill_that_was_not_ours_is_laid_to_a_want_of_memory() {
        let reason = |cause, status, shortage| Outcome { status, cause }.reason(shortage);
        let (kill, term) = (ExitStatus::Signal(9), ExitStatus::Signal(15));
        let code = ExitStatus::Code(137);
        for (shortage, killed) in [
            (Shortage::None, Reason::Signaled),
            (Shortage::Near, Reason::OutOfMemoryLikely),
            (Shortage::Own, Reason::OutOfMemory),
        ] {
            assert_eq!(reason(Cause::Own, kill, shortage), killed);
            assert_eq!(reason(Cause::Own, term, shortage), Reason::Signaled);
            assert_eq!(reason(Cause::Own, code, shortage), Reason::Exited);
            assert_eq!(reason(Cause::Deadline, kill, shortage), Reason::Deadline);
            assert_eq!(reason(Cause::Cancelled, kill, shortage), Reason::Cancelled);
            assert_eq!(reason(Cause::Shutdown, kill, shortage), Reason::Shutdown);
        }
    }
}
