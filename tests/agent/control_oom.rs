//! Out of memory as a reason: the agent in a cgroup with a limit, made by the test.

use std::{fs, path::PathBuf};

use doorward::wire::doorward::v1::{EndReason, ExecState, GetAgentRequest, SignalExecRequest};

use crate::support::{Agent, Control, Door, Setup, TASK, container, door::Eof, is_root, sh, skip};

/// What a command may hold, the agent included.
const LIMIT: &str = "67108864";

/// A cgroup of its own, removed with this value.
struct Limited(PathBuf);

impl Limited {
    /// Makes one with a limit, or says why there can be none.
    fn new(name: &str) -> Result<Self, String> {
        if container::wanted() {
            return Err("the agent is in a container".into());
        }
        if !is_root() {
            return Err("not root".into());
        }
        let name = format!("doorward-test-{name}-{}", std::process::id());
        let (one, two) = ("/sys/fs/cgroup/memory", "/sys/fs/cgroup");
        let exists = |path: &str| fs::exists(path).is_ok_and(|exists| exists);
        let (home, limits) = if exists(&format!("{one}/memory.limit_in_bytes")) {
            (one, ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"])
        } else if exists(&format!("{two}/cgroup.controllers")) {
            let _ = fs::write(format!("{two}/cgroup.subtree_control"), "+memory");
            (two, ["memory.max", "memory.swap.max"])
        } else {
            return Err("no cgroups are mounted".into());
        };
        let made = Self(PathBuf::from(home).join(name));
        fs::create_dir(&made.0).map_err(|error| format!("make {:?}: {error}", made.0))?;
        fs::write(made.0.join(limits[0]), LIMIT)
            .map_err(|error| format!("limit {:?}: {error}", made.0))?;
        // Not there where swap is not counted.
        let _ = fs::write(made.0.join(limits[1]), LIMIT);
        Ok(made)
    }

    /// An agent in it.
    async fn start(&self) -> Agent {
        let enter = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", self.0.display());
        Setup::new().wrapped(["/bin/sh", "-c", enter.as_str(), "sh"]).start().await
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let begun = std::time::Instant::now();
        // What was killed leaves it a moment later.
        while fs::remove_dir(&self.0).is_err() && begun.elapsed().as_secs() < 5 {
            std::thread::yield_now();
        }
    }
}

/// Runs a script to its end and says why it ended, and by which signal.
async fn end(door: &Door, control: &Control, script: &str) -> (EndReason, Option<i32>) {
    let exec = door.start(&sh(script)).await.unwrap();
    let ended = control.get_in(&exec, ExecState::Ended).await.ended.unwrap();
    (ended.reason(), ended.signal)
}

#[tokio::test]
async fn a_kill_of_the_kernel_for_want_of_memory_is_told_as_what_it_is() {
    let limited = match Limited::new("oom") {
        Ok(limited) => limited,
        Err(why) => return skip("out of memory", &why),
    };
    let agent = limited.start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let request = GetAgentRequest { task_id: TASK.into() };
    let told = control.raw.clone().get_agent(request).await.unwrap().into_inner();
    let count = told.features.iter().find(|feature| feature.name == "oom_count").unwrap();
    assert!(count.available, "{count:?}");

    let killed = (EndReason::Signaled, Some(9));
    let starved = (EndReason::OutOfMemoryLikely, Some(9));
    let hungry = "exec dd if=/dev/zero of=/dev/null bs=256M count=1 2>/dev/null";
    assert_eq!(end(&door, &control, "kill -9 $$").await, killed, "before there was a want");
    let beside = door.start(&sh("read line; kill -9 $$")).await.unwrap();
    assert_eq!(end(&door, &control, hungry).await, starved);
    assert_eq!(end(&door, &control, "kill -9 $$").await, killed, "it began after that");
    door.write(&beside, 0, b"\n", Eof::No).await.unwrap();
    let ended = control.get_in(&beside, ExecState::Ended).await.ended.unwrap();
    assert_eq!((ended.reason(), ended.signal), killed, "that want had another victim");
    // Of two victims at once each is told.
    let both = tokio::join!(end(&door, &control, hungry), end(&door, &control, hungry));
    assert_eq!(both, (starved, starved));
    let waits = sh("read line; kill -9 $$");
    let (sent, other) = (door.start(&waits).await, door.start(&sh("read line; kill -9 $$")).await);
    let (sent, other) = (sent.unwrap(), other.unwrap());
    let shell = format!("sh -c '{}'; exit $?", hungry.trim_start_matches("exec "));
    assert_eq!(end(&door, &control, &shell).await, (EndReason::Exited, None), "not its own end");
    // Nobody's end explains that kill: a client's own is not laid to it, a stranger's may be.
    let kill = SignalExecRequest {
        task_id: TASK.into(),
        exec_id: sent.clone(),
        signal: 9,
        ..SignalExecRequest::default()
    };
    control.raw.clone().signal_exec(kill).await.unwrap();
    let ended = control.get_in(&sent, ExecState::Ended).await.ended.unwrap();
    assert_eq!((ended.reason(), ended.signal), killed);
    door.write(&other, 0, b"\n", Eof::No).await.unwrap();
    let ended = control.get_in(&other, ExecState::Ended).await.ended.unwrap();
    assert_eq!((ended.reason(), ended.signal), starved);
    drop(agent);
}
