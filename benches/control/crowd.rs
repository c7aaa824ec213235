//! Thousands of live execs: how long it takes to list them, whether the list is right, and what they
//! cost the agent.

use std::{
    collections::BTreeSet,
    process::Command,
    time::{Duration, Instant},
};

use doorward::{client::Client, wire::doorward::v1::ListExecsRequest};
use tokio::runtime::Runtime;

use crate::{
    Scale,
    agent::{Agent, TASK, binary},
    client,
    door::{Door, Frames, runtime},
    report::{Target, alone, line, mib, skip},
};

/// Execs that live at once.
const EXECS: usize = 3000;

pub(crate) fn run(scale: Scale) {
    let (agent, nobody) = (Agent::start(&[]), Agent::start(&[]));
    let runtime = runtime();
    let name = format!("{EXECS} live execs");
    let ids: BTreeSet<String> = (0..EXECS).map(|number| format!("sleeper-{number}")).collect();
    let (door, caller) = runtime.block_on(async {
        (Door::open(agent.port, Frames::Large).await, client(agent.port).await)
    });
    let started: Result<(), _> = runtime.block_on(async {
        for id in &ids {
            door.try_start(id, &["sleep", "600"], None).await?;
        }
        Ok::<_, tonic::Status>(())
    });
    if let Err(refusal) = started {
        return skip(&name, &format!("they cannot be started here: {refusal}"));
    }
    let rounds = scale.pick(5, 15);
    let values: Vec<_> =
        (0..rounds).map(|_| (ps(&agent, &ids), ps(&nobody, &BTreeSet::new()))).collect();
    line(&format!("{name}: ps --json"), "ms", "ps of none", &values, Target::AtMost(100.0));
    let values: Vec<_> =
        (0..rounds).map(|_| (list(&runtime, &caller, &ids), unary(&runtime, &door))).collect();
    line(&format!("{name}: ListExecs"), "ms", "unary", &values, Target::AtMost(100.0));
    alone(&format!("{name}: resident"), "MiB", mib(agent.resident_bytes()), Target::AtMost(64.0));
}

/// The whole command, from its start to its end, which must list exactly these and all of them as
/// running.
fn ps(agent: &Agent, ids: &BTreeSet<String>) -> f64 {
    let mut command = Command::new(binary());
    command.args(["ps", "--json", "--task-id", TASK, "--address"]);
    command.arg(format!("http://127.0.0.1:{}", agent.port));
    let since = Instant::now();
    let output = command.output().expect("the built binary can be run");
    let time = since.elapsed();
    assert!(output.status.success(), "ps: {}", String::from_utf8_lossy(&output.stderr));
    let execs: Vec<serde_json::Value> =
        serde_json::from_slice(&output.stdout).expect("it is a list in JSON");
    let text = |exec: &serde_json::Value, name: &str| exec[name].as_str().map(str::to_string);
    let listed: Option<BTreeSet<String>> = execs.iter().map(|exec| text(exec, "id")).collect();
    assert!(listed.as_ref() == Some(ids) && execs.len() == ids.len(), "ps lists other execs");
    assert!(execs.iter().all(|exec| text(exec, "state").as_deref() == Some("running")));
    milliseconds(time)
}

fn list(runtime: &Runtime, caller: &Client, ids: &BTreeSet<String>) -> f64 {
    let control = caller.control();
    let since = Instant::now();
    let listed = runtime.block_on(control.list_execs(ListExecsRequest::default()));
    let time = since.elapsed();
    assert_eq!(listed.expect("the agent answers").execs.len(), ids.len());
    milliseconds(time)
}

fn unary(runtime: &Runtime, door: &Door) -> f64 {
    let since = Instant::now();
    runtime.block_on(door.health());
    milliseconds(since.elapsed())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
