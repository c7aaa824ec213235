//! What the agent says of itself.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use tonic::Status;

use super::{Control, render, wire};
use crate::{
    core::mounts::Way,
    exec::birth::Ground,
    os::{features::Feature, usage, work::Share},
    wire::unknown,
};

/// What the agent is, as it was started.
#[derive(Debug, Clone)]
pub struct About {
    /// A name of its own, another one after each start; without a dot.
    pub instance: String,
    /// When it was started.
    pub started: SystemTime,
    /// The same, by the clock that never jumps.
    pub since: Instant,
    /// What bounds it, by the flag that sets it: in bytes, milliseconds or pieces.
    pub limits: BTreeMap<String, u64>,
    /// Between TERM and KILL, where a caller does not say.
    pub grace: Duration,
    /// Where it listens.
    pub listening: Vec<String>,
}

pub(super) async fn describe(control: &Control) -> Result<wire::GetAgentResponse, Status> {
    let about = &control.about;
    let (seen, others) = unknown::seen();
    let unknown_fields = seen.into_iter().map(|seen| wire::UnknownField {
        message: seen.message.to_string(),
        field: seen.number,
        count: seen.count,
    });
    let others = wire::UnknownField { count: others, ..wire::UnknownField::default() };
    let others = (others.count > 0).then_some(others);
    Ok(wire::GetAgentResponse {
        version: env!("CARGO_PKG_VERSION").to_string(),
        instance: about.instance.clone(),
        started: Some(about.started.into()),
        uptime: Some(render::duration(about.since.elapsed())),
        task_id: control.task.name().unwrap_or_default().to_string(),
        pid: std::process::id().cast_signed(),
        limits: about.limits.clone(),
        features: features(control),
        r#use: Some(own_use(control).await),
        unknown_fields: unknown_fields.chain(others).collect(),
        is_pid_one: std::process::id() == 1,
        listening: about.listening.clone(),
    })
}

async fn own_use(control: &Control) -> wire::AgentUse {
    let engine = &control.engine;
    let own = engine.work().run(Share::Scan, usage::own).await;
    let (live, remembered) = engine.counts();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    wire::AgentUse {
        memory_bytes: own.memory_bytes,
        cpu_time: Some(render::duration(own.cpu_time)),
        descriptors: own.descriptors,
        threads: own.threads,
        live_execs: count(live),
        remembered_execs: count(remembered),
        spool_memory_bytes: engine.store().memory_bytes(),
        spool_disk_bytes: engine.store().disk_bytes(),
    }
}

/// What was found at start, what is done with it and without it.
fn features(control: &Control) -> Vec<wire::KernelFeature> {
    let ground = control.engine.ground();
    let kernel = ground.features.each().map(|(name, feature)| {
        let (available, reason) = match feature {
            Feature::Have => (true, String::new()),
            Feature::Missing(reason) => (false, reason.clone()),
        };
        let chosen = chosen(name, feature, ground).to_string();
        wire::KernelFeature { name: name.to_string(), available, chosen, reason }
    });
    let label = ground.labels.missing();
    let label = wire::KernelFeature {
        name: "label".to_string(),
        available: label.is_none(),
        chosen: match label {
            None => "a hard limit marks the processes of an exec",
            Some(_) => "the environment marks the processes of an exec",
        }
        .to_string(),
        reason: label.unwrap_or_default().to_string(),
    };
    let oom = ground.oom_kills.missing();
    let oom = wire::KernelFeature {
        name: "oom_count".to_string(),
        available: oom.is_none(),
        chosen: match oom {
            None => "a kill for want of memory is told as such",
            Some(_) => "a kill for want of memory is told as a signal",
        }
        .to_string(),
        reason: oom.unwrap_or_default().to_string(),
    };
    let files = control.engine.store().has_files();
    let files = wire::KernelFeature {
        name: "spool_files".to_string(),
        available: files,
        chosen: match files {
            true => "output that is too much for memory is kept in files",
            false => "output is kept in memory only",
        }
        .to_string(),
        reason: match files {
            true => "",
            false => "the state directory is not writable, or in memory itself",
        }
        .to_string(),
    };
    kernel.chain([label, oom, files]).chain(image_mounts(control)).collect()
}

/// How images are mounted, once somebody has asked for images.
fn image_mounts(control: &Control) -> Option<wire::KernelFeature> {
    let (way, reason) = control.images.opened()?.way();
    let (available, chosen) = match way {
        Way::Overlay => (true, "all mounts of an image share its tree"),
        Way::Bind => (true, "each mount of an image is a copy of its own"),
        Way::Swap | Way::Entries => (false, "a copy of an image is moved into place"),
    };
    Some(wire::KernelFeature {
        name: "image_mounts".to_string(),
        available,
        chosen: chosen.to_string(),
        reason: reason.unwrap_or_default(),
    })
}

/// What is done with a feature of the kernel, or without it.
fn chosen(name: &str, feature: &Feature, ground: &Ground) -> &'static str {
    match (name, feature) {
        ("clone3", Feature::Have) => "a process is born into its cgroup",
        ("clone3", Feature::Missing(_)) => "clone: as vfork does, and no cgroups",
        ("pidfd", Feature::Have) => "signals and waits go to pidfds",
        ("pidfd", Feature::Missing(_)) => "signals go to pids whose start time was looked at",
        ("cgroup", Feature::Have) if ground.groups.is_some() => "each exec has a cgroup",
        ("cgroup", Feature::Have) => "no cgroups: a process cannot be born into one",
        ("cgroup", Feature::Missing(_)) => "an exec's processes are known by other marks",
        ("memfd", Feature::Have | Feature::Missing(_)) => "not used",
        ("close_range", Feature::Have) => "a command's descriptors are closed once more",
        ("close_range", Feature::Missing(_)) => "descriptors close on exec",
        ("openat2", Feature::Have) => "the kernel resolves paths beneath a directory",
        ("openat2", Feature::Missing(_)) => "paths are resolved one component at a time",
        ("mount", Feature::Have) => "images are mounted",
        ("mount", Feature::Missing(_)) => "images are moved into place",
        ("overlay", Feature::Have) => "mounted images share what is not changed",
        ("overlay", Feature::Missing(_)) => "mounted images are copies",
        (_, Feature::Have) => "used",
        (_, Feature::Missing(_)) => "done without",
    }
}
