//! Watching execs, forgetting them, and what the agent says of itself and in its log.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use doorward::wire::{
    doorward::v1::{
        EndReason, ExecState, ForgetExecRequest, GetAgentRequest, GetAgentResponse,
        WatchExecsRequest, WatchExecsResponse, watch_execs_response::Event,
    },
    modal::task_command_router::TaskExecStartRequest,
};
use rustix::process::Signal;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::support::{
    Agent, Control, Door, PATIENCE, Setup, TASK,
    door::{Eof, TOKEN, command, refused},
    sh, until,
};

/// A watch and what it has told so far.
struct Watch {
    messages: Streaming<WatchExecsResponse>,
    cursor: String,
    /// The newest state of each exec; an exec that was forgotten is gone.
    execs: BTreeMap<String, ExecState>,
    /// Each state that was told, in order, since everything was told last.
    told: Vec<(String, ExecState)>,
    restarts: usize,
}

async fn open(control: &Control, cursor: &str) -> Streaming<WatchExecsResponse> {
    let request = WatchExecsRequest { task_id: TASK.into(), cursor: cursor.into() };
    control.raw.clone().watch_execs(request).await.unwrap().into_inner()
}

impl Watch {
    async fn new(control: &Control, cursor: &str) -> Self {
        let messages = open(control, cursor).await;
        let (execs, told) = (BTreeMap::new(), Vec::new());
        Self { messages, cursor: cursor.into(), execs, told, restarts: 0 }
    }

    /// Goes on where it is, over another connection.
    async fn resume(&mut self, agent: &Agent) {
        self.messages = open(&agent.control().await, &self.cursor).await;
    }

    async fn next(&mut self) -> Event {
        let next = timeout(PATIENCE, self.messages.message()).await.expect("nothing is told");
        let message = next.unwrap().expect("a watch never ends by itself");
        self.cursor = message.cursor;
        if message.restarted {
            self.restarts += 1;
            self.execs.clear();
            self.told.clear();
        }
        let event = message.event.unwrap();
        match &event {
            Event::Exec(exec) => {
                self.execs.insert(exec.exec_id.clone(), exec.state());
                self.told.push((exec.exec_id.clone(), exec.state()));
            }
            Event::ForgottenExecId(id) => drop(self.execs.remove(id)),
            Event::CaughtUp(_) => {}
        }
        event
    }

    async fn until_caught_up(&mut self) {
        while !matches!(self.next().await, Event::CaughtUp(_)) {}
    }

    async fn until_state(&mut self, exec: &str, state: ExecState) {
        while self.execs.get(exec) != Some(&state) {
            self.next().await;
        }
    }

    fn check_nothing_was_told_twice(&self) {
        let mut seen = BTreeSet::new();
        for (id, state) in &self.told {
            assert!(seen.insert((id, i32::from(*state))), "{id} {state:?} twice: {:?}", self.told);
        }
    }
}

async fn start_many(door: &Door, count: usize) -> Vec<String> {
    let starts = (0..count).map(|_| {
        let door = door.clone();
        tokio::spawn(async move { door.start(&command(&["true"])).await.unwrap() })
    });
    let mut ids = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        ids.push(start.await.unwrap());
    }
    ids
}

#[tokio::test]
async fn a_watcher_sees_what_is_and_then_what_changes() {
    let agent = Setup::new().entrypoint(["sleep", "1000"]).start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let old = door.start(&sh("exit 0")).await.unwrap();
    control.get_in(&old, ExecState::Ended).await;
    let mut watch = Watch::new(&control, "").await;
    watch.until_caught_up().await;
    assert_eq!(watch.told, [(old.clone(), ExecState::Ended)], "and not the entrypoint");

    let exec = door.start(&sh("read line; sleep 1000 & exit 0")).await.unwrap();
    watch.until_state(&exec, ExecState::Running).await;
    door.write(&exec, 0, b"\n", Eof::No).await.unwrap();
    watch.until_state(&exec, ExecState::Lingering).await;
    let failing = command(&["/no/such/program"]);
    door.start(&failing).await.unwrap_err();
    watch.until_state(&failing.exec_id, ExecState::Failed).await;
    forget(&control, &old).await.unwrap();
    while watch.execs.contains_key(&old) {
        watch.next().await;
    }
    watch.check_nothing_was_told_twice();
    assert_eq!(watch.restarts, 0);
}

#[tokio::test]
async fn a_broken_watch_goes_on_where_it_was_and_tells_nothing_twice() {
    let agent = Agent::start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let before = start_many(&door, 30).await;
    let mut watch = Watch::new(&control, "").await;
    // Broken while everything is told for the first time, and while it changes.
    for _ in 0..5 {
        for _ in 0..4 {
            watch.next().await;
        }
        watch.resume(&agent).await;
    }
    let starting = tokio::spawn({
        let door = door.clone();
        async move { start_many(&door, 60).await }
    });
    for _ in 0..20 {
        watch.next().await;
        watch.next().await;
        watch.resume(&agent).await;
    }
    let after = starting.await.unwrap();
    for exec in before.iter().chain(&after) {
        watch.until_state(exec, ExecState::Ended).await;
    }
    watch.check_nothing_was_told_twice();
    assert_eq!((watch.restarts, watch.execs.len()), (0, 90));

    // What a list says goes on from its own cursor.
    let list = doorward::wire::doorward::v1::ListExecsRequest {
        task_id: TASK.into(),
        ..Default::default()
    };
    let cursor = control.raw.clone().list_execs(list).await.unwrap().into_inner().cursor;
    let mut rest = Watch::new(&control, &cursor).await;
    rest.until_caught_up().await;
    assert!(rest.told.is_empty() && rest.restarts == 0, "{:?}", rest.told);
}

#[tokio::test]
async fn a_cursor_of_another_agent_or_of_nobody_begins_anew() {
    let (one, other) = (Agent::start().await, Agent::start().await);
    let exec = one.door().await.start(&sh("exit 0")).await.unwrap();
    let control = one.control().await;
    control.get_in(&exec, ExecState::Ended).await;
    let mut theirs = Watch::new(&other.control().await, "").await;
    theirs.until_caught_up().await;
    let own = Watch::new(&control, "").await;
    let beyond = {
        let mut own = own;
        own.until_caught_up().await;
        format!("{}99", own.cursor)
    };
    for cursor in [theirs.cursor.as_str(), "nonsense", beyond.as_str()] {
        let mut watch = Watch::new(&control, cursor).await;
        watch.until_caught_up().await;
        assert_eq!(watch.restarts, 1, "{cursor}");
        assert_eq!(watch.execs.get(&exec), Some(&ExecState::Ended), "{cursor}");
    }
}

#[tokio::test]
async fn the_end_of_the_agent_is_the_reason_of_every_end_that_it_brings() {
    let mut agent = Setup::new().flags(["--grace", "500ms"]).start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let obeys = door.start(&command(&["sleep", "1000"])).await.unwrap();
    let refuses = door.start(&sh("trap '' TERM; echo up; while :; do sleep 1000; done")).await;
    let refuses = refuses.unwrap();
    let mut output = door.open_read(&refuses, 0, 0).await.unwrap();
    output.message().await.unwrap().unwrap();
    let mut watch = Watch::new(&control, "").await;
    watch.until_caught_up().await;
    agent.signal(Signal::TERM);
    let mut ends = BTreeMap::new();
    while ends.len() < 2 {
        if let Event::Exec(exec) = watch.next().await
            && let Some(ended) = exec.ended
        {
            ends.insert(exec.exec_id, (ended.reason(), ended.signal));
        }
    }
    assert_eq!(ends[&obeys], (EndReason::Shutdown, Some(15)));
    assert_eq!(ends[&refuses], (EndReason::Shutdown, Some(9)));
    drop(output);
    agent.ended().await;
    assert_eq!(agent.log().matches("reason=shutdown").count(), 2, "{}", agent.log());
}

#[tokio::test]
async fn a_list_of_many_is_right_and_quick() {
    let agent = Agent::start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let mut ids = BTreeSet::new();
    for _ in 0..4 {
        let starts = (0..250).map(|_| {
            let door = door.clone();
            tokio::spawn(async move { door.start(&command(&["sleep", "1000"])).await.unwrap() })
        });
        for start in starts.collect::<Vec<_>>() {
            ids.insert(start.await.unwrap());
        }
    }
    // Three times as many took 0.04 and 0.2 s, on a busy machine and not optimized.
    let begun = Instant::now();
    let listed = control.list().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "the list took {:?}", begun.elapsed());
    assert!(listed.iter().all(|exec| exec.state() == ExecState::Running));
    assert_eq!(listed.into_iter().map(|exec| exec.exec_id).collect::<BTreeSet<_>>(), ids);
    let begun = Instant::now();
    let measured = control.measure().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "the look took {:?}", begun.elapsed());
    assert!(measured.iter().all(|exec| exec.processes == Some(1)));
}

#[tokio::test]
async fn who_falls_too_far_behind_is_told_everything_anew() {
    let agent = Setup::new().flags(["--remember-execs", "500"]).start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let narrow = Control::open_narrow(agent.host_and_port(), TOKEN).await;
    let mut slow = Watch::new(&narrow, "").await;
    slow.until_caught_up().await;
    let mut old = Watch::new(&control, "").await;
    old.until_caught_up().await;
    let cursor = old.cursor;
    // Each makes two changes at the least, and one when it is forgotten.
    for _ in 0..4 {
        start_many(&door, 500).await;
    }
    let mut late = Watch::new(&control, &cursor).await;
    for watch in [&mut slow, &mut late] {
        while watch.restarts == 0 {
            watch.next().await;
        }
        watch.until_caught_up().await;
        assert_eq!(watch.restarts, 1);
        watch.check_nothing_was_told_twice();
    }
    let listed = control.list().await;
    for exec in &listed {
        late.until_state(&exec.exec_id, ExecState::Ended).await;
        slow.until_state(&exec.exec_id, ExecState::Ended).await;
    }
    assert_eq!(listed.len(), 500);
}

async fn forget(control: &Control, exec: &str) -> Result<u64, Status> {
    let request = ForgetExecRequest { task_id: TASK.into(), exec_id: exec.into() };
    Ok(control.raw.clone().forget_exec(request).await?.into_inner().freed_bytes)
}

#[tokio::test]
async fn what_has_ended_is_forgotten_for_good() {
    let agent = Agent::start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let request = sh("echo 12345; echo 123 >&2; read line; sleep 1000 & echo $!");
    let exec = door.start(&request).await.unwrap();
    refused("while it runs", forget(&control, &exec).await, Code::FailedPrecondition, &[&exec]);
    door.write(&exec, 0, b"\n", Eof::No).await.unwrap();
    let stdout = door.read(&exec, 0, 0).await.unwrap();
    let open = forget(&control, &exec).await;
    refused("while a stream is open", open, Code::FailedPrecondition, &["streams"]);
    let text = String::from_utf8(stdout.bytes).unwrap();
    door.print(&format!("kill {}", text.split_whitespace().last().unwrap())).await;
    control.get_in(&exec, ExecState::Ended).await;
    assert_eq!(forget(&control, &exec).await.unwrap(), text.len() as u64 + 4);
    assert_eq!(forget(&control, &exec).await.unwrap(), 0);
    refused("afterwards", control.get(&exec).await, Code::NotFound, &[&exec]);
    let again = door.start(&request).await;
    refused("it never runs again", again, Code::FailedPrecondition, &["forgotten"]);
    refused("never started", forget(&control, "nobody").await, Code::NotFound, &["nobody"]);
    refused("no id", forget(&control, "").await, Code::InvalidArgument, &[]);
}

async fn describe(control: &Control) -> GetAgentResponse {
    let request = GetAgentRequest { task_id: TASK.into() };
    control.raw.clone().get_agent(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn the_agent_tells_what_it_is_and_what_it_uses() {
    let agent = Setup::new()
        .flags(["--grace", "1500ms", "--spool-memory-max", "8MiB"])
        .env("DOORWARD_DISABLE", "pidfd")
        .start()
        .await;
    let (door, control) = (agent.door().await, agent.control().await);
    let exec = door.start(&sh("head -c 3000000 /dev/zero")).await.unwrap();
    control.get_in(&exec, ExecState::Ended).await;
    door.start(&sh("sleep 1000")).await.unwrap();
    let told = describe(&control).await;
    assert_eq!(told.version, env!("CARGO_PKG_VERSION"));
    assert_eq!((told.task_id.as_str(), told.pid as u32), (TASK, agent.own_pid()));
    assert_eq!(told.is_pid_one, agent.own_pid() == 1);
    assert_eq!(told.listening, agent.addresses());
    assert!(told.uptime.unwrap().seconds < 600 && told.started.is_some());
    assert_eq!((told.limits["grace"], told.limits["spool-memory-max"]), (1500, 8 << 20));
    let pidfd = told.features.iter().find(|feature| feature.name == "pidfd").unwrap();
    assert!(!pidfd.available && pidfd.reason.contains("DOORWARD_DISABLE"), "{pidfd:?}");
    assert!(told.features.iter().all(|feature| !feature.chosen.is_empty()), "{told:?}");
    let used = told.r#use.unwrap();
    assert!(used.memory_bytes.unwrap() > 1 << 20 && used.threads.unwrap() >= 1, "{used:?}");
    assert!(used.descriptors.unwrap() > 3 && used.cpu_time.is_some(), "{used:?}");
    assert_eq!((used.live_execs, used.remembered_execs), (1, 1));
    assert_eq!(used.spool_disk_bytes, 3_000_000, "{used:?}");

    let other = Agent::start().await;
    assert_ne!(describe(&other.control().await).await.instance, told.instance);
    let wrong = GetAgentRequest { task_id: "another".into() };
    refused("a task", control.raw.clone().get_agent(wrong).await, Code::NotFound, &["another"]);
}

#[tokio::test]
async fn each_start_and_end_is_a_line_in_the_log_without_secrets() {
    let agent = Setup::new().entrypoint(["/bin/sh", "-c", "echo Xsecret"]).flags(["--keep"]);
    let agent = agent.flags(["--entrypoint-output", "spool"]).start().await;
    let (door, control) = (agent.door().await, agent.control().await);
    let request = TaskExecStartRequest {
        env: [("XSECRET".to_string(), "Xsecret".to_string())].into(),
        ..sh("cat; echo Xsecret; exit 7")
    };
    let exec = door.start(&request).await.unwrap();
    door.write(&exec, 0, b"Xsecret\n", Eof::Yes).await.unwrap();
    control.get_in(&exec, ExecState::Ended).await;
    let lost =
        TaskExecStartRequest { workdir: Some("/Xsecret".into()), ..command(&["a\nb", "Xsecret"]) };
    door.start(&lost).await.unwrap_err();

    let line = |exec: &str, what: &str| {
        let log = agent.log();
        let has = |line: &&str| line.contains(&format!("exec={exec} ")) && line.contains(what);
        log.lines().find(has).map(String::from)
    };
    until("both ends and the failure are in the log", || {
        line("entrypoint", "ended").is_some()
            && line(&exec, "ended").is_some()
            && line(&lost.exec_id, "could not").is_some()
    })
    .await;
    let started = line(&exec, "exec started").unwrap();
    let ended = line(&exec, "exec ended").unwrap();
    for words in [&started, &ended] {
        assert!(
            words.contains(" INFO audit: ") && words.contains("program=\"/bin/sh\""),
            "{words}"
        );
        assert!(words.contains("subject=\"") && words.contains("peer=\"127.0.0.1:"), "{words}");
    }
    assert!(ended.contains("reason=exited code=7"), "{ended}");
    assert!(line("entrypoint", "exec started").unwrap().contains("subject=\"agent\""));
    let failed = line(&lost.exec_id, "could not be started").unwrap();
    assert!(failed.contains(r#"program="a\nb""#), "a name cannot make a line: {failed}");
    assert!(failed.contains("stage=\"workdir\" errno=2"), "{failed}");
    assert!(!agent.log().contains("Xsecret"), "{}", agent.log());
}
