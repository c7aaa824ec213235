//! `doorward rm`: forgets execs that have ended, and frees their output.

use anyhow::bail;
use clap::Args;
use serde::Serialize;
use tokio::time::timeout;

use super::{
    connect::Connection,
    failure::{EXIT_HELP, Tally, asking},
    kill::{cancel, nothing_left},
    several,
    show::{self, Format, json, words},
    watch::Changes,
};
use crate::{
    client::Control,
    core::{ids::ExecId, limits::CLIENT_PATIENCE},
    wire::doorward::v1::{self as wire, watch_execs_response::Event},
};

/// The arguments of `doorward rm`.
#[derive(Args, Debug)]
#[command(after_help = format!("A forgotten id stays taken: no exec can be started under it again. What \
    was removed is printed, an id a line.\n\n{EXIT_HELP}"))]
pub struct RmArgs {
    #[command(flatten)]
    connection: Connection,
    /// End an exec that runs, and all that came of it, first
    #[arg(short, long)]
    force: bool,
    /// Remove every exec that has ended
    #[arg(long, conflicts_with_all = ["force", "ids"])]
    all_ended: bool,
    #[command(flatten)]
    format: Format,
    /// Which execs
    #[arg(required_unless_present = "all_ended", value_name = "ID", value_parser = ExecId::parse)]
    ids: Vec<ExecId>,
}

/// One line of `--json`.
#[derive(Serialize)]
struct Removed<'a> {
    id: &'a str,
    freed_bytes: u64,
}

/// Removes each of them, whatever becomes of the others.
pub async fn run(args: RmArgs) -> anyhow::Result<u8> {
    let control = args.connection.connect().await?.control();
    let ids = match args.all_ended {
        true => ended(&control).await?,
        false => args.ids.clone(),
    };
    let mut tally = Tally::default();
    let remove = |id: ExecId| {
        let (control, force) = (control.clone(), args.force);
        async move {
            let ready = if force { end(&control, &id).await } else { Ok(()) };
            let freed = match ready {
                Ok(()) => forget(&control, &id).await,
                Err(error) => Err(error),
            };
            (id, freed)
        }
    };
    let told = |(id, freed)| tally.take(removed(&id, freed, args.format));
    several::each(ids, remove, told).await?;
    Ok(tally.code())
}

async fn ended(control: &Control) -> anyhow::Result<Vec<ExecId>> {
    let listed = control.list_execs(wire::ListExecsRequest::default()).await;
    let execs = listed.map_err(asking("list execs"))?.execs;
    // An id that no agent of ours gives out is one that we cannot ask for.
    let ids = execs.iter().filter(|exec| words::is_over(exec));
    Ok(ids.filter_map(|exec| ExecId::parse(&exec.exec_id).ok()).collect())
}

/// Forgets an exec; the bytes that were freed.
async fn forget(control: &Control, id: &ExecId) -> anyhow::Result<u64> {
    let request = wire::ForgetExecRequest { exec_id: id.to_string(), ..Default::default() };
    let answer = control.forget_exec(request).await.map_err(asking(format!("remove {id}")))?;
    Ok(answer.freed_bytes)
}

fn removed(id: &ExecId, freed: anyhow::Result<u64>, format: Format) -> anyhow::Result<()> {
    let freed_bytes = freed?;
    match format.json {
        true => json::line(&Removed { id: id.as_str(), freed_bytes }),
        false => show::put(&format!("{id}\n")),
    }
}

/// Ends an exec, and waits until its streams have ended too.
async fn end(control: &Control, id: &ExecId) -> anyhow::Result<()> {
    let answer = cancel(control, id, None).await?;
    nothing_left(id, &answer.left)?;
    if answer.exec.as_ref().is_some_and(words::is_over) {
        return Ok(());
    }
    // Nobody holds its streams any more: this takes as long as what they still have in them.
    match timeout(CLIENT_PATIENCE, over(control, id)).await {
        Ok(over) => over,
        Err(_) => bail!("remove {id}: its output does not end"),
    }
}

async fn over(control: &Control, id: &ExecId) -> anyhow::Result<()> {
    let mut changes = Changes::after(control, String::new());
    loop {
        match changes.next().await.map_err(asking(format!("wait for the end of {id}")))? {
            Event::Exec(exec) if exec.exec_id == id.as_str() && words::is_over(&exec) => {
                return Ok(());
            }
            Event::ForgottenExecId(forgotten) if forgotten == id.as_str() => return Ok(()),
            Event::Exec(_) | Event::ForgottenExecId(_) | Event::CaughtUp(_) => {}
        }
    }
}
