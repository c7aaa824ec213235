//! `doorward exec`: one command through an agent, its streams to ours, its code as ours.

use std::{
    io::{self, stderr, stdin, stdout},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    connect::{self, Connection},
    failure::{EXIT_NO_READER, starting, told},
    show::{self, human::printable, json},
    streams::{CopyError, feed, own, print},
    terminal::{self, Raw},
};
use crate::{
    client::{Client, Command, Options, Terminal, random_id},
    core::{ids::Stream, outcome::ExitStatus},
};

pub use super::failure::EXIT_OWN;

/// The exit code when ^C was pressed: 128 and the signal, as a shell has it.
const EXIT_INTERRUPTED: u8 = 128 + 2;

/// The arguments of `doorward exec`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit code: the command's own, 128+n if signal n ended it; 125 if it was not \
    the command that failed."
)]
pub struct ExecArgs {
    #[command(flatten)]
    connection: Connection,
    /// The exec's id: the same id with the same command is the same exec [default: a random one]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Print the id and leave once the command runs
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    detach: bool,
    /// Print the id as a JSON object
    #[arg(long, requires = "detach")]
    json: bool,
    /// Where the command starts: an absolute path
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// A variable for the command (repeatable)
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Kill the command and all that came of it after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    timeout: Option<u32>,
    /// Send our standard input to the command; without, its input is at its end
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The agent that a command goes to.
pub struct Place {
    /// How to reach it.
    pub options: Options,
    /// What ^C does.
    pub kind: Kind,
}

/// Whose agent it is.
pub enum Kind {
    /// It was there before and goes on after us.
    Remote,
    /// It came with us. Calling this ends all that it runs, in its own time, and returns at
    /// once; what was printed can still be read.
    Embedded(Box<dyn Fn() + Send + Sync>),
}

impl ExecArgs {
    /// The agent that the arguments name, if they name one.
    pub fn remote(&self) -> Option<Place> {
        let options = self.connection.named()?;
        Some(Place { options, kind: Kind::Remote })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.command);
        command.env.clone_from(&self.env);
        command.workdir.clone_from(&self.workdir);
        command.timeout = self.timeout.map(|seconds| Duration::from_secs(seconds.into()));
        command.terminal = self.tty.then(our_terminal);
        command
    }
}

/// Runs the command and returns the exit code for this process. All that goes wrong is told on
/// standard error.
pub async fn run(args: ExecArgs, place: Place) -> u8 {
    exec(args, place).await.unwrap_or_else(|error| told(&error))
}

async fn exec(args: ExecArgs, place: Place) -> anyhow::Result<u8> {
    if args.detach && matches!(place.kind, Kind::Embedded(_)) {
        bail!("detach: the embedded agent ends with us, so give the --address of another one");
    }
    let address = place.options.address.clone();
    // Before the start, so that ^C never ends us without a word about what runs.
    let mut signals = Signals::listen().context("listen for signals")?;
    let client = connect::open(place.options).await?;
    let id = args.id.clone().unwrap_or_else(random_id);
    client.start(&id, &args.command()).await.map_err(|error| starting(&error))?;
    if args.detach {
        feed(client.stdin(&id), None).await.map_err(|error| starting(&error))?;
        match args.json {
            true => json::line(&Detached { id: &id })?,
            false => show::put(&format!("{id}\n"))?,
        }
        return Ok(0);
    }
    let raw = match args.tty && args.interactive {
        true => Raw::set().context("set the terminal to raw mode")?,
        false => None,
    };
    let input = if args.interactive { Feed::Ours } else { Feed::Nothing };
    let mut session = std::pin::pin!(session(&client, &id, input));
    let mut asked_to_end = false;
    let ended = loop {
        let code = tokio::select! {
            ended = &mut session => break ended,
            code = signals.next() => code,
        };
        match &place.kind {
            Kind::Embedded(end) if !asked_to_end => {
                asked_to_end = true;
                end();
            }
            Kind::Embedded(_) => return Ok(code),
            Kind::Remote => {
                drop(raw);
                eprintln!("doorward: left exec {id} running at {address}");
                return Ok(code);
            }
        }
    };
    drop(raw);
    ended
}

/// The line of `--json`.
#[derive(Serialize)]
struct Detached<'a> {
    id: &'a str,
}

/// What a command's input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Feed {
    /// Our standard input.
    Ours,
    /// Nothing: it is at its end.
    Nothing,
}

/// Everything from the start of an exec to its exit code.
async fn session(client: &Client, id: &str, input: Feed) -> anyhow::Result<u8> {
    let from = match input {
        Feed::Ours => Some(own(stdin()).context("use standard input")?),
        Feed::Nothing => None,
    };
    let (client_in, id_in) = (client.clone(), id.to_string());
    let input = tokio::spawn(async move {
        // A command need not read its input; if it is the agent that is gone, the output tells.
        if let Err(error) = feed(client_in.stdin(&id_in), from).await {
            tracing::debug!("the rest of the input was not taken: {error}");
        }
    });
    let out = print(client.output(id, Stream::Stdout, 0), own(stdout()).context("use stdout")?);
    let err = print(client.output(id, Stream::Stderr, 0), own(stderr()).context("use stderr")?);
    let copied = tokio::try_join!(out, err);
    input.abort();
    match copied {
        Ok((out, err)) => {
            for warning in out.iter().chain(&err) {
                eprintln!("doorward: warning: {}", printable(warning));
            }
        }
        Err(CopyError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return Ok(EXIT_NO_READER);
        }
        Err(CopyError::Write(error)) => return Err(error).context("write the output"),
        Err(CopyError::Client(error)) => bail!("{error}"),
    }
    let status = client.wait(id).await.map_err(|error| starting(&error))?;
    Ok(code(status))
}

/// The signals that mean: leave.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Listens from here on: none of them ends us by itself any more.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one of them; the exit code that goes with it.
    pub(super) async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => EXIT_INTERRUPTED,
            _ = self.terminate.recv() => 128 + 15,
            _ = self.hang_up.recv() => 128 + 1,
        }
    }
}

pub(super) fn code(status: ExitStatus) -> u8 {
    u8::try_from(status.shell_code()).unwrap_or(u8::MAX)
}

pub(super) fn our_terminal() -> Terminal {
    let text = |name| std::env::var(name).unwrap_or_default();
    let (rows, columns) = terminal::size();
    Terminal {
        rows,
        columns,
        term: text("TERM"),
        colorterm: text("COLORTERM"),
        program: text("TERM_PROGRAM"),
    }
}

pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it is not KEY=VALUE")?;
    Ok((key.to_string(), value.to_string()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        exec: ExecArgs,
    }

    fn parse(args: &str) -> Result<ExecArgs, clap::Error> {
        let words = ["exec"].into_iter().chain(args.split(' '));
        Cli::try_parse_from(words).map(|cli| cli.exec)
    }

    #[test]
    fn arguments_become_a_command() {
        let args = parse("-w /tmp -e A=1 -e B=x=y --timeout 3 --id i -t -i -- sh -c true").unwrap();
        let command = args.command();
        assert_eq!(command.argv, ["sh", "-c", "true"]);
        assert_eq!(command.env, [("A".into(), "1".into()), ("B".into(), "x=y".into())]);
        assert_eq!(command.workdir.as_deref(), Some("/tmp"));
        assert_eq!(command.timeout, Some(Duration::from_secs(3)));
        assert!(command.terminal.is_some());
    }

    #[test]
    fn an_address_makes_it_remote() {
        assert!(parse("-- true").unwrap().remote().is_none());
        let place = parse("--address tcp://[::1]:5 --token-file /t --task-id x -- true").unwrap();
        let place = place.remote().unwrap();
        assert_eq!(place.options.address.to_string(), "http://[::1]:5");
        assert!(matches!(place.options.token, crate::client::Token::File(_)));
        assert!(matches!(place.kind, Kind::Remote));
    }

    #[test]
    fn mistakes_are_refused() {
        for args in ["--", "-d -i -- true", "-e A -- true", "--timeout 0 -- true", "true"] {
            assert!(parse(args).is_err(), "{args}");
        }
        assert!(parse("--address box:80 -- true").is_err());
    }

    #[test]
    fn a_signal_is_128_and_more() {
        assert_eq!(code(ExitStatus::Code(7)), 7);
        assert_eq!(code(ExitStatus::Signal(9)), 137);
    }
}
