//! `doorward attach`: back to an exec, from wherever.

use anyhow::{Context, anyhow};
use clap::Args;

use super::{
    connect::Connection,
    failure::{EXIT_OWN, told},
    session::{AFTER_HELP, EscapeKey, Kind, Leaving, Session, Signals, sit},
};
use crate::{
    client::{AttachRole, AttachStart, ClientError},
    wire::doorward::v1 as wire,
};

/// The arguments of `doorward attach`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct AttachArgs {
    #[command(flatten)]
    connection: Connection,
    /// Only look: type nothing, and leave its terminal's size to others
    #[arg(long, visible_alias = "observe")]
    read_only: bool,
    /// The key that begins an escape, or none
    #[arg(short = 'E', long, value_name = "CHAR", default_value = "~")]
    escape: EscapeKey,
    /// The exec
    #[arg(value_name = "ID")]
    id: String,
}

/// Sits before the exec, and returns the exit code for this process. All that goes wrong is told on
/// standard error.
pub async fn run(args: AttachArgs) -> anyhow::Result<u8> {
    // Other codes are those of the exec.
    Ok(attach(args).await.unwrap_or_else(|error| {
        told(&error);
        EXIT_OWN
    }))
}

async fn attach(args: AttachArgs) -> anyhow::Result<u8> {
    let mut signals = Signals::listen().context("listen for signals")?;
    let session = tokio::select! {
        session = find(args) => session?,
        code = signals.leave() => return Ok(code),
    };
    sit(session, &mut signals).await
}

async fn find(args: AttachArgs) -> anyhow::Result<Session> {
    let address = args.connection.named_or_default().address.to_string();
    let client = args.connection.connect().await?;
    let request = wire::GetExecRequest { exec_id: args.id.clone(), ..Default::default() };
    let exec = client.control().get_exec(request).await.map_err(|error| match error {
        ClientError::NoControl => anyhow!(
            "attach: this agent has no doorward.v1.Control service (it is no Doorward, or an old one)"
        ),
        error => anyhow!("{error}"),
    })?;
    let exec = exec.exec.unwrap_or_default();
    let (role, greeting) = match (args.read_only, exec.has_writer) {
        (true, _) => (AttachRole::Observer, None),
        (false, true) => {
            (AttachRole::Writer, Some("this terminal writes now, in place of another"))
        }
        (false, false) => (AttachRole::Writer, None),
    };
    Ok(Session {
        client,
        address,
        id: args.id,
        kind: if exec.terminal.is_some() { Kind::Terminal } else { Kind::Streams },
        start: AttachStart::Screen,
        role,
        leaving: Leaving::Keeps,
        escape: args.escape,
        greeting: greeting.map(String::from),
    })
}
