//! Answers as JSON. The names are stable: fields are added, never renamed.
//!
//! Times are RFC 3339 strings, durations numbers of seconds, sizes numbers of bytes. What is not
//! known is left out, never 0.

use prost_types::{Duration, Timestamp};
use serde::Serialize;

use super::{put, words};
use crate::wire::doorward::v1 as wire;

/// Prints one document that people may look at too.
pub(in crate::cli) fn document(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).expect("our values have string keys");
    put(&format!("{}\n", harmless(&text)))
}

/// Prints one line of several.
pub(in crate::cli) fn line(value: &impl Serialize) -> anyhow::Result<()> {
    put(&line_text(value))
}

/// One line of several, with its end.
pub(in crate::cli) fn line_text(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("our values have string keys");
    format!("{}\n", harmless(&text))
}

/// JSON escapes the controls of ASCII alone. Characters beyond stand within strings only, where an
/// escape means the same.
fn harmless(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => safe += &format!("\\u{:04x}", u32::from(c)),
            c => safe.push(c),
        }
    }
    safe
}

/// A time of the wire; one that is out of every calendar is left out.
pub(in crate::cli) fn time(time: &Option<Timestamp>) -> Option<String> {
    time.as_ref().map(ToString::to_string)
}

/// A duration of the wire, in seconds.
pub(in crate::cli) fn seconds(time: &Option<Duration>) -> Option<f64> {
    time.as_ref().map(|time| time.seconds as f64 + f64::from(time.nanos) / 1e9)
}

fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// All about one exec.
#[derive(Serialize)]
pub(in crate::cli) struct Exec<'a> {
    id: &'a str,
    state: &'static str,
    argv: &'a [String],
    argv_cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    workdir: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terminal: Option<Terminal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_time_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Ended<'a>>,
    streams: Vec<StreamRange>,
    stdin_accepted_bytes: u64,
    stdin_closed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<u32>,
    attached: u32,
    has_writer: bool,
}

#[derive(Serialize)]
struct Terminal {
    rows: u32,
    columns: u32,
}

/// The end of an exec.
#[derive(Serialize)]
pub(in crate::cli) struct Ended<'a> {
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_time_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_failure: Option<StartFailure<'a>>,
}

#[derive(Serialize)]
struct StartFailure<'a> {
    stage: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    message: &'a str,
}

#[derive(Serialize)]
struct StreamRange {
    stream: &'static str,
    first_offset: u64,
    end_offset: u64,
    dropped_bytes: u64,
    ended: bool,
}

#[derive(Serialize)]
struct Usage {
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_peak_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    major_faults: Option<u64>,
}

impl<'a> From<&'a wire::Exec> for Exec<'a> {
    fn from(exec: &'a wire::Exec) -> Self {
        Self {
            id: &exec.exec_id,
            state: words::state(exec),
            argv: &exec.argv,
            argv_cut: exec.argv_cut,
            workdir: given(&exec.workdir),
            user: given(&exec.user),
            terminal: exec.terminal.map(|size| Terminal { rows: size.rows, columns: size.columns }),
            pid: exec.pid,
            requested: time(&exec.requested),
            started: time(&exec.started),
            run_time_seconds: seconds(&exec.run_time),
            deadline: time(&exec.deadline),
            ended: exec.ended.as_ref().map(Ended::from),
            streams: exec.streams.iter().map(StreamRange::from).collect(),
            stdin_accepted_bytes: exec.stdin_accepted,
            stdin_closed: exec.stdin_closed,
            usage: exec.usage.as_ref().map(Usage::from),
            processes: exec.processes,
            attached: exec.attached,
            has_writer: exec.has_writer,
        }
    }
}

impl<'a> From<&'a wire::Ended> for Ended<'a> {
    fn from(ended: &'a wire::Ended) -> Self {
        Self {
            reason: words::reason_name(ended),
            time: time(&ended.time),
            run_time_seconds: seconds(&ended.run_time),
            exit_code: ended.exit_code,
            signal: ended.signal,
            cancelled_by: given(&ended.cancelled_by),
            start_failure: ended.start_failure.as_ref().map(|failure| StartFailure {
                stage: &failure.stage,
                errno: failure.errno,
                message: &failure.message,
            }),
        }
    }
}

impl From<&wire::StreamRange> for StreamRange {
    fn from(range: &wire::StreamRange) -> Self {
        Self {
            stream: words::stream(range.stream()),
            first_offset: range.first_offset,
            end_offset: range.end_offset,
            dropped_bytes: range.dropped_bytes,
            ended: range.ended,
        }
    }
}

impl From<&wire::Usage> for Usage {
    fn from(usage: &wire::Usage) -> Self {
        Self {
            memory_peak_bytes: usage.memory_peak_bytes,
            memory_bytes: usage.memory_bytes,
            user_seconds: seconds(&usage.user_time),
            system_seconds: seconds(&usage.system_time),
            read_bytes: usage.read_bytes,
            written_bytes: usage.written_bytes,
            major_faults: usage.major_faults,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exec_is_named_and_united_as_documented() {
        let exec = wire::Exec {
            exec_id: "x".into(),
            state: wire::ExecState::Ended.into(),
            argv: vec!["true".into()],
            pid: Some(7),
            started: Some(Timestamp { seconds: 0, nanos: 500_000_000 }),
            run_time: Some(Duration { seconds: 2, nanos: 250_000_000 }),
            ended: Some(wire::Ended {
                reason: wire::EndReason::OutOfMemoryLikely.into(),
                signal: Some(9),
                ..Default::default()
            }),
            ..Default::default()
        };
        let text = serde_json::to_string(&Exec::from(&exec)).unwrap();
        let expected = r#"{"id":"x","state":"ended","argv":["true"],"argv_cut":false,"pid":7,"started":"1970-01-01T00:00:00.500Z","run_time_seconds":2.25,"ended":{"reason":"out_of_memory_likely","signal":9},"streams":[],"stdin_accepted_bytes":0,"stdin_closed":false,"attached":0,"has_writer":false}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn no_control_stands_in_json() {
        let text = line_text(&"\x1b[2J\u{9b}31m\u{202e}é");
        assert_eq!(text, "\"\\u001b[2J\\u009b31m\\u202eé\"\n");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), "\x1b[2J\u{9b}31m\u{202e}é");
    }
}
