//! `doorward doctor`: what the kernel offers, what was chosen, and what does not work.
//!
//! It asks the agent. Where none is, the caller brings one up for us (`main.rs`), so that the answer is
//! exactly what an agent would find here; that one is also tried out with a command and a terminal.

mod document;
mod report;
mod trial;

use clap::Args;

use self::report::Report;
use super::{
    connect::{self, Connection},
    exec::{Kind, Place},
    failure::{EXIT_NO, asking, told},
    show::{self, Format, colour::Paint, json},
};
use crate::{client::Client, wire::doorward::v1 as wire};

/// The arguments of `doorward doctor`.
#[derive(Args, Debug)]
#[command(
    after_help = "Without an address, and if no agent is on the default socket, it tells what an agent would \
    find that is started here.\n\nExit code: 0; 1 if something is missing that nothing replaces; 125 if the \
    agent could not be asked."
)]
pub struct DoctorArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl DoctorArgs {
    /// The agent that was named, or the one on the default socket; `None` if none was named and none is
    /// there.
    pub async fn place(&self) -> anyhow::Result<Option<Place>> {
        let there = self.connection.connect_if_there().await?;
        let options = self.connection.named_or_default();
        Ok(there.map(|_| Place { options, kind: Kind::Remote }))
    }
}

/// Asks the agent, prints what it says, and returns the exit code for this process. All that goes wrong is told
/// on standard error.
pub async fn run(args: &DoctorArgs, place: Place) -> u8 {
    examine(args, place).await.unwrap_or_else(|error| told(&error))
}

async fn examine(args: &DoctorArgs, place: Place) -> anyhow::Result<u8> {
    let address = place.options.address.to_string();
    let client: Client = connect::open(place.options).await?;
    let answer = client.control().get_agent(wire::GetAgentRequest::default()).await;
    let agent = answer.map_err(asking("ask the agent about itself"))?;
    let report = match place.kind {
        Kind::Remote => Report::of_agent(agent, address),
        Kind::Embedded(_) => Report::of_machine(agent, trial::all(&client).await),
    };
    match args.format.json {
        true => json::document(&document::document(&report))?,
        false => show::put(&report.to_text(Paint::for_stdout()))?,
    }
    Ok(if report.is_well() { 0 } else { EXIT_NO })
}
