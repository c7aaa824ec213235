//! What the operator decided, checked whole before anything is started.
//!
//! [`ServeArgs`] is the text, [`Config`] the values: one that exists is valid. Key, token and
//! certificate files are read here, once.

mod access;
mod args;
mod check;
mod images;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

pub use self::args::ServeArgs;
use self::check::{Check, given_path};
pub use self::images::{ImageSettings, ImageStore, Variables};
use crate::{
    agent::log,
    core::hosts::HOSTS_FILE,
    doors::{address::Address, auth::Policy, listen::Reach},
};

/// Exit code of a configuration that cannot be used (EX_CONFIG of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// A valid configuration of the agent.
#[derive(Debug)]
pub struct Config {
    /// Where to listen; at least one.
    pub listen: Vec<Address>,
    /// Which file mode Unix sockets get.
    pub reach: Reach,
    /// The one task that is served; none: every task id is taken.
    pub task_id: Option<String>,
    /// Who may call.
    pub policy: Arc<Policy>,
    /// TLS of the TCP listeners.
    pub tls: Option<Arc<tokio_rustls::rustls::ServerConfig>>,
    /// Where secrets are.
    pub secrets_dir: Option<PathBuf>,
    /// Where output and images are kept.
    pub state_dir: PathBuf,
    /// Images: where they are kept, and how.
    pub images: ImageSettings,
    /// Working directory of commands that name none, absolute.
    pub workdir: Option<PathBuf>,
    /// User that commands run as, as written: NAME|UID[:GROUP|GID].
    pub user: Option<String>,
    /// Bounds of kept output.
    pub spool: SpoolLimits,
    /// Silence after the exit that ends a stream.
    pub linger_quiet: Duration,
    /// When a stream ends at the latest after the exit.
    pub linger_max: Duration,
    /// Time between TERM and KILL.
    pub grace: Duration,
    /// How long reads go on after everything was ended.
    pub drain: Duration,
    /// Most execs running at once, at least 1.
    pub max_live_execs: usize,
    /// Finished execs whose output is kept.
    pub remember_execs: usize,
    /// How long the output of a finished exec is kept.
    pub remember_for: Duration,
    /// The container's main command.
    pub entrypoint: Option<Entrypoint>,
    /// What is logged and how.
    pub log: log::Settings,
    /// Kernel features not to be used, as written in DOORWARD_DISABLE.
    pub disable: String,
    /// What the operator should know although it is no mistake; one warning each.
    pub notices: Vec<String>,
}

/// Bounds of kept output, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolLimits {
    /// Most bytes kept of one stream.
    pub stream_max: u64,
    /// Most bytes kept of all streams.
    pub total_max: u64,
    /// Most bytes kept in memory, over all streams.
    pub memory_max: u64,
    /// What happens at a bound.
    pub full: SpoolFull,
}

/// What happens when no more output can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpoolFull {
    /// The oldest bytes are dropped.
    DropOldest,
    /// The command waits until somebody has read.
    Block,
}

/// The container's main command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entrypoint {
    /// Program and arguments, at least one.
    pub command: Vec<OsString>,
    /// Where its output goes.
    pub output: EntrypointOutput,
    /// Where its input comes from.
    pub stdin: EntrypointStdin,
    /// When it counts as ready.
    pub ready: Ready,
    /// What its end means.
    pub end: EntrypointEnd,
}

/// Where the entrypoint's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntrypointOutput {
    /// To the agent's own output and into its spool.
    Both,
    /// Into its spool.
    Spool,
}

/// Where the entrypoint's input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntrypointStdin {
    /// It has none.
    Null,
    /// From SandboxStdinWriteV2.
    Rpc,
}

/// When the entrypoint counts as ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// Once it was started.
    Started,
    /// When this shell command succeeds.
    Command(String),
    /// When this address takes a connection.
    Tcp(SocketAddr),
}

/// What the end of the entrypoint means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntrypointEnd {
    /// The agent ends with its code.
    EndsAgent,
    /// The agent stays up.
    Keep,
}

impl Config {
    /// Checks every flag; all mistakes come back, each a line for the operator.
    pub fn from_args(args: ServeArgs) -> Result<Self, Vec<String>> {
        // Without the file only literals and localhost resolve, and a mistake names the host.
        let hosts = std::fs::read(HOSTS_FILE).unwrap_or_default();
        Self::check(args, &hosts)
    }

    /// What the operator must be told when commands run as the user `uid`: where such a user may
    /// call without a token, each command can do all that a caller can.
    pub fn hole(&self, uid: u32) -> Option<String> {
        let unix = |address: &&Address| matches!(address, Address::Unix(_));
        let socket = self.listen.iter().find(unix)?;
        self.policy.lets_in_commands(uid).then(|| {
            format!(
                "commands run as user id {uid}, which may call at {socket} without a token: each \
                 command can do all that a caller can; --token-file, a --jwt-… key or another \
                 --user closes this"
            )
        })
    }

    fn check(args: ServeArgs, hosts: &[u8]) -> Result<Self, Vec<String>> {
        let mut check = Check::default();
        let listen = check.listen(&args.listen, hosts);
        let access = access::check(&mut check, &args, &listen);
        let config = Self {
            reach: access.reach,
            policy: access.policy,
            tls: access.tls,
            listen,
            task_id: check.given("--task-id", args.task_id.clone()),
            secrets_dir: given_path(&args.secrets_dir),
            state_dir: check.absolute("--state-dir", args.state_dir.clone()),
            images: images::check(&mut check, &args),
            workdir: given_path(&args.workdir)
                .map(|dir| check.absolute("--workdir", dir.into_os_string())),
            user: check.given("--user", args.user.clone()),
            spool: spool(&mut check, &args),
            linger_quiet: check.duration("--linger-quiet", &args.linger_quiet),
            linger_max: check.duration("--linger-max", &args.linger_max),
            grace: check.duration("--grace", &args.grace),
            drain: check.duration("--drain", &args.drain),
            max_live_execs: check.count("--max-live-execs", &args.max_live_execs, 1),
            remember_execs: check.count("--remember-execs", &args.remember_execs, 0),
            remember_for: check.duration("--remember-for", &args.remember_for),
            entrypoint: entrypoint(&mut check, &args, hosts),
            log: log_settings(&mut check, &args),
            disable: args.disable,
            notices: check.take_notices(),
        };
        if config.linger_quiet > config.linger_max {
            check.mistake("--linger-quiet is longer than --linger-max".into());
        }
        check.done(config)
    }
}

fn spool(check: &mut Check, args: &ServeArgs) -> SpoolLimits {
    const FULL: [(&str, SpoolFull); 2] =
        [("drop-oldest", SpoolFull::DropOldest), ("block", SpoolFull::Block)];
    let limits = SpoolLimits {
        stream_max: check.size("--spool-stream-max", &args.spool_stream_max),
        total_max: check.size("--spool-total-max", &args.spool_total_max),
        memory_max: check.size("--spool-memory-max", &args.spool_memory_max),
        full: check.choice("--spool-full", &args.spool_full, &FULL),
    };
    if limits.stream_max > limits.total_max {
        check.notice("--spool-stream-max is above --spool-total-max, which rules".into());
    }
    limits
}

fn entrypoint(check: &mut Check, args: &ServeArgs, hosts: &[u8]) -> Option<Entrypoint> {
    const OUTPUT: [(&str, EntrypointOutput); 2] =
        [("both", EntrypointOutput::Both), ("spool", EntrypointOutput::Spool)];
    const STDIN: [(&str, EntrypointStdin); 2] =
        [("null", EntrypointStdin::Null), ("rpc", EntrypointStdin::Rpc)];
    const KEEP: [(&str, EntrypointEnd); 4] = [
        ("true", EntrypointEnd::Keep),
        ("1", EntrypointEnd::Keep),
        ("false", EntrypointEnd::EndsAgent),
        ("0", EntrypointEnd::EndsAgent),
    ];
    let output = check.choice("--entrypoint-output", &args.entrypoint_output, &OUTPUT);
    let stdin = check.choice("--entrypoint-stdin", &args.entrypoint_stdin, &STDIN);
    let end = check.choice("--keep", &args.keep, &KEEP);
    let ready = ready(check, args, hosts);
    if args.entrypoint.is_empty() {
        if ready != Ready::Started {
            check.mistake("--ready-command and --ready-tcp need a command after --".into());
        }
        return None;
    }
    Some(Entrypoint { command: args.entrypoint.clone(), output, stdin, ready, end })
}

fn ready(check: &mut Check, args: &ServeArgs, hosts: &[u8]) -> Ready {
    let command = check.given("--ready-command", args.ready_command.clone());
    let tcp = check.given("--ready-tcp", args.ready_tcp.clone());
    match (command, tcp) {
        (None, None) => Ready::Started,
        (Some(command), None) => Ready::Command(command),
        (None, Some(text)) => {
            let host = if text.contains(':') { "" } else { "127.0.0.1:" };
            match Address::parse(&format!("tcp://{host}{text}"), hosts) {
                Ok(Address::Tcp(address)) if address.port() != 0 => return Ready::Tcp(address),
                Ok(_) => check.mistake(format!("--ready-tcp {text:?} needs a port")),
                Err(error) => check.mistake(format!("--ready-tcp {text:?} {error}")),
            }
            Ready::Started
        }
        (Some(_), Some(_)) => {
            check.mistake("--ready-command and --ready-tcp exclude each other".into());
            Ready::Started
        }
    }
}

fn log_settings(check: &mut Check, args: &ServeArgs) -> log::Settings {
    const FORMATS: [(&str, log::Format); 2] =
        [("text", log::Format::Text), ("json", log::Format::Json)];
    let format = check.choice("--log-format", &args.log_format, &FORMATS);
    match log::Settings::new(&args.log, format) {
        Ok(settings) => settings,
        Err(error) => {
            check.mistake(format!("--log {:?}: {error}", args.log));
            log::Settings::default()
        }
    }
}

#[cfg(test)]
mod tests;
