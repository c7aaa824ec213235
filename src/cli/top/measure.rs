//! From two looks at the execs to what each does a second: pure, so that it can be tested.

use std::{cmp::Ordering, collections::HashMap, time::Duration};

use clap::ValueEnum;

use crate::{
    cli::show::human::length,
    wire::doorward::v1::{self as wire},
};

/// One exec with what it does.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// The exec as it was told last.
    pub(super) exec: wire::Exec,
    /// Processor time a second, in percent of one processor. Absent in the first look at it, and where the
    /// kernel does not say.
    pub(super) cpu_percent: Option<f64>,
    /// Bytes of output a second, over both streams. Absent in the first look at it.
    pub(super) output_rate: Option<f64>,
}

/// In which order they stand: the largest first, but ids from a to z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Order {
    /// Processor time a second
    Cpu,
    /// Memory held
    Memory,
    /// Bytes of output a second
    Output,
    /// Time since the start
    Age,
    /// Name
    Id,
}

/// Remembers the last look, to tell what happened since.
#[derive(Debug, Default)]
pub(super) struct Meter(HashMap<String, Look>);

/// What was seen of an exec at one moment of its own.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// How long it had run, by the agent's steady clock: no delay of the network is in it.
    at: Duration,
    cpu: Option<Duration>,
    output: u64,
}

impl Look {
    fn at(exec: &wire::Exec) -> Option<Self> {
        let usage = exec.usage.as_ref();
        let time = |time: Option<&prost_types::Duration>| time.and_then(length);
        let user = time(usage.and_then(|usage| usage.user_time.as_ref()));
        let system = time(usage.and_then(|usage| usage.system_time.as_ref()));
        Some(Self {
            at: time(exec.run_time.as_ref())?,
            cpu: user.zip(system).map(|(user, system)| user.saturating_add(system)),
            output: exec.streams.iter().fold(0, |sum, range| range.end_offset.saturating_add(sum)),
        })
    }
}

impl Meter {
    /// What each of these does, given what was seen of them last.
    pub(super) fn rows(&mut self, execs: Vec<wire::Exec>) -> Vec<Row> {
        let mut looks = HashMap::with_capacity(execs.len());
        let rows = execs.into_iter().map(|exec| {
            let (before, now) = (self.0.get(&exec.exec_id), Look::at(&exec));
            let passed = before.zip(now).map(|(before, now)| {
                let seconds = now.at.saturating_sub(before.at).as_secs_f64();
                (before, now, seconds)
            });
            let passed = passed.filter(|(_, _, seconds)| *seconds > 0.0);
            if let Some(now) = now {
                looks.insert(exec.exec_id.clone(), now);
            }
            Row {
                cpu_percent: passed.and_then(|(before, now, seconds)| {
                    // A sum over processes falls when one of them ends.
                    let used = now.cpu?.saturating_sub(before.cpu?);
                    Some(used.as_secs_f64() / seconds * 100.0)
                }),
                output_rate: passed.map(|(before, now, seconds)| {
                    now.output.saturating_sub(before.output) as f64 / seconds
                }),
                exec,
            }
        });
        let rows = rows.collect();
        self.0 = looks;
        rows
    }
}

/// Puts rows in order; equals stand by their ids, so that they do not dance.
pub(super) fn sort(rows: &mut [Row], order: Order) {
    let falling = |a: Option<f64>, b: Option<f64>| b.partial_cmp(&a).unwrap_or(Ordering::Equal);
    rows.sort_by(|a, b| {
        let first = match order {
            Order::Cpu => falling(a.cpu_percent, b.cpu_percent),
            Order::Memory => memory(b).cmp(&memory(a)),
            Order::Output => falling(a.output_rate, b.output_rate),
            Order::Age => age(b).cmp(&age(a)),
            Order::Id => Ordering::Equal,
        };
        first.then_with(|| a.exec.exec_id.cmp(&b.exec.exec_id))
    });
}

/// The memory that an exec holds, in bytes.
pub(super) fn memory(row: &Row) -> Option<u64> {
    row.exec.usage.as_ref()?.memory_bytes
}

/// How long an exec has run.
pub(super) fn age(row: &Row) -> Option<Duration> {
    row.exec.run_time.as_ref().and_then(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An exec that has run so long, used so much processor time and printed so many bytes.
    fn exec(id: &str, millis: i64, cpu_millis: i64, bytes: u64) -> wire::Exec {
        let time = |millis: i64| prost_types::Duration {
            seconds: millis / 1000,
            nanos: (millis % 1000) as i32 * 1_000_000,
        };
        wire::Exec {
            exec_id: id.into(),
            run_time: Some(time(millis)),
            usage: Some(wire::Usage {
                user_time: Some(time(cpu_millis)),
                system_time: Some(time(0)),
                memory_bytes: Some(bytes),
                ..Default::default()
            }),
            streams: vec![wire::StreamRange { end_offset: bytes, ..Default::default() }],
            ..Default::default()
        }
    }

    #[test]
    fn rates_are_by_the_agents_own_clock() {
        let mut meter = Meter::default();
        let first = meter.rows(vec![exec("a", 1000, 100, 50)]);
        assert_eq!((first[0].cpu_percent, first[0].output_rate), (None, None));
        let then = meter.rows(vec![exec("a", 1500, 350, 1050), exec("b", 10, 0, 0)]);
        assert_eq!((then[0].cpu_percent, then[0].output_rate), (Some(50.0), Some(2000.0)));
        assert_eq!(then[1].cpu_percent, None);
        // A child with its time is gone, and no time has passed for b.
        let last = meter.rows(vec![exec("a", 2500, 300, 1050), exec("b", 10, 9, 9)]);
        assert_eq!((last[0].cpu_percent, last[0].output_rate), (Some(0.0), Some(0.0)));
        assert_eq!((last[1].cpu_percent, last[1].output_rate), (None, None));
    }

    #[test]
    fn what_the_kernel_does_not_say_has_no_rate() {
        let mut meter = Meter::default();
        let silent = |millis| wire::Exec { usage: None, ..exec("a", millis, 0, 10) };
        meter.rows(vec![silent(1000)]);
        let rows = meter.rows(vec![silent(2000)]);
        assert_eq!((rows[0].cpu_percent, rows[0].output_rate), (None, Some(0.0)));
    }

    #[test]
    fn orders() {
        let mut meter = Meter::default();
        meter.rows(vec![exec("a", 100, 0, 0), exec("b", 200, 0, 0), exec("c", 50, 0, 0)]);
        let mut rows =
            meter.rows(vec![exec("a", 1100, 5, 9), exec("b", 1200, 9, 2), exec("c", 1050, 5, 5)]);
        rows.push(Row { exec: wire::Exec::default(), cpu_percent: None, output_rate: None });
        let mut ids = |order| {
            sort(&mut rows, order);
            rows.iter().map(|row| row.exec.exec_id.as_str()).collect::<String>()
        };
        assert_eq!(ids(Order::Cpu), "bac");
        assert_eq!(ids(Order::Memory), "acb");
        assert_eq!(ids(Order::Output), "acb");
        assert_eq!(ids(Order::Age), "bac");
        assert_eq!(ids(Order::Id), "abc");
    }
}
