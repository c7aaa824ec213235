//! Trees that try to escape: whatever a command does to get away from its deadline, or from the
//! end of the agent, ends with it.

use std::sync::atomic::{AtomicU32, Ordering};

use doorward::wire::modal::task_command_router::TaskExecStartRequest;

use crate::support::{Agent, Door, Exit, Setup, processes, sh, until};

/// Each starts processes that have `$TAG` in their command line and must not survive; at least so
/// many of them are there at once.
const ESCAPES: [(&str, usize, &str); 7] = [
    ("plain child", 1, "sleep 7001.$TAG & wait"),
    ("setsid", 2, "setsid sleep 7002.$TAG & sleep 7003.$TAG"),
    ("env -i setsid", 2, "env -i setsid sleep 7004.$TAG & sleep 7005.$TAG"),
    ("double fork", 2, "(setsid env -i sh -c \"sleep 7006.$TAG & exit\" &); sleep 7007.$TAG"),
    ("deaf", 1, "trap '' TERM INT HUP; sh -c 'while :; do sleep 0.1; done' deaf-$TAG & wait"),
    ("stopped", 1, "sh -c 'kill -STOP $$; sleep 7008' stopped-$TAG & wait"),
    (
        "fork loop",
        20,
        "n=0; while [ $n -lt 200 ]; do n=$((n+1)); \
         env -i setsid sh -c \"sleep 0.05; exec sleep 7010.$TAG\" & done; wait",
    ),
];

/// Text that no other process has in its command line.
fn tag() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{}{:04}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Starts one escape and waits until its processes are there.
async fn escape(door: &Door, one: (&str, usize, &str), timeout: u32) -> (String, String) {
    let (name, count, script) = one;
    let tag = tag();
    let mut request = TaskExecStartRequest { timeout_secs: Some(timeout), ..sh(script) };
    request.env.insert("TAG".into(), tag.clone());
    let exec = door.start(&request).await.unwrap();
    until(name, || processes::with_command(&tag).len() >= count).await;
    (exec, tag)
}

#[tokio::test]
async fn the_deadline_finds_them_all() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let mut running = Vec::new();
    for one in ESCAPES {
        running.push((one.0, escape(&door, one, 4).await));
    }
    for (name, (exec, tag)) in running {
        assert_eq!(door.wait(&exec).await.unwrap(), Exit::Signal(9), "{name}");
        until(&format!("{name} is gone"), || processes::with_command(&tag).is_empty()).await;
    }
}

#[tokio::test]
async fn the_end_of_the_agent_finds_them_all() {
    let setup = Setup::new().flags(["--grace", "500ms", "--drain", "500ms"]);
    let mut agent = setup.start().await;
    let door = agent.door().await;
    let mut running = Vec::new();
    for one in ESCAPES {
        running.push((one.0, escape(&door, one, 0).await.1));
    }
    // Also what a command left behind that is long over.
    let left = tag();
    let script = format!("setsid env -i sleep 7011.{left} & exit 0");
    assert_eq!(door.run(&sh(&script)).await.exit, Exit::Code(0));
    running.push(("left behind", left));
    assert!(agent.stop().await.success(), "{}", agent.log());
    for (name, tag) in running {
        let alive = processes::with_command(&tag);
        let alive: Vec<_> = alive.into_iter().map(processes::describe).collect();
        assert!(alive.is_empty(), "{name}: {alive:?}\n{}", agent.log());
    }
}

#[tokio::test]
async fn a_sweep_takes_nothing_of_others() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let (others, ours) = (tag(), tag());
    let script = format!("setsid sleep 7021.{others} & sleep 7022.{others}");
    let bystander = door.start(&sh(&script)).await.unwrap();
    let script = format!("setsid sleep 7023.{ours} & sleep 7024.{ours}");
    let request = TaskExecStartRequest { timeout_secs: Some(1), ..sh(&script) };
    let exec = door.start(&request).await.unwrap();
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Signal(9));
    until("ours are gone", || processes::with_command(&ours).is_empty()).await;
    assert_eq!(door.poll(&bystander).await.unwrap(), None);
    // The shell and both sleepers.
    assert_eq!(processes::with_command(&others).len(), 3);
}
