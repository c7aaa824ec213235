//! One line a figure.

use std::time::Duration;

/// What is promised of a figure.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// The ratio to the floor is at most this.
    RatioAtMost(f64),
    /// The ratio to the floor is at least this.
    RatioAtLeast(f64),
    /// The value is at most this.
    AtMost(f64),
    /// The value is at most the floor and this.
    AboveFloorAtMost(f64),
    /// Nothing: it is there to be compared with.
    None,
}

/// Prints a figure: what it is, one `(value, floor)` a round, and what is promised.
pub(crate) fn line(
    name: &str,
    unit: &str,
    floor_name: &str,
    rounds: &[(f64, f64)],
    target: Target,
) {
    let value = median(rounds.iter().map(|round| round.0));
    let floor = median(rounds.iter().map(|round| round.1));
    let ratio = median(rounds.iter().map(|round| round.0 / round.1));
    let above = median(rounds.iter().map(|round| round.0 - round.1));
    let (promise, kept) = match target {
        Target::RatioAtMost(most) => (format!("<= {most} x"), ratio <= most),
        Target::RatioAtLeast(least) => (format!(">= {least} x"), ratio >= least),
        Target::AtMost(most) => (format!("<= {most} {unit}"), value <= most),
        Target::AboveFloorAtMost(most) => (format!("<= floor + {most} {unit}"), above <= most),
        Target::None => (String::from("no target"), true),
    };
    let verdict = if kept { "" } else { " MISSED" };
    let floors = if floor_name.is_empty() {
        String::from("-")
    } else {
        format!("{floor_name} {floor:.3} ratio {ratio:.2}")
    };
    println!("{name:<34} {value:>10.3} {unit:<5} {floors:<48} ({promise}){verdict}");
}

/// Prints a figure that has no floor.
pub(crate) fn alone(name: &str, unit: &str, value: f64, target: Target) {
    line(name, unit, "", &[(value, 0.0)], target);
}

/// Says that a figure is missing, and why.
pub(crate) fn skip(name: &str, why: &str) {
    println!("{name:<34} SKIPPED: {why}");
}

/// The middle one; of an even number the mean of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n => f64::midpoint(values[n / 2], values[(n - 1) / 2]),
    }
}

/// The middle one, in microseconds.
pub(crate) fn p50_us(times: &[Duration]) -> f64 {
    median(times.iter().map(|time| time.as_secs_f64() * 1e6))
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
