//! `doorward ps`: which execs there are.

use std::time::{Duration, SystemTime};

use clap::Args;

use super::{
    connect::Connection,
    failure::asking,
    show::{
        self, Format,
        colour::{Paint, Tone},
        human::{age, length, printable, since},
        json,
        table::{Align, Cell, Room, Table},
        words,
    },
    terminal,
};
use crate::wire::doorward::v1 as wire;

/// The arguments of `doorward ps`.
#[derive(Args, Debug)]
#[command(
    after_help = "AGE is the time since the start, REASON why it ended. `doorward inspect ID` tells \
    all.\n\nExit code: 0; 125 if the agent could not be asked."
)]
pub struct PsArgs {
    #[command(flatten)]
    connection: Connection,
    /// Show execs that have ended too
    #[arg(short, long)]
    all: bool,
    /// Show ids only
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Do not cut commands to the width of the terminal
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    format: Format,
}

/// Prints them, the oldest start first.
pub async fn run(args: PsArgs) -> anyhow::Result<u8> {
    let control = args.connection.connect().await?.control();
    let request = wire::ListExecsRequest { live_only: !args.all, ..Default::default() };
    let execs = control.list_execs(request).await.map_err(asking("list execs"))?.execs;
    if args.format.json {
        json::document(&execs.iter().map(json::Exec::from).collect::<Vec<_>>())?;
    } else if args.quiet {
        let lines = execs.iter().flat_map(|exec| [printable(&exec.exec_id), "\n".into()]);
        show::put(&lines.collect::<String>())?;
    } else {
        let room = match terminal::columns() {
            Some(columns) if !args.no_trunc => Room::Columns(columns),
            Some(_) | None => Room::Unbounded,
        };
        let lines = table(&execs, SystemTime::now()).lines(Paint::for_stdout(), room);
        show::put(&(lines.join("\n") + "\n"))?;
    }
    Ok(0)
}

fn table(execs: &[wire::Exec], now: SystemTime) -> Table {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("STATE", Align::Left),
        ("PID", Align::Right),
        ("AGE", Align::Right),
        ("REASON", Align::Left),
        ("COMMAND", Align::Left),
    ]);
    for exec in execs {
        let reason = exec
            .ended
            .as_ref()
            .map(|ended| Cell::new(words::reason_tone(ended), words::reason_short(ended)));
        let pid = exec.pid.map(|pid| pid.to_string());
        table.row([
            Cell::new(Tone::Strong, printable(&exec.exec_id)),
            Cell::new(words::state_tone(exec), words::state(exec)),
            pid.unwrap_or_default().into(),
            age_of(exec, now).map(age).unwrap_or_default().into(),
            reason.unwrap_or_else(|| "".into()),
            words::command_of(exec).into(),
        ]);
    }
    table
}

/// The time since an exec's start: by the agent's steady clock while it runs, by the two clocks of the
/// wall once it has ended.
fn age_of(exec: &wire::Exec, now: SystemTime) -> Option<Duration> {
    match &exec.ended {
        None => exec.run_time.as_ref().and_then(length),
        Some(_) => since(exec.started.as_ref().or(exec.requested.as_ref())?, now),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn live_and_ended_ones() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let running = wire::Exec {
            exec_id: "web".into(),
            state: wire::ExecState::Running.into(),
            argv: vec!["sleep".into(), "1\n2".into()],
            pid: Some(12),
            run_time: Some(prost_types::Duration { seconds: 7, nanos: 0 }),
            ..Default::default()
        };
        let ended = wire::Exec {
            exec_id: "build".into(),
            state: wire::ExecState::Ended.into(),
            argv: vec!["make".into()],
            argv_cut: true,
            pid: Some(7),
            started: Some(Timestamp { seconds: 1000, nanos: 0 }),
            ended: Some(wire::Ended {
                reason: wire::EndReason::Exited.into(),
                exit_code: Some(2),
                ..Default::default()
            }),
            ..Default::default()
        };
        let lines = table(&[running, ended], now).lines(Paint::Plain, Room::Unbounded);
        assert_eq!(
            lines,
            [
                "ID     STATE    PID  AGE  REASON  COMMAND",
                "web    running   12  7 s          sleep $'1\\n2'",
                "build  ended      7  2 h  exit 2  make …",
            ]
        );
    }
}
