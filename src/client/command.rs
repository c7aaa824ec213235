//! What a client asks an agent to run.

use std::{fmt::Write, time::Duration};

use crate::wire::modal::{
    client::{PtyInfo, pty_info::PtyType},
    task_command_router::{TaskExecStartRequest, TaskExecStderrConfig, TaskExecStdoutConfig},
};

/// A command. Start it under an id; the same id and the same command again is the same exec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables on top of the agent's own, later wins.
    pub env: Vec<(String, String)>,
    /// Where it starts: an absolute path; the agent's default if absent.
    pub workdir: Option<String>,
    /// How long it may run; whole seconds, rounded up.
    pub timeout: Option<Duration>,
    /// Where its standard output goes.
    pub stdout: Output,
    /// Where its standard error goes.
    pub stderr: Output,
    /// A terminal for it; then everything it prints is its standard output.
    pub terminal: Option<Terminal>,
}

/// Where one of a command's outputs goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Output {
    /// It is kept by the agent and can be read.
    #[default]
    Kept,
    /// /dev/null.
    Null,
}

/// A terminal as the command shall see it. Empty names and zeros mean the agent's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terminal {
    /// Lines.
    pub rows: u32,
    /// Characters a line.
    pub columns: u32,
    /// TERM.
    pub term: String,
    /// COLORTERM.
    pub colorterm: String,
    /// TERM_PROGRAM.
    pub program: String,
}

impl Command {
    /// A command without anything special.
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { argv: argv.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    pub(super) fn request(&self, task_id: &str, exec_id: &str) -> TaskExecStartRequest {
        let stdout = match self.stdout {
            Output::Kept => TaskExecStdoutConfig::Pipe,
            Output::Null => TaskExecStdoutConfig::Devnull,
        };
        let stderr = match self.stderr {
            Output::Kept => TaskExecStderrConfig::Pipe,
            Output::Null => TaskExecStderrConfig::Devnull,
        };
        TaskExecStartRequest {
            task_id: task_id.to_string(),
            exec_id: exec_id.to_string(),
            command_args: self.argv.clone(),
            stdout_config: stdout.into(),
            stderr_config: stderr.into(),
            timeout_secs: self.timeout.map(seconds),
            workdir: self.workdir.clone(),
            env: self.env.iter().cloned().collect(),
            pty_info: self.terminal.as_ref().map(Terminal::info),
            ..TaskExecStartRequest::default()
        }
    }
}

impl Terminal {
    fn info(&self) -> PtyInfo {
        PtyInfo {
            enabled: true,
            winsz_rows: self.rows,
            winsz_cols: self.columns,
            env_term: self.term.clone(),
            env_colorterm: self.colorterm.clone(),
            env_term_program: self.program.clone(),
            pty_type: PtyType::Shell.into(),
            no_terminate_on_idle_stdin: true,
        }
    }
}

/// An id that nobody else has: 32 hexadecimal digits.
pub fn random_id() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("Linux has randomness once it runs programs");
    bytes.iter().fold(String::new(), |mut id, byte| {
        write!(id, "{byte:02x}").expect("a string takes everything");
        id
    })
}

fn seconds(time: Duration) -> u32 {
    let up = u64::from(time.subsec_nanos() > 0);
    u32::try_from(time.as_secs().saturating_add(up)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_never_shortened() {
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_secs(2)), 2);
        assert_eq!(seconds(Duration::MAX), u32::MAX);
    }

    #[test]
    fn a_request_says_what_the_command_does() {
        let mut command = Command::new(["ls", "-l"]);
        command.env = vec![("A".into(), "1".into()), ("A".into(), "2".into())];
        command.stderr = Output::Null;
        let request = command.request("task", "id");
        assert_eq!(request.command_args, ["ls", "-l"]);
        assert_eq!((request.stdout_config, request.stderr_config), (1, 0));
        assert_eq!(request.env["A"], "2");
        assert_eq!((request.timeout_secs, request.pty_info), (None, None));
    }

    #[test]
    fn ids_differ() {
        assert_ne!(random_id(), random_id());
        assert_eq!(random_id().len(), 32);
    }
}
