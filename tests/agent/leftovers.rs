//! What an agent is left with after many execs: no more descriptors, threads, zombies, and hardly
//! more memory than before.

use crate::support::{
    Agent, Exit,
    door::{Door, command},
    processes, sh, until,
};

/// Runs `count` commands, some at once, a third of them failing to start.
async fn many(agent: &Agent, count: usize) {
    let mut workers = Vec::new();
    for worker in 0..4 {
        let door = agent.door().await;
        workers.push(tokio::spawn(async move {
            for n in 0..count / 4 {
                one(&door, worker + n).await;
            }
        }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
}

async fn one(door: &Door, n: usize) {
    match n % 3 {
        0 => assert!(door.start(&command(&["/no/such/program"])).await.is_err()),
        1 => assert_eq!(door.run(&command(&["true"])).await.exit, Exit::Code(0)),
        _ => assert_eq!(door.run(&command(&["echo", "some words"])).await.exit, Exit::Code(0)),
    }
}

#[tokio::test]
async fn after_a_thousand_execs_nothing_is_left() {
    let agent = Agent::start().await;
    many(&agent, 40).await;
    let pid = agent.pid();
    until("it is quiet", || processes::zombies_of(pid).is_empty()).await;
    let threads = processes::status(pid, "Threads");
    let descriptors = processes::descriptors(pid);
    let memory = processes::status(pid, "VmRSS");
    many(&agent, 1000).await;
    until("descriptors are closed", || processes::descriptors(pid) <= descriptors).await;
    until("threads are gone", || processes::status(pid, "Threads") <= threads).await;
    until("zombies are gone", || processes::zombies_of(pid).is_empty()).await;
    let after = processes::status(pid, "VmRSS");
    assert!(after < memory + (8 << 10), "grew from {memory} to {after} KiB");
}

#[tokio::test]
async fn at_rest_it_gives_memory_back() {
    let agent = Agent::start().await;
    many(&agent, 40).await;
    let resident = || processes::status(agent.pid(), "VmRSS");
    let busy = resident();
    until("it is at rest", || resident() < busy / 4 * 3).await;
    assert_eq!(agent.door().await.print("echo on").await, "on\n");
}

#[tokio::test]
async fn orphans_are_reaped() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    // Each leaves a child that ends after it and is nobody's but the agent's.
    for _ in 0..20 {
        door.run(&sh("(sleep 0.05; exit 1) & (setsid sleep 0.1) & exit 0")).await;
    }
    until("orphans are reaped", || {
        processes::zombies_of(agent.pid()).is_empty() && agent.offspring().is_empty()
    })
    .await;
}

#[tokio::test]
async fn live_quiet_execs_hold_few_descriptors() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let before = processes::descriptors(agent.pid());
    for _ in 0..100 {
        door.start(&command(&["sleep", "600"])).await.unwrap();
    }
    let each = (processes::descriptors(agent.pid()) - before).div_ceil(100);
    assert!(each <= 4, "{each} descriptors an exec");
}
