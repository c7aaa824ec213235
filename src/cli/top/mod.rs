//! `doorward top`: the execs that live, and what they do a second.
//!
//! On a terminal it is a live view: a state that changes is shown at once (WatchExecs), what is
//! measured once an interval (ListExecs). Elsewhere it is one table an interval.

mod live;
mod measure;
mod screen;

use std::{io::stdout, num::NonZeroU32, time::Duration};

use clap::Args;
use rustix::termios::isatty;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use self::measure::{Meter, Order, Row, age, memory, sort};
use super::{
    connect::Connection,
    failure::asking,
    show::{
        self, Format,
        colour::{Paint, Tone},
        human, json,
        table::{Align, Cell, Room, Table},
        words,
    },
};
use crate::{
    client::Control,
    core::{limits::TOP_INTERVAL_MIN, units},
    wire::doorward::v1 as wire,
};

/// The arguments of `doorward top`.
#[derive(Args, Debug)]
#[command(
    after_help = "CPU is in percent of one processor, OUT/S what was printed a second; - where the kernel \
    does not say. Keys: c, m, o, a and i sort by processor, memory, output, age and id, q \
    leaves.\n\nExit code: 0; 128+n if signal n ended it; 125 if the agent could not be asked."
)]
pub struct TopArgs {
    #[command(flatten)]
    connection: Connection,
    /// Time between two looks, as 1, 500ms or 1m; a tenth of a second at least
    #[arg(short = 'd', long, value_name = "TIME", default_value = "1s", value_parser = between)]
    interval: Duration,
    /// Leave after so many looks
    #[arg(short = 'n', long, value_name = "COUNT")]
    count: Option<NonZeroU32>,
    /// The order at first
    #[arg(long, value_enum, default_value_t = Order::Cpu)]
    sort: Order,
    /// Print tables one after the other, as if standard output were no terminal
    #[arg(short, long)]
    batch: bool,
    #[command(flatten)]
    format: Format,
}

/// Shows them until it is told to leave.
pub async fn run(args: TopArgs) -> anyhow::Result<u8> {
    let control = args.connection.connect().await?.control();
    if isatty(stdout()) && !args.batch && !args.format.json {
        let address = args.connection.named_or_default().address.to_string();
        return live::run(&args, &control, &address).await;
    }
    let mut meter = Meter::default();
    let mut clock = interval(args.interval);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock.tick().await;
    // The first look is what the second one is held against.
    meter.rows(look(&control).await?.execs);
    let mut left = args.count.map(NonZeroU32::get);
    while left != Some(0) {
        clock.tick().await;
        let mut rows = meter.rows(look(&control).await?.execs);
        sort(&mut rows, args.sort);
        match args.format.json {
            true => json::line(&rows.iter().map(Line::from).collect::<Vec<_>>())?,
            false => {
                let lines = table(&rows).lines(Paint::for_stdout(), Room::Unbounded);
                let gap = if left == args.count.map(NonZeroU32::get) { "" } else { "\n" };
                show::put(&format!("{gap}{}\n", lines.join("\n")))?;
            }
        }
        left = left.map(|left| left - 1);
    }
    Ok(0)
}

/// The live execs as they are.
async fn look(control: &Control) -> anyhow::Result<wire::ListExecsResponse> {
    let request = wire::ListExecsRequest { live_only: true, measure: true, ..Default::default() };
    control.list_execs(request).await.map_err(asking("list execs"))
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("STATE", Align::Left),
        ("PID", Align::Right),
        ("PROCS", Align::Right),
        ("CPU", Align::Right),
        ("MEMORY", Align::Right),
        ("OUT/S", Align::Right),
        ("AGE", Align::Right),
        ("COMMAND", Align::Left),
    ]);
    let known = |text: Option<String>| Cell::from(text.unwrap_or_else(|| "-".into()));
    for row in rows {
        let exec = &row.exec;
        table.row([
            Cell::new(Tone::Strong, human::printable(&exec.exec_id)),
            Cell::new(words::state_tone(exec), words::state(exec)),
            known(exec.pid.map(|pid| pid.to_string())),
            known(exec.processes.map(|number| number.to_string())),
            known(row.cpu_percent.map(|percent| format!("{percent:.1} %"))),
            known(memory(row).map(human::size)),
            known(row.output_rate.map(|rate| human::size(rate.round() as u64))),
            known(age(row).map(human::age)),
            words::command_of(exec).into(),
        ]);
    }
    table
}

/// One exec in a line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    exec: json::Exec<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_bytes_per_second: Option<f64>,
}

impl<'a> From<&'a Row> for Line<'a> {
    fn from(row: &'a Row) -> Self {
        Self {
            exec: (&row.exec).into(),
            cpu_percent: row.cpu_percent,
            output_bytes_per_second: row.output_rate,
        }
    }
}

fn between(text: &str) -> Result<Duration, String> {
    let interval = units::duration(text).map_err(|error| error.to_string())?;
    let enough = Some(interval).filter(|interval| *interval >= TOP_INTERVAL_MIN);
    enough.ok_or("a tenth of a second is the least".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_a_dash() {
        let exec = wire::Exec {
            exec_id: "web".into(),
            state: wire::ExecState::Running.into(),
            argv: vec!["x".into()],
            pid: Some(7),
            ..Default::default()
        };
        let known = wire::Exec {
            usage: Some(wire::Usage { memory_bytes: Some(3 << 20), ..Default::default() }),
            run_time: Some(prost_types::Duration { seconds: 61, nanos: 0 }),
            processes: Some(2),
            ..exec.clone()
        };
        let rows = [
            Row { exec, cpu_percent: None, output_rate: None },
            Row { exec: known, cpu_percent: Some(99.96), output_rate: Some(1536.2) },
        ];
        let lines = table(&rows).lines(Paint::Plain, Room::Unbounded);
        assert_eq!(
            lines,
            [
                "ID   STATE    PID  PROCS      CPU   MEMORY    OUT/S    AGE  COMMAND",
                "web  running    7      -        -        -        -      -  x",
                "web  running    7      2  100.0 %  3.0 MiB  1.5 KiB  1 min  x",
            ]
        );
    }

    #[test]
    fn intervals_have_a_least() {
        assert_eq!(between("100ms").unwrap(), TOP_INTERVAL_MIN);
        assert!(between("99ms").is_err() && between("x").is_err());
    }
}
