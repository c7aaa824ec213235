//! What `doorward doctor` has found, as JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::report::{Report, Unit};
use crate::{cli::show::json, wire::doorward::v1 as wire};

/// All of a report.
pub(super) fn document(report: &Report) -> impl Serialize {
    let agent = &report.agent;
    let about = report.address.as_ref().map(|address| About {
        address: address.clone(),
        version: agent.version.clone(),
        instance: agent.instance.clone(),
        started: json::time(&agent.started),
        uptime_seconds: json::seconds(&agent.uptime),
        task_id: Some(agent.task_id.clone()).filter(|task| !task.is_empty()),
        pid: agent.pid,
        is_pid_one: agent.is_pid_one,
        listening: agent.listening.clone(),
        limits: agent.limits.iter().map(|(name, limit)| named(name, *limit)).collect(),
        r#use: agent.r#use.as_ref().map(Use::from),
    });
    let features = agent.features.iter().map(|feature| Feature {
        name: feature.name.clone(),
        available: feature.available,
        chosen: Some(feature.chosen.clone()).filter(|text| !text.is_empty()),
        reason: Some(feature.reason.clone()).filter(|text| !text.is_empty()),
    });
    let unknown = agent.unknown_fields.iter().map(|field| Unknown {
        message: field.message.clone(),
        field: field.field,
        count: field.count,
    });
    Document {
        well: report.is_well(),
        version: env!("CARGO_PKG_VERSION"),
        agent: about,
        features: features.collect(),
        unknown_fields: unknown.collect(),
    }
}
/// A limit with the name that says its unit, as JSON has it.
fn named(name: &str, limit: u64) -> (String, Value) {
    let snake = name.replace('-', "_");
    match Unit::of(name) {
        Unit::Bytes => (format!("{snake}_bytes"), limit.into()),
        Unit::Milliseconds => (format!("{snake}_seconds"), (limit as f64 / 1000.0).into()),
        Unit::Pieces => (snake, limit.into()),
    }
}

#[derive(Serialize)]
struct Document {
    well: bool,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<About>,
    features: Vec<Feature>,
    unknown_fields: Vec<Unknown>,
}

#[derive(Serialize)]
struct About {
    address: String,
    version: String,
    instance: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
    pid: i32,
    is_pid_one: bool,
    listening: Vec<String>,
    limits: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#use: Option<Use>,
}

#[derive(Serialize)]
struct Feature {
    name: String,
    available: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    chosen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct Unknown {
    message: String,
    field: u32,
    count: u64,
}

#[derive(Serialize)]
struct Use {
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    descriptors: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<u32>,
    live_execs: u32,
    remembered_execs: u32,
    spool_memory_bytes: u64,
    spool_disk_bytes: u64,
}

impl From<&wire::AgentUse> for Use {
    fn from(own: &wire::AgentUse) -> Self {
        Self {
            memory_bytes: own.memory_bytes,
            cpu_seconds: json::seconds(&own.cpu_time),
            descriptors: own.descriptors,
            threads: own.threads,
            live_execs: own.live_execs,
            remembered_execs: own.remembered_execs,
            spool_memory_bytes: own.spool_memory_bytes,
            spool_disk_bytes: own.spool_disk_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_in_the_names_of_limits() {
        let limits = [("spool-memory-max", 32 << 20), ("grace", 4000), ("max-live-execs", 7)];
        let agent = wire::GetAgentResponse {
            limits: limits.map(|(name, limit)| (name.to_string(), limit)).into(),
            ..Default::default()
        };
        let report = Report::of_agent(agent.clone(), "unix:///x".into());
        let json = serde_json::to_value(document(&report)).unwrap();
        let limits = &json["agent"]["limits"];
        assert_eq!(limits["spool_memory_max_bytes"], 33554432);
        assert_eq!(limits["grace_seconds"], 4.0);
        assert_eq!(limits["max_live_execs"], 7);

        let trial = wire::KernelFeature { name: "commands".into(), ..Default::default() };
        let json = serde_json::to_value(document(&Report::of_machine(agent, vec![trial]))).unwrap();
        assert_eq!((&json["well"], &json["agent"]), (&false.into(), &Value::Null));
        assert_eq!(json["features"][0]["name"], "commands");
    }
}
