//! The flags of `doorward serve` as they were written, unchecked.
//!
//! Every value is text here, so that the check in [`super::Config::from_args`] can report all
//! mistakes at once. Each flag is also a variable: `--task-id` is `DOORWARD_TASK_ID`.

use std::ffi::OsString;

use clap::{Args, Command, FromArgMatches};

/// What the help says of exit codes.
const EXIT_HELP: &str = "Exit code: that of the command after --, if there is one: its own, 128+n if signal n ended it, 126 or \
     127 if it could not be executed. Without one 0 after TERM or INT. 143 after a second of them; 78 if \
     the configuration is not valid or cannot be used.";

/// Flags of `doorward serve`. Sizes are written like 512MiB or 16GiB, times like 200ms, 10s or
/// 24h (a number alone is bytes, or seconds); a switch in a variable is `true` or `false`.
#[derive(Debug, Clone, Args)]
#[command(next_line_help = true, after_help = EXIT_HELP)]
pub struct ServeArgs {
    /// Where to listen: tcp://HOST:PORT (port 0 is any free one) or unix:///PATH. Repeatable; in
    /// the variable separated by commas.
    #[arg(
        long,
        env = "DOORWARD_LISTEN",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ',',
        default_value = "unix:///run/doorward.sock"
    )]
    pub listen: Vec<String>,

    /// The task that this agent serves; any other one is NOT_FOUND. Without it every task id is
    /// taken, which a configuration with the token claim of --jwt-task-claim does not allow.
    #[arg(long, env = "DOORWARD_TASK_ID", hide_env_values = true, value_name = "ID")]
    pub task_id: Option<String>,

    /// Accept HS256 tokens signed with the secret in this file (at least 32 bytes).
    #[arg(
        long,
        env = "DOORWARD_JWT_HS256_SECRET_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub jwt_hs256_secret_file: Option<OsString>,

    /// Accept tokens signed by the owner of this PEM public key: Ed25519 means EdDSA, RSA means
    /// RS256. Repeatable.
    #[arg(
        long,
        env = "DOORWARD_JWT_PUBLIC_KEY_FILE",
        hide_env_values = true,
        value_name = "FILE",
        value_delimiter = ','
    )]
    pub jwt_public_key_file: Vec<OsString>,

    /// Accept tokens signed by the Ed25519 and RSA keys of this JSON Web Key Set.
    #[arg(long, env = "DOORWARD_JWKS_FILE", hide_env_values = true, value_name = "FILE")]
    pub jwks_file: Option<OsString>,

    /// The claim of a token that must equal the task id; empty: none.
    #[arg(
        long,
        env = "DOORWARD_JWT_TASK_CLAIM",
        hide_env_values = true,
        value_name = "NAME",
        default_value = "task_id"
    )]
    pub jwt_task_claim: String,

    /// Accept the static tokens in this file, one a line.
    #[arg(long, env = "DOORWARD_TOKEN_FILE", hide_env_values = true, value_name = "FILE")]
    pub token_file: Option<OsString>,

    /// Certificate chain (PEM) of the TCP listeners; with it they speak TLS only.
    #[arg(long, env = "DOORWARD_TLS_CERT", hide_env_values = true, value_name = "FILE")]
    pub tls_cert: Option<OsString>,

    /// Private key (PEM) of --tls-cert.
    #[arg(long, env = "DOORWARD_TLS_KEY", hide_env_values = true, value_name = "FILE")]
    pub tls_key: Option<OsString>,

    /// Require a client certificate issued by one of these authorities (PEM) on TCP.
    #[arg(long, env = "DOORWARD_CLIENT_CA", hide_env_values = true, value_name = "FILE")]
    pub client_ca: Option<OsString>,

    /// A user id that may call through a Unix socket, beside the agent's own and root's.
    /// Repeatable.
    #[arg(
        long,
        env = "DOORWARD_ALLOW_UID",
        hide_env_values = true,
        value_name = "UID",
        value_delimiter = ','
    )]
    pub allow_uid: Vec<String>,

    /// Listen on TCP with no authentication at all: whoever reaches the port, commands included,
    /// can run anything.
    #[arg(long, env = "DOORWARD_ALLOW_ANONYMOUS", hide_env_values = true, value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value = "false")]
    pub allow_anonymous: String,

    /// Listen off loopback without TLS, where something in front ends it.
    #[arg(long, env = "DOORWARD_ALLOW_PLAINTEXT", hide_env_values = true, value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value = "false")]
    pub allow_plaintext: String,

    /// Where secrets are: ID.env, ID.json or ID/KEY, read at each start.
    #[arg(long, env = "DOORWARD_SECRETS_DIR", hide_env_values = true, value_name = "DIR")]
    pub secrets_dir: Option<OsString>,

    /// Where output and images are kept. Not writable or a tmpfs: output is kept in memory, up to
    /// --spool-memory-max.
    #[arg(
        long,
        env = "DOORWARD_STATE_DIR",
        hide_env_values = true,
        value_name = "DIR",
        default_value = "/var/lib/doorward"
    )]
    pub state_dir: OsString,

    /// Where images are kept: local (in the state directory); layout:PATH or an absolute path, an OCI image layout that several
    /// agents may share; oci://REGISTRY/REPOSITORY (oci+http:// without TLS) or s3://BUCKET/PREFIX, which agents
    /// on other machines may share: then what is in the state directory is a cache.
    #[arg(
        long,
        env = "DOORWARD_IMAGE_STORE",
        hide_env_values = true,
        value_name = "STORE",
        default_value = "local"
    )]
    pub image_store: String,

    /// What images may take before those that were used longest ago are removed.
    #[arg(
        long,
        env = "DOORWARD_IMAGE_STORE_MAX",
        hide_env_values = true,
        value_name = "SIZE",
        default_value = "64GiB"
    )]
    pub image_store_max: String,

    /// How images are compressed.
    #[arg(
        long,
        env = "DOORWARD_IMAGE_COMPRESSION",
        hide_env_values = true,
        value_name = "zstd|gzip|none",
        default_value = "zstd"
    )]
    pub image_compression: String,

    /// Variables for registries and buckets that commands do not get, KEY=VALUE a line, before those of the agent
    /// itself: AWS_…; REGISTRY_AUTH_FILE, or DOCKER_CONFIG, the directory of a config.json with passwords
    /// (default: $HOME/.docker).
    #[arg(long, env = "DOORWARD_IMAGE_ENV_FILE", hide_env_values = true, value_name = "FILE")]
    pub image_env_file: Option<OsString>,

    /// Certificates (PEM) that registries' and buckets' may be signed by, besides the system's.
    #[arg(long, env = "DOORWARD_IMAGE_CA", hide_env_values = true, value_name = "FILE")]
    pub image_ca: Option<OsString>,

    /// Let callers name images in registries, oci://REGISTRY/REPOSITORY, which the agent then fetches, and send
    /// images there.
    #[arg(long, env = "DOORWARD_ALLOW_REMOTE_IMAGES", hide_env_values = true, value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value = "false")]
    pub allow_remote_images: String,

    /// Working directory of commands that name none; default: the agent's own.
    #[arg(long, env = "DOORWARD_WORKDIR", hide_env_values = true, value_name = "DIR")]
    pub workdir: Option<OsString>,

    /// User that commands run as: NAME|UID[:GROUP|GID]; default: the agent's own.
    #[arg(long, env = "DOORWARD_USER", hide_env_values = true, value_name = "USER")]
    pub user: Option<String>,

    /// Most output kept of one stream.
    #[arg(
        long,
        env = "DOORWARD_SPOOL_STREAM_MAX",
        hide_env_values = true,
        value_name = "SIZE",
        default_value = "16GiB"
    )]
    pub spool_stream_max: String,

    /// Most output kept of all streams.
    #[arg(
        long,
        env = "DOORWARD_SPOOL_TOTAL_MAX",
        hide_env_values = true,
        value_name = "SIZE",
        default_value = "64GiB"
    )]
    pub spool_total_max: String,

    /// Most output kept in memory, over all streams.
    #[arg(
        long,
        env = "DOORWARD_SPOOL_MEMORY_MAX",
        hide_env_values = true,
        value_name = "SIZE",
        default_value = "32MiB"
    )]
    pub spool_memory_max: String,

    /// What happens when no more output can be kept: drop-oldest, or block the command until it
    /// has been read.
    #[arg(
        long,
        env = "DOORWARD_SPOOL_FULL",
        hide_env_values = true,
        value_name = "drop-oldest|block",
        default_value = "drop-oldest"
    )]
    pub spool_full: String,

    /// Silence after a command's exit that ends a stream which others still hold open.
    #[arg(
        long,
        env = "DOORWARD_LINGER_QUIET",
        hide_env_values = true,
        value_name = "TIME",
        default_value = "200ms"
    )]
    pub linger_quiet: String,

    /// When such a stream ends at the latest after the exit.
    #[arg(
        long,
        env = "DOORWARD_LINGER_MAX",
        hide_env_values = true,
        value_name = "TIME",
        default_value = "10s"
    )]
    pub linger_max: String,

    /// Time between TERM and KILL when the agent ends.
    #[arg(
        long,
        env = "DOORWARD_GRACE",
        hide_env_values = true,
        value_name = "TIME",
        default_value = "4s"
    )]
    pub grace: String,

    /// How long reads go on after everything was ended.
    #[arg(
        long,
        env = "DOORWARD_DRAIN",
        hide_env_values = true,
        value_name = "TIME",
        default_value = "4s"
    )]
    pub drain: String,

    /// Most execs running at once.
    #[arg(
        long,
        env = "DOORWARD_MAX_LIVE_EXECS",
        hide_env_values = true,
        value_name = "N",
        default_value = "4096"
    )]
    pub max_live_execs: String,

    /// Finished execs whose output is kept.
    #[arg(
        long,
        env = "DOORWARD_REMEMBER_EXECS",
        hide_env_values = true,
        value_name = "N",
        default_value = "4096"
    )]
    pub remember_execs: String,

    /// How long the output of a finished exec is kept.
    #[arg(
        long,
        env = "DOORWARD_REMEMBER_FOR",
        hide_env_values = true,
        value_name = "TIME",
        default_value = "24h"
    )]
    pub remember_for: String,

    /// Stay up after the entrypoint has ended.
    #[arg(long, env = "DOORWARD_KEEP", hide_env_values = true, value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value = "false")]
    pub keep: String,

    /// The entrypoint is ready when this shell command succeeds; default: once it was started.
    #[arg(long, env = "DOORWARD_READY_COMMAND", hide_env_values = true, value_name = "COMMAND")]
    pub ready_command: Option<String>,

    /// The entrypoint is ready when HOST:PORT, or PORT on loopback, takes a connection.
    #[arg(long, env = "DOORWARD_READY_TCP", hide_env_values = true, value_name = "ADDRESS")]
    pub ready_tcp: Option<String>,

    /// Where the entrypoint's output goes: both the agent's own output and the spool, or the spool
    /// alone.
    #[arg(
        long,
        env = "DOORWARD_ENTRYPOINT_OUTPUT",
        hide_env_values = true,
        value_name = "both|spool",
        default_value = "both"
    )]
    pub entrypoint_output: String,

    /// The entrypoint's input: none, or what SandboxStdinWriteV2 sends.
    #[arg(
        long,
        env = "DOORWARD_ENTRYPOINT_STDIN",
        hide_env_values = true,
        value_name = "null|rpc",
        default_value = "null"
    )]
    pub entrypoint_stdin: String,

    /// What is logged: off, error, warn, info, debug or trace, or a list such as
    /// info,doorward::exec=debug.
    #[arg(
        long,
        env = "DOORWARD_LOG",
        hide_env_values = true,
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub log: String,

    /// How it is logged.
    #[arg(
        long,
        env = "DOORWARD_LOG_FORMAT",
        hide_env_values = true,
        value_name = "text|json",
        default_value = "text"
    )]
    pub log_format: String,

    /// Kernel features that are not used even where they exist, for tests.
    #[arg(long, env = "DOORWARD_DISABLE", hide = true, default_value = "")]
    pub disable: String,

    /// The container's main command, run and watched by the agent.
    #[arg(last = true, value_name = "COMMAND")]
    pub entrypoint: Vec<OsString>,
}

impl ServeArgs {
    /// What no flag and no variable comes to: the base of an embedded agent's configuration.
    pub fn defaults() -> Self {
        let command = Self::augment_args(Command::new("doorward"));
        let mut matches = command
            .mut_args(|arg| arg.env(None::<&'static str>))
            .try_get_matches_from(["doorward"])
            .expect("every flag has a default or may be absent");
        Self::from_arg_matches_mut(&mut matches).expect("the flags are these")
    }
}
