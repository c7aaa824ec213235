//! What `doorward doctor` has found, as text.

use std::time::Duration;

use crate::{
    cli::show::{
        colour::{Paint, Tone},
        human::{age, chosen, length, printable, size, span},
        table::{Align, Cell, Room, Table, pairs},
    },
    wire::doorward::v1 as wire,
};

/// What was found.
pub(super) struct Report {
    /// What the agent said.
    pub(super) agent: wire::GetAgentResponse,
    /// Where it answered; `None` if it was brought up only to look at this machine.
    pub(super) address: Option<String>,
}

impl Report {
    /// What an agent said of itself.
    pub(super) fn of_agent(agent: wire::GetAgentResponse, address: String) -> Self {
        Self { agent, address: Some(address) }
    }

    /// What an agent of our own found on this machine, and what came of trying it.
    pub(super) fn of_machine(
        mut agent: wire::GetAgentResponse,
        trials: Vec<wire::KernelFeature>,
    ) -> Self {
        agent.features.extend(trials);
        Self { agent, address: None }
    }

    /// Whether nothing is missing that nothing replaces.
    pub(super) fn is_well(&self) -> bool {
        self.lacking().next().is_none()
    }

    fn lacking(&self) -> impl Iterator<Item = &wire::KernelFeature> {
        self.agent.features.iter().filter(|feature| !feature.available && feature.chosen.is_empty())
    }

    /// For people.
    pub(super) fn to_text(&self, paint: Paint) -> String {
        let mut parts = Vec::new();
        match &self.address {
            Some(address) => parts.push(pairs(&self.about(address), paint)),
            None => parts.push(
                "No agent listens on the default socket. This is what one would find that is started here.\n"
                    .to_string(),
            ),
        }
        parts.push(lines(&features(&self.agent.features), paint));
        if self.address.is_some() {
            let limits = &self.agent.limits;
            let limits: Vec<_> =
                limits.iter().map(|(name, limit)| (&name[..], shown(name, *limit))).collect();
            parts.push(format!("{}\n{}", paint.paint(Tone::Strong, "Limits"), indented(&limits)));
        }
        if !self.agent.unknown_fields.is_empty() {
            parts.push(lines(&unknown(&self.agent.unknown_fields), paint));
        }
        parts.push(self.verdict(paint));
        parts.join("\n")
    }

    fn about(&self, address: &str) -> Vec<(&'static str, String)> {
        let agent = &self.agent;
        let up = agent.uptime.as_ref().and_then(length);
        let up = up.map(|up| format!(", up {}", age(up))).unwrap_or_default();
        let listening: Vec<String> =
            agent.listening.iter().map(|address| printable(address)).collect();
        let mut rows = vec![
            (
                "Agent",
                format!(
                    "{} at {}, process {}{up}",
                    printable(&agent.version),
                    printable(address),
                    agent.pid
                ),
            ),
            (
                "Task",
                match &agent.task_id[..] {
                    "" => "any".to_string(),
                    task => printable(task),
                },
            ),
            ("Listens on", listening.join(", ")),
            (
                "Init",
                match agent.is_pid_one {
                    true => "it is the container's first process".to_string(),
                    false => "another process is the container's first".to_string(),
                },
            ),
        ];
        if agent.version != env!("CARGO_PKG_VERSION") {
            rows.push(("This program", env!("CARGO_PKG_VERSION").to_string()));
        }
        rows.extend(agent.r#use.iter().flat_map(own_use));
        rows
    }

    fn verdict(&self, paint: Paint) -> String {
        let lacking: Vec<String> = self
            .lacking()
            .map(|feature| format!("{} ({})", printable(&feature.name), printable(&feature.reason)))
            .collect();
        let replaced = self.agent.features.iter().filter(|feature| !feature.available).count();
        let (tone, text) = match (lacking.is_empty(), replaced) {
            (false, _) => {
                (Tone::Bad, format!("Missing, with nothing in its place: {}.", lacking.join(", ")))
            }
            (true, 0) => (Tone::Good, "Everything is there.".to_string()),
            (true, _) => {
                (Tone::Good, "Everything works; what is missing is done in another way.".into())
            }
        };
        paint.paint(tone, &text) + "\n"
    }
}

fn own_use(own: &wire::AgentUse) -> Vec<(&'static str, String)> {
    let pieces = [
        own.memory_bytes.map(|bytes| format!("{} of memory", size(bytes))),
        own.cpu_time
            .as_ref()
            .and_then(length)
            .map(|time| format!("{} of processor time", span(time))),
        own.descriptors.map(|number| format!("{number} descriptors")),
        own.threads.map(|number| format!("{number} threads")),
    ];
    let pieces: Vec<String> = pieces.into_iter().flatten().collect();
    vec![
        ("Uses", pieces.join(", ")),
        (
            "Execs",
            format!("{} live, {} ended and remembered", own.live_execs, own.remembered_execs),
        ),
        (
            "Output kept",
            format!(
                "{} in memory, {} on disk",
                size(own.spool_memory_bytes),
                size(own.spool_disk_bytes)
            ),
        ),
    ]
}

fn features(features: &[wire::KernelFeature]) -> Table {
    let mut table = Table::new(&[
        ("FEATURE", Align::Left),
        ("THERE", Align::Left),
        ("WHAT IS DONE", Align::Left),
        ("WHY NOT", Align::Left),
    ]);
    for feature in features {
        let (tone, there) = match (feature.available, feature.chosen.is_empty()) {
            (true, _) => (Tone::Good, "yes"),
            (false, false) => (Tone::Doubtful, "no"),
            (false, true) => (Tone::Bad, "no"),
        };
        let chosen = match &feature.chosen[..] {
            "" => "-".to_string(),
            chosen => printable(chosen),
        };
        table.row([
            printable(&feature.name).into(),
            Cell::new(tone, there),
            chosen.into(),
            printable(&feature.reason).into(),
        ]);
    }
    table
}

fn unknown(fields: &[wire::UnknownField]) -> Table {
    let mut table = Table::new(&[
        ("UNKNOWN FIELD OF REQUESTS", Align::Left),
        ("NUMBER", Align::Right),
        ("SEEN", Align::Right),
    ]);
    for field in fields {
        table.row([
            printable(&field.message).into(),
            field.field.to_string().into(),
            field.count.to_string().into(),
        ]);
    }
    table
}

fn lines(table: &Table, paint: Paint) -> String {
    table.lines(paint, Room::Unbounded).join("\n") + "\n"
}

fn indented(rows: &[(&str, String)]) -> String {
    let rows: Vec<_> = rows.iter().map(|(name, value)| (printable(name), value.clone())).collect();
    let rows: Vec<_> = rows.iter().map(|(name, value)| (&name[..], value.clone())).collect();
    pairs(&rows, Paint::Plain).lines().map(|line| format!("  {line}\n")).collect()
}

/// What a limit counts; its name, that of a flag, tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Milliseconds,
    Pieces,
}

impl Unit {
    pub(super) fn of(name: &str) -> Self {
        match name {
            "linger-quiet" | "linger-max" | "grace" | "drain" | "remember-for" => {
                Self::Milliseconds
            }
            "image-store-max" => Self::Bytes,
            name if name.starts_with("spool-") => Self::Bytes,
            _ => Self::Pieces,
        }
    }
}

/// A limit for people.
fn shown(name: &str, limit: u64) -> String {
    match Unit::of(name) {
        Unit::Bytes => size(limit),
        Unit::Milliseconds => chosen(Duration::from_millis(limit)),
        Unit::Pieces => limit.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn have(name: &str, chosen: &str) -> wire::KernelFeature {
        wire::KernelFeature {
            name: name.into(),
            available: true,
            chosen: chosen.into(),
            ..Default::default()
        }
    }

    fn missing(name: &str, chosen: &str, reason: &str) -> wire::KernelFeature {
        wire::KernelFeature { available: false, reason: reason.into(), ..have(name, chosen) }
    }

    fn agent() -> wire::GetAgentResponse {
        wire::GetAgentResponse {
            version: "9.9.9".into(),
            limits: [("spool-memory-max", 32 << 20), ("grace", 4000), ("max-live-execs", 7)]
                .map(|(name, limit)| (name.to_string(), limit))
                .into(),
            features: vec![
                have("clone3", "born into a cgroup"),
                missing("pidfd", "pids", "Function not implemented"),
            ],
            ..Default::default()
        }
    }

    #[test]
    fn what_is_replaced_is_well_and_what_is_not_is_not() {
        let mut report = Report::of_agent(agent(), "unix:///x".into());
        assert!(report.is_well());
        let text = report.to_text(Paint::Plain);
        assert!(
            text.contains("pidfd    no     pids                Function not implemented\n"),
            "{text}"
        );
        assert!(text.contains("  grace             4 s\n"), "{text}");
        assert!(text.contains("  spool-memory-max  32 MiB\n"), "{text}");
        assert!(text.ends_with("Everything works; what is missing is done in another way.\n"));
        report.agent.features.push(missing("terminals", "", "no \x1b/dev/ptmx"));
        assert!(!report.is_well());
        let text = report.to_text(Paint::Plain);
        let verdict = "Missing, with nothing in its place: terminals (no \\u{1b}/dev/ptmx).\n";
        assert!(text.ends_with(verdict), "{text}");
    }

    #[test]
    fn a_machine_without_an_agent_has_features_only() {
        let report = Report::of_machine(agent(), vec![have("commands", "can be run")]);
        let text = report.to_text(Paint::Plain);
        assert!(text.starts_with("No agent listens on the default socket."), "{text}");
        assert!(text.contains("commands") && !text.contains("Limits"), "{text}");
    }
}
