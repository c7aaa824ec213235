//! `doorward inspect`: all about execs.

use std::time::SystemTime;

use clap::Args;
use prost_types::Timestamp;

use super::{
    connect::Connection,
    failure::{EXIT_HELP, Tally, asking},
    show::{
        self, Format,
        colour::Paint,
        human::{age, count, length, printable, since, size, span},
        json, table, words,
    },
};
use crate::{
    core::ids::ExecId,
    wire::doorward::v1::{self as wire, OutputStream},
};

/// The arguments of `doorward inspect`.
#[derive(Args, Debug)]
#[command(after_help = EXIT_HELP)]
pub struct InspectArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    /// Which execs
    #[arg(required = true, value_name = "ID", value_parser = ExecId::parse)]
    ids: Vec<ExecId>,
}

/// Prints them in the order asked for; as JSON, one array.
pub async fn run(args: InspectArgs) -> anyhow::Result<u8> {
    let control = args.connection.connect().await?.control();
    let (mut tally, mut found) = (Tally::default(), Vec::new());
    for id in &args.ids {
        let request =
            wire::GetExecRequest { exec_id: id.to_string(), measure: true, ..Default::default() };
        let answer = control.get_exec(request).await.map_err(asking(format!("inspect {id}")));
        tally.take(answer.map(|answer| found.extend(answer.exec)))?;
    }
    if args.format.json {
        json::document(&found.iter().map(json::Exec::from).collect::<Vec<_>>())?;
    } else {
        let (paint, now) = (Paint::for_stdout(), SystemTime::now());
        let texts: Vec<String> =
            found.iter().map(|exec| table::pairs(&rows(exec, now), paint)).collect();
        show::put(&texts.join("\n"))?;
    }
    Ok(tally.code())
}

/// Names and values; what is not known has no row.
fn rows(exec: &wire::Exec, now: SystemTime) -> Vec<(&'static str, String)> {
    let mut rows = vec![("ID", printable(&exec.exec_id)), ("State", state(exec))];
    rows.push(("Command", words::command_of(exec)));
    let mut row = |name, value: Option<String>| rows.extend(value.map(|value| (name, value)));
    let given = |text: &str| Some(printable(text)).filter(|text| !text.is_empty());
    row("Directory", given(&exec.workdir));
    row("User", given(&exec.user));
    row(
        "Terminal",
        exec.terminal.map(|size| format!("{} rows, {} columns", size.rows, size.columns)),
    );
    row("Process", process(exec));
    row("Requested", exec.requested.as_ref().map(|time| moment(time, now)));
    row("Started", exec.started.as_ref().map(|time| moment(time, now)));
    row("Deadline", exec.deadline.as_ref().map(ToString::to_string));
    let ended = exec.ended.as_ref();
    row("Ended", ended.and_then(|ended| ended.time.as_ref()).map(|time| moment(time, now)));
    row("Cancelled by", ended.and_then(|ended| given(&ended.cancelled_by)));
    row("Ran", exec.run_time.as_ref().and_then(length).map(span));
    for range in &exec.streams {
        row(stream_title(range.stream()), Some(kept(range)));
    }
    row("Input", Some(input(exec)));
    usage(exec.usage.as_ref().unwrap_or(&wire::Usage::default()), &mut row);
    row("Attached", attached(exec));
    rows
}

/// The rows of what was used up.
fn usage(usage: &wire::Usage, row: &mut impl FnMut(&'static str, Option<String>)) {
    let time = |time: &Option<prost_types::Duration>| time.as_ref().and_then(length).map(span);
    let all = |parts: [Option<String>; 2]| {
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        Some(parts.join(", ")).filter(|text| !text.is_empty())
    };
    row(
        "Memory",
        all([
            usage.memory_bytes.map(|bytes| format!("{} held", size(bytes))),
            usage.memory_peak_bytes.map(|bytes| format!("{} at most", size(bytes))),
        ]),
    );
    row(
        "Processor",
        all([
            time(&usage.user_time).map(|time| format!("{time} in its own code")),
            time(&usage.system_time).map(|time| format!("{time} in the kernel")),
        ]),
    );
    row(
        "Storage",
        all([
            usage.read_bytes.map(|bytes| format!("{} read", size(bytes))),
            usage.written_bytes.map(|bytes| format!("{} written", size(bytes))),
        ]),
    );
    // None is the usual number, and nothing to look at.
    let faults = usage.major_faults.filter(|number| *number > 0);
    row("Page faults", faults.map(|number| format!("{number} that waited for storage")));
}

fn state(exec: &wire::Exec) -> String {
    match &exec.ended {
        Some(ended) => format!("{}: {}", words::state(exec), words::reason(ended)),
        None => words::state(exec).to_string(),
    }
}

fn process(exec: &wire::Exec) -> Option<String> {
    // Of one that is over, only what it left behind is worth a word.
    let alive = exec.processes.filter(|alive| *alive > 0 || !words::is_over(exec));
    let alive = alive.map(|alive| format!("{} alive", count(alive.into(), "process", "processes")));
    match (exec.pid, alive) {
        (Some(pid), Some(alive)) => Some(format!("{pid} ({alive})")),
        (Some(pid), None) => Some(pid.to_string()),
        (None, alive) => alive,
    }
}

fn moment(time: &Timestamp, now: SystemTime) -> String {
    match since(time, now) {
        Some(passed) => format!("{time} ({} ago)", age(passed)),
        None => time.to_string(),
    }
}

fn stream_title(stream: OutputStream) -> &'static str {
    match stream {
        OutputStream::Stdout => "Output",
        OutputStream::Stderr => "Errors",
        OutputStream::Unspecified => "Stream",
    }
}

/// `1.5 KiB, all kept, ended`, or which part is kept.
fn kept(range: &wire::StreamRange) -> String {
    let all = match range.dropped_bytes {
        0 => "all kept".to_string(),
        dropped => format!(
            "kept from byte {} on, {} dropped",
            range.first_offset,
            count(dropped, "byte", "bytes")
        ),
    };
    let end = if range.ended { "ended" } else { "open" };
    match range.end_offset {
        0 => format!("nothing, {end}"),
        bytes => format!("{}, {all}, {end}", size(bytes)),
    }
}

fn input(exec: &wire::Exec) -> String {
    let end = if exec.stdin_closed { "closed" } else { "open" };
    format!("{}, {end}", size(exec.stdin_accepted))
}

fn attached(exec: &wire::Exec) -> Option<String> {
    let who = count(exec.attached.into(), "caller", "callers");
    match (exec.attached, exec.has_writer) {
        (0, _) => None,
        (_, true) => Some(format!("{who}, one of whom writes")),
        (_, false) => Some(who),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_told_and_nothing_else() {
        let exec = wire::Exec {
            exec_id: "x".into(),
            state: wire::ExecState::Ended.into(),
            argv: vec!["sh".into(), "-c".into(), "\x1b]0;title\x07".into()],
            workdir: "/tmp/\x1b[31m".into(),
            pid: Some(7),
            ended: Some(wire::Ended {
                reason: wire::EndReason::Deadline.into(),
                signal: Some(9),
                ..Default::default()
            }),
            streams: vec![wire::StreamRange {
                stream: OutputStream::Stdout.into(),
                first_offset: 1024,
                end_offset: 2048,
                dropped_bytes: 1024,
                ended: true,
            }],
            stdin_closed: true,
            usage: Some(wire::Usage { memory_peak_bytes: Some(2 << 20), ..Default::default() }),
            ..Default::default()
        };
        let text = table::pairs(&rows(&exec, SystemTime::UNIX_EPOCH), Paint::Plain);
        let expected = r"ID         x
State      ended: killed: its deadline passed
Command    sh -c $'\x1b]0;title\x07'
Directory  /tmp/\u{1b}[31m
Process    7
Output     2.0 KiB, kept from byte 1024 on, 1024 bytes dropped, ended
Input      0 B, closed
Memory     2.0 MiB at most
";
        assert_eq!(text, expected);
    }
}
