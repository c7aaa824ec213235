//! What an exec was asked to be. A value of these types is valid because it exists: the doors
//! parse, nothing behind them checks again.

use std::{
    ffi::{CStr, CString},
    fmt,
    time::Duration,
};

use super::limits::SPEC_STRINGS_MAX;

/// The program that public clients start for each call of their file API. Where no such file exists, the
/// agent's own binary is run in its place; by this name it knows that it is meant.
pub const FILE_TOOL: &CStr = c"/__modal/.bin/modal-sandbox-fs-tools";

/// One run of a program, as asked for.
#[derive(Debug, Clone)]
pub struct ExecSpec {
    /// The program and its arguments.
    pub argv: Argv,
    /// Where its environment comes from, later wins.
    pub env: Vec<EnvSource>,
    /// Where it starts; the agent's default if absent.
    pub workdir: Option<Workdir>,
    /// What its standard streams are.
    pub stdio: Stdio,
    /// How long it may run, counted from the receipt of the request.
    pub timeout: Option<Duration>,
}

/// A command: at least one argument, none with a NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argv(Vec<CString>);

/// An absolute path without NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workdir(CString);

/// One environment variable: its key matches `[A-Za-z_][A-Za-z0-9_]*`, its value has no NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvVar {
    key: String,
    value: String,
}

/// A part of an exec's environment.
#[derive(Debug, Clone)]
pub enum EnvSource {
    /// Variables that came with the request.
    Inline(Vec<EnvVar>),
    /// A secret, by an id that is yet to be looked up.
    Secret(SecretId),
}

/// The id of a named secret: `[A-Za-z0-9_-]{1,128}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretId(String);

/// What an exec's standard streams are connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// Pipes, or nothing.
    Pipes {
        /// Where input comes from.
        stdin: Input,
        /// Where standard output goes.
        stdout: Sink,
        /// Where standard error goes.
        stderr: ErrSink,
    },
    /// A terminal for all three; its output is `stdout`, `stderr` is empty.
    Pty(WindowSize),
}

/// Where an exec's input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// /dev/null.
    Null,
    /// A pipe that clients write.
    Pipe,
}

/// Where standard output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// /dev/null; the stream is empty and ends at the exit.
    Null,
    /// A spool that clients read.
    Pipe,
}

/// Where standard error goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrSink {
    /// /dev/null.
    Null,
    /// A spool of its own.
    Pipe,
    /// Where standard output goes.
    Merged,
}

/// The size of a terminal; neither is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    rows: u16,
    columns: u16,
}

/// What is wrong with a spec, naming the value that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpecError {
    /// There is no command.
    EmptyArgv,
    /// The command's name is empty.
    EmptyProgram,
    /// More strings than any kernel takes.
    TooManyStrings {
        /// How many there were.
        found: usize,
    },
    /// A string has a NUL byte.
    Nul {
        /// Which string.
        what: String,
    },
    /// An environment key does not match `[A-Za-z_][A-Za-z0-9_]*`.
    EnvKey {
        /// The key.
        key: String,
    },
    /// The working directory does not start with `/`.
    RelativeWorkdir {
        /// The directory.
        path: String,
    },
    /// A secret's id does not match `[A-Za-z0-9_-]{1,128}`.
    SecretId {
        /// The id.
        id: String,
    },
}

impl Argv {
    /// Takes a command as a client sent it.
    pub fn parse(args: Vec<String>) -> Result<Self, SpecError> {
        match args.first().map(String::is_empty) {
            None => return Err(SpecError::EmptyArgv),
            Some(true) => return Err(SpecError::EmptyProgram),
            Some(false) => {}
        }
        if args.len() > SPEC_STRINGS_MAX {
            return Err(SpecError::TooManyStrings { found: args.len() });
        }
        let args = args.into_iter().enumerate().map(|(index, arg)| {
            CString::new(arg).map_err(|_| SpecError::Nul { what: format!("argument {index}") })
        });
        args.collect::<Result<_, _>>().map(Self)
    }

    /// Takes a command as another program handed it to us: its strings have no NUL.
    pub fn from_os(args: Vec<std::ffi::OsString>) -> Result<Self, SpecError> {
        use std::os::unix::ffi::OsStringExt;
        match args.first().map(|program| program.is_empty()) {
            None => return Err(SpecError::EmptyArgv),
            Some(true) => return Err(SpecError::EmptyProgram),
            Some(false) => {}
        }
        let args = args.into_iter().enumerate().map(|(index, arg)| {
            let what = || SpecError::Nul { what: format!("argument {index}") };
            CString::new(arg.into_vec()).map_err(|_| what())
        });
        args.collect::<Result<_, _>>().map(Self)
    }

    /// The program's name, as given.
    pub fn program(&self) -> &CString {
        &self.0[0]
    }

    /// All arguments, the program's name first.
    pub fn as_slice(&self) -> &[CString] {
        &self.0
    }
}

impl Workdir {
    /// Takes an absolute path.
    pub fn parse(path: &str) -> Result<Self, SpecError> {
        if !path.starts_with('/') {
            return Err(SpecError::RelativeWorkdir { path: path.to_string() });
        }
        let path =
            CString::new(path).map_err(|_| SpecError::Nul { what: "working directory".into() })?;
        Ok(Self(path))
    }

    /// The path.
    pub fn as_c_str(&self) -> &CString {
        &self.0
    }
}

impl EnvVar {
    /// Takes a variable.
    pub fn parse(key: &str, value: &str) -> Result<Self, SpecError> {
        let head = |c: char| c.is_ascii_alphabetic() || c == '_';
        let good = key.starts_with(head) && key.chars().all(|c| head(c) || c.is_ascii_digit());
        if !good {
            return Err(SpecError::EnvKey { key: key.to_string() });
        }
        if value.contains('\0') {
            return Err(SpecError::Nul { what: format!("value of {key}") });
        }
        Ok(Self { key: key.to_string(), value: value.to_string() })
    }

    /// Its name.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its value.
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl SecretId {
    /// Takes an id.
    pub fn parse(id: &str) -> Result<Self, SpecError> {
        let good = !id.is_empty()
            && id.len() <= super::limits::SECRET_ID_BYTES_MAX
            && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if good {
            Ok(Self(id.to_string()))
        } else {
            Err(SpecError::SecretId { id: id.to_string() })
        }
    }

    /// The id as text; it has no `/` and no `.`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl WindowSize {
    /// Takes a size as clients send it: 0 means unknown and becomes 24 rows, 80 columns.
    pub fn new(rows: u32, columns: u32) -> Self {
        let or = |n: u32, default: u16| match u16::try_from(n) {
            Ok(0) => default,
            Ok(n) => n,
            Err(_) => u16::MAX,
        };
        Self { rows: or(rows, 24), columns: or(columns, 80) }
    }

    /// Lines.
    pub fn rows(self) -> u16 {
        self.rows
    }

    /// Characters a line.
    pub fn columns(self) -> u16 {
        self.columns
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyArgv => f.write_str("command is empty"),
            Self::EmptyProgram => f.write_str("command's name is empty"),
            Self::TooManyStrings { found } => {
                write!(f, "command has {found} strings, at most {SPEC_STRINGS_MAX} are allowed")
            }
            Self::Nul { what } => write!(f, "{what} has a NUL byte"),
            Self::EnvKey { key } => {
                write!(f, "environment key {key:?} does not match [A-Za-z_][A-Za-z0-9_]*")
            }
            Self::RelativeWorkdir { path } => {
                write!(f, "working directory {path:?} is not absolute")
            }
            Self::SecretId { id } => {
                write!(f, "secret id {id:?} does not match [A-Za-z0-9_-]{{1,128}}")
            }
        }
    }
}

impl std::error::Error for SpecError {}
