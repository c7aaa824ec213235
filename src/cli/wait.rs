//! `doorward wait`: the end of execs, and their codes as ours.

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::{
    connect::Connection,
    exec::code,
    failure::{EXIT_OWN, NoReader, asking, told},
    show::{Format, json},
};
use crate::{client::Client, core::ids::ExecId, wire::doorward::v1 as wire};

/// The arguments of `doorward wait`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit code: the exec's own, 128+n if signal n ended it; of several, the first in \
    the order given that is not 0. 125 if one could not be waited for or never started."
)]
pub struct WaitArgs {
    #[command(flatten)]
    connection: Connection,
    /// Print how each ended, one JSON object a line
    #[command(flatten)]
    format: Format,
    /// Which execs
    #[arg(required = true, value_name = "ID", value_parser = ExecId::parse)]
    ids: Vec<ExecId>,
}

/// One line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    /// What our own exit code would be for this one alone.
    code: u8,
    #[serde(flatten)]
    ended: Option<json::Ended<'a>>,
}

/// Waits for each of them, whatever becomes of the others.
pub async fn run(args: WaitArgs) -> anyhow::Result<u8> {
    let client = args.connection.connect().await?;
    let mut first = 0;
    for id in &args.ids {
        let code = match one(&client, id, args.format).await {
            Ok(code) => code,
            Err(error) if error.is::<NoReader>() => return Err(error),
            // Each smaller code could be an exec's own.
            Err(error) => told(&error).max(EXIT_OWN),
        };
        first = if first == 0 { code } else { first };
    }
    Ok(first)
}

async fn one(client: &Client, id: &ExecId, format: Format) -> anyhow::Result<u8> {
    let status = client.wait(id.as_str()).await.map_err(asking(format!("wait for {id}")))?;
    if format.json {
        let request = wire::GetExecRequest { exec_id: id.to_string(), ..Default::default() };
        let answer = client.control().get_exec(request).await;
        let answer = answer.map_err(asking(format!("ask how {id} ended")))?;
        let exec = answer.exec.with_context(|| format!("understand how {id} ended"))?;
        let ended = exec.ended.as_ref().map(json::Ended::from);
        json::line(&Line { id: id.as_str(), code: code(status), ended })?;
    }
    Ok(code(status))
}
