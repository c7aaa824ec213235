//! `doorward shell`: a shell in a terminal of its own, whose link may break.

use std::io::stdin;

use anyhow::{Context, anyhow};
use clap::Args;
use rustix::termios::isatty;
use tonic::Code;

use super::{
    connect::{self, Connection},
    exec::{Kind as Whose, Place, our_terminal, variable},
    failure::{EXIT_OWN, told},
    session::{AFTER_HELP, EscapeKey, Kind, Leaving, Session, Signals, login, sit},
};
use crate::{
    client::{AttachRole, AttachStart, Client, ClientError, Command, random_id},
    wire::doorward::v1 as wire,
};

const PIPED: &str = "\
Where standard input is no terminal, the shell has none either: it reads what is piped as its
commands, and ends with them.";

/// The arguments of `doorward shell`.
#[derive(Args, Debug)]
#[command(after_help = format!("{PIPED}\n\n{AFTER_HELP}"))]
pub struct ShellArgs {
    #[command(flatten)]
    connection: Connection,
    /// The exec's id: the same id with the same command is the same shell [default: a random one]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Where the shell starts: an absolute path
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// A variable for the shell (repeatable)
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// The key that begins an escape, or none
    #[arg(short = 'E', long, value_name = "CHAR", default_value = "~")]
    escape: EscapeKey,
    /// What to run [default: the login shell of the user that commands run as]
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl ShellArgs {
    /// The agent that the arguments name, or else the one on the default socket, if one listens there.
    pub fn remote(&self) -> Option<Place> {
        let options = self.connection.named_or_listening()?;
        Some(Place { options, kind: Whose::Remote })
    }

    fn command(&self, kind: Kind) -> Command {
        let mut command = match self.command.is_empty() {
            true => Command::new(login::command()),
            false => Command::new(&self.command),
        };
        command.env.clone_from(&self.env);
        command.workdir.clone_from(&self.workdir);
        command.terminal = match kind {
            Kind::Terminal => Some(our_terminal()),
            Kind::Streams => None,
        };
        command
    }
}

/// Runs the shell and returns the exit code for this process. All that goes wrong is told on
/// standard error.
pub async fn run(args: ShellArgs, place: Place) -> u8 {
    shell(args, place).await.unwrap_or_else(|error| {
        told(&error);
        EXIT_OWN
    })
}

async fn shell(args: ShellArgs, place: Place) -> anyhow::Result<u8> {
    let mut signals = Signals::listen().context("listen for signals")?;
    let session = tokio::select! {
        session = start(args, place) => session?,
        code = signals.leave() => return Ok(code),
    };
    sit(session, &mut signals).await
}

/// Starts the shell, or finds it started.
async fn start(args: ShellArgs, place: Place) -> anyhow::Result<Session> {
    // Commands that are piped to us are read by the shell as they are, not echoed by a terminal.
    let kind = if isatty(stdin()) { Kind::Terminal } else { Kind::Streams };
    let address = place.options.address.to_string();
    let client = connect::open(place.options).await?;
    let id = args.id.clone().unwrap_or_else(random_id);
    let start = begin(&client, &id).await?;
    client.start(&id, &args.command(kind)).await.map_err(|error| {
        match args.command.is_empty() {
            true => anyhow!("{error}; another one can be named: doorward shell -- PROGRAM"),
            false => anyhow!("{error}"),
        }
    })?;
    let leaving = match place.kind {
        Whose::Remote => Leaving::Keeps,
        Whose::Embedded(_) => Leaving::Ends,
    };
    let (role, escape) = (AttachRole::Writer, args.escape);
    Ok(Session { client, address, id, kind, start, role, leaving, escape, greeting: None })
}

/// Where to begin: at the first byte if it has never run. It is asked for before anything is started
/// that could not be sat before.
async fn begin(client: &Client, id: &str) -> anyhow::Result<AttachStart> {
    let request = wire::GetExecRequest { exec_id: id.into(), ..Default::default() };
    match client.control().get_exec(request).await {
        Ok(_) => Ok(AttachStart::Screen),
        Err(ClientError::Refused(status)) if status.code() == Code::NotFound => {
            Ok(AttachStart::Offsets { stdout: 0, stderr: 0 })
        }
        Err(ClientError::NoControl) => Err(anyhow!(
            "open a shell: this agent has no doorward.v1.Control service (it is no Doorward, or an old \
            one); `doorward exec -it -- sh` needs none"
        )),
        Err(error) => Err(anyhow!("{error}")),
    }
}
