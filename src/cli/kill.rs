//! `doorward kill`: signals to execs, and their end.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{
    connect::Connection,
    failure::{No, Tally, asking},
    several,
    show::{Format, human::count, json},
    signals::{self, Signal},
};
use crate::{
    client::Control,
    core::{ids::ExecId, limits::CANCEL_GRACE_MAX, units},
    wire::doorward::v1::{self as wire, SignalTarget},
};

/// Processes named that could not be ended: more than a line has room for helps nobody.
const LEFT_NAMED_MAX: usize = 10;

/// The arguments of `doorward kill`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit code: 0; 1 if there is no such exec, if its state forbids it or if something could not be \
    ended; 125 if the agent could not be asked."
)]
pub struct KillArgs {
    #[command(flatten)]
    connection: Connection,
    /// The signal, by name or by number
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM")]
    signal: Signal,
    /// To the process group of its first process; with a terminal, to the group in the foreground
    #[arg(long, conflicts_with = "tree")]
    group: bool,
    /// To every process that came of it
    #[arg(long)]
    tree: bool,
    /// End it and all that came of it: TERM, after the grace KILL; returns when nothing is left
    #[arg(long, conflicts_with_all = ["signal", "group", "tree"])]
    cancel: bool,
    /// Time between TERM and KILL, as 10, 500ms or 2m, up to an hour; 0: KILL at once [default: the agent's
    /// own]
    #[arg(long, value_name = "TIME", requires = "cancel", value_parser = grace)]
    grace: Option<Duration>,
    #[command(flatten)]
    format: Format,
    /// Which execs
    #[arg(required = true, value_name = "ID", value_parser = ExecId::parse)]
    ids: Vec<ExecId>,
}

/// Does it to each of them, whatever becomes of the others.
pub async fn run(args: KillArgs) -> anyhow::Result<u8> {
    let control = args.connection.connect().await?.control();
    let mut tally = Tally::default();
    if !args.cancel {
        for id in &args.ids {
            tally.take(send(&control, id, &args).await)?;
        }
        return Ok(tally.code());
    }
    let end = |id: ExecId| {
        let (control, grace) = (control.clone(), args.grace);
        async move {
            let answer = cancel(&control, &id, grace).await;
            (id, answer)
        }
    };
    let told = |(id, answer)| tally.take(ended(&id, answer, args.format));
    several::each(args.ids.iter().cloned(), end, told).await?;
    Ok(tally.code())
}

/// One line of `--json` for a signal.
#[derive(Serialize)]
struct Sent<'a> {
    id: &'a str,
    signal: i32,
    target: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<u32>,
}

async fn send(control: &Control, id: &ExecId, args: &KillArgs) -> anyhow::Result<()> {
    let (target, name) = match (args.tree, args.group) {
        (true, _) => (SignalTarget::Tree, "tree"),
        (false, true) => (SignalTarget::Group, "group"),
        (false, false) => (SignalTarget::Leader, "leader"),
    };
    let signal = args.signal.number();
    let request = wire::SignalExecRequest {
        exec_id: id.to_string(),
        signal,
        target: target.into(),
        ..Default::default()
    };
    let what = format!("send {} to {id}", signals::shown(signal));
    let answer = control.signal_exec(request).await.map_err(asking(what))?;
    match args.format.json {
        true => {
            let processes = answer.processes;
            json::line(&Sent { id: id.as_str(), signal, target: name, processes })
        }
        false => Ok(()),
    }
}

/// One line of `--json` for an end.
#[derive(Serialize)]
struct Cancelled<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<json::Ended<'a>>,
    left: Vec<Left<'a>>,
}

#[derive(Serialize)]
struct Left<'a> {
    pid: i32,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> Cancelled<'a> {
    fn new(id: &'a ExecId, answer: &'a wire::CancelExecResponse) -> Self {
        let ended = answer.exec.as_ref().and_then(|exec| exec.ended.as_ref());
        let left = answer.left.iter().map(|process| Left {
            pid: process.pid,
            name: &process.name,
            reason: Some(&process.reason[..]).filter(|reason| !reason.is_empty()),
        });
        Self { id: id.as_str(), ended: ended.map(json::Ended::from), left: left.collect() }
    }
}

/// Tells what came of an end.
fn ended(
    id: &ExecId,
    answer: anyhow::Result<wire::CancelExecResponse>,
    format: Format,
) -> anyhow::Result<()> {
    let answer = answer?;
    if format.json {
        json::line(&Cancelled::new(id, &answer))?;
    }
    nothing_left(id, &answer.left)
}

/// Ends an exec and all that came of it; without a grace, the agent's own.
pub(super) async fn cancel(
    control: &Control,
    id: &ExecId,
    grace: Option<Duration>,
) -> anyhow::Result<wire::CancelExecResponse> {
    let grace = grace.map(|grace| {
        prost_types::Duration::try_from(grace).expect("an hour at most has been let in")
    });
    let request = wire::CancelExecRequest { exec_id: id.to_string(), grace, ..Default::default() };
    control.cancel_exec(request).await.map_err(asking(format!("end {id}")))
}

/// An error if anything of an exec could not be ended; it names what is left.
pub(super) fn nothing_left(id: &ExecId, left: &[wire::LeftProcess]) -> anyhow::Result<()> {
    if left.is_empty() {
        return Ok(());
    }
    let named = left.iter().take(LEFT_NAMED_MAX).map(|process| match &process.reason[..] {
        "" => format!("{} {}", process.pid, process.name),
        reason => format!("{} {} ({reason})", process.pid, process.name),
    });
    let mut named = named.collect::<Vec<_>>().join(", ");
    if left.len() > LEFT_NAMED_MAX {
        named += &format!(" and {} more", left.len() - LEFT_NAMED_MAX);
    }
    let number = u64::try_from(left.len()).unwrap_or(u64::MAX);
    let number = count(number, "process is", "processes are");
    Err(No(format!("end {id}: {number} left: {named}")).into())
}

fn grace(text: &str) -> Result<Duration, String> {
    let grace = units::duration(text).map_err(|error| error.to_string())?;
    match grace <= CANCEL_GRACE_MAX {
        true => Ok(grace),
        false => Err("it is longer than an hour".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        kill: KillArgs,
    }

    fn parse(args: &str) -> Result<KillArgs, clap::Error> {
        let words = ["kill"].into_iter().chain(args.split(' '));
        Cli::try_parse_from(words).map(|cli| cli.kill)
    }

    #[test]
    fn arguments() {
        let args = parse("-s hup --tree a b").unwrap();
        assert_eq!((args.signal.number(), args.tree, args.ids.len()), (1, true, 2));
        assert_eq!(parse("a").unwrap().signal.number(), 15);
        let grace = |args| parse(args).unwrap().grace;
        assert_eq!(grace("--cancel --grace 500ms a"), Some(Duration::from_millis(500)));
        assert_eq!(grace("--cancel --grace 1h a"), Some(CANCEL_GRACE_MAX));
        assert_eq!(grace("--cancel a"), None);
    }

    #[test]
    fn what_is_left_is_named() {
        let id = ExecId::parse("x").unwrap();
        let process =
            |reason: &str| wire::LeftProcess { pid: 7, name: "cat".into(), reason: reason.into() };
        assert!(nothing_left(&id, &[]).is_ok());
        let one = nothing_left(&id, &[process("frozen")]).unwrap_err();
        assert_eq!(one.to_string(), "end x: 1 process is left: 7 cat (frozen)");
        let many = nothing_left(&id, &vec![process(""); 12]).unwrap_err().to_string();
        assert!(many.starts_with("end x: 12 processes are left: 7 cat, 7 cat, "), "{many}");
        assert!(many.ends_with("7 cat and 2 more"), "{many}");
    }

    #[test]
    fn mistakes_are_refused() {
        let mistakes = [
            "--tree",
            "--group --tree a",
            "--cancel -s 9 a",
            "--grace 3 a",
            "--cancel --grace 61m a",
            "-s 65 a",
            "a/b",
        ];
        for args in mistakes {
            assert!(parse(args).is_err(), "{args}");
        }
    }
}
