//! Which agent a command of ours is for: the flags, the variables, the default socket.

use std::{env, io::ErrorKind, os::unix::net::UnixStream, path::PathBuf};

use anyhow::anyhow;
use clap::Args;

use crate::client::{Address, Client, ClientError, Identity, Options, Token};

/// Where an agent listens that was told nothing else.
const DEFAULT_SOCKET: &str = "/run/doorward.sock";

/// Where these flags stand in a help text: apart from what is special to a command.
const HEADING: &str = "Which agent";

/// Connects to an agent; an error says what to do about it.
pub async fn open(options: Options) -> anyhow::Result<Client> {
    Client::connect(options).await.map_err(unreachable)
}

fn unreachable(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Connect { .. } => anyhow!(
            "{error}; start an agent with `doorward serve`, or name another one with --address or \
             DOORWARD_ADDRESS"
        ),
        other => other.into(),
    }
}

/// How to reach an agent.
#[derive(Args, Debug, Clone)]
pub struct Connection {
    /// The agent: http://, https://, tcp:// or unix://
    #[arg(long, value_name = "URL", env = "DOORWARD_ADDRESS", hide_env_values = true, help_heading = HEADING)]
    address: Option<Address>,
    /// A file with the token; the token itself can be in DOORWARD_TOKEN
    #[arg(long, value_name = "FILE", env = "DOORWARD_TOKEN_FILE", hide_env_values = true, help_heading = HEADING)]
    token_file: Option<PathBuf>,
    /// Certificates (PEM) that the agent's may be signed by, in place of the system's
    #[arg(long, value_name = "FILE", env = "DOORWARD_CA", hide_env_values = true, help_heading = HEADING)]
    ca: Option<PathBuf>,
    /// The certificate (PEM) to show to an agent that asks for one
    #[arg(
        long,
        value_name = "FILE",
        env = "DOORWARD_CERT",
        hide_env_values = true,
        help_heading = HEADING,
        requires = "key"
    )]
    cert: Option<PathBuf>,
    /// The private key (PEM) of --cert
    #[arg(
        long,
        value_name = "FILE",
        env = "DOORWARD_KEY",
        hide_env_values = true,
        help_heading = HEADING,
        requires = "cert"
    )]
    key: Option<PathBuf>,
    /// The task that the agent serves
    #[arg(
        long,
        value_name = "ID",
        env = "DOORWARD_TASK_ID",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        help_heading = HEADING
    )]
    task_id: String,
}

impl Connection {
    /// The agent that was named, if one was.
    pub fn named(&self) -> Option<Options> {
        self.address.clone().map(|address| self.options(address))
    }

    /// The agent that was named, or the one on the default socket.
    pub fn named_or_default(&self) -> Options {
        self.options(self.address.clone().unwrap_or(Address::Unix(DEFAULT_SOCKET.into())))
    }

    /// The agent that was named, or the one on the default socket if something listens there. One that may
    /// not be reached counts: it is told, and not passed over for another.
    pub fn named_or_listening(&self) -> Option<Options> {
        if self.address.is_some() {
            return self.named();
        }
        match UnixStream::connect(DEFAULT_SOCKET) {
            Err(error)
                if [ErrorKind::NotFound, ErrorKind::ConnectionRefused].contains(&error.kind()) =>
            {
                None
            }
            Ok(_) | Err(_) => Some(self.named_or_default()),
        }
    }

    /// Connects to the agent that was named, or to the one on the default socket.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        open(self.named_or_default()).await
    }

    /// As [`Connection::connect`]; `None` if no agent was named and none is on the default socket.
    pub async fn connect_if_there(&self) -> anyhow::Result<Option<Client>> {
        match Client::connect(self.named_or_default()).await {
            Err(ClientError::Connect { .. }) if self.address.is_none() => Ok(None),
            connected => connected.map(Some).map_err(unreachable),
        }
    }

    fn options(&self, address: Address) -> Options {
        let token = match (&self.token_file, env::var("DOORWARD_TOKEN")) {
            (Some(path), _) => Token::File(path.clone()),
            (None, Ok(token)) => Token::Text(token),
            (None, Err(_)) => Token::None,
        };
        let identity = self.cert.clone().zip(self.key.clone());
        let identity = identity.map(|(cert, key)| Identity { cert, key });
        let ca = self.ca.clone();
        Options { token, ca, identity, ..Options::new(address, self.task_id.clone()) }
    }
}
