//! `doorward version`: of this program, and of the agent that answers, if one does.

use clap::Args;
use serde::Serialize;

use super::{
    connect::Connection,
    failure::asking,
    show::{self, Format, human::printable, json},
};
use crate::wire::doorward::v1 as wire;

/// The arguments of `doorward version`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit code: 0; 125 if an agent was named and does not answer. That none listens on \
    the default socket is no failure."
)]
pub struct VersionArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Both versions.
#[derive(Serialize)]
struct Versions {
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<Agent>,
}

#[derive(Serialize)]
struct Agent {
    version: String,
    address: String,
    instance: String,
}

/// Prints what is known. Our own version is there whatever the agent does.
pub async fn run(args: VersionArgs) -> anyhow::Result<u8> {
    let own = env!("CARGO_PKG_VERSION");
    if !args.format.json {
        show::put(&format!("doorward {own}\n"))?;
    }
    let agent = agent(&args.connection).await?;
    match (args.format.json, agent) {
        (true, agent) => json::document(&Versions { version: own, agent })?,
        (false, Some(Agent { version, address, .. })) => {
            show::put(&format!("agent    {} at {}\n", printable(&version), printable(&address)))?;
        }
        (false, None) => {}
    }
    Ok(0)
}

async fn agent(connection: &Connection) -> anyhow::Result<Option<Agent>> {
    let Some(client) = connection.connect_if_there().await? else { return Ok(None) };
    let answer = client.control().get_agent(wire::GetAgentRequest::default()).await;
    let answer = answer.map_err(asking("ask the agent for its version"))?;
    let address = connection.named_or_default().address.to_string();
    Ok(Some(Agent { version: answer.version, address, instance: answer.instance }))
}
