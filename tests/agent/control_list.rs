//! What the Control service tells of execs: where each is in its life, what it was asked to do,
//! how it ended.

use doorward::wire::{
    doorward::v1::{EndReason, Exec, ExecState, OutputStream, TerminalSize},
    modal::{client::PtyInfo, task_command_router::TaskExecStartRequest},
};
use tonic::Code;

use crate::support::{
    Agent, Control, Door, Exit, Setup,
    door::{Eof, command, refused, terminal},
    sh,
};

async fn both(agent: &Agent) -> (Door, Control) {
    (agent.door().await, agent.control().await)
}

fn reason(exec: &Exec) -> EndReason {
    exec.ended.as_ref().unwrap_or_else(|| panic!("no end: {exec:?}")).reason()
}

#[tokio::test]
async fn an_exec_is_shown_as_it_is_at_each_step_of_its_life() {
    let agent = Setup::new().flags(["--linger-quiet", "100ms"]).start().await;
    let (door, control) = both(&agent).await;
    let script = "echo out; echo err >&2; read line; sleep 1000 & echo $! ; exit 3";
    let request = TaskExecStartRequest {
        workdir: Some("/tmp".into()),
        timeout_secs: Some(500),
        ..sh(script)
    };
    let exec = door.start(&request).await.unwrap();
    let running = control.get(&exec).await.unwrap();
    assert_eq!(running.state(), ExecState::Running);
    assert_eq!(running.argv, ["/bin/sh", "-c", script]);
    assert_eq!((running.argv_cut, running.workdir.as_str()), (false, "/tmp"));
    assert_eq!((running.terminal, running.ended.clone()), (None, None));
    assert_eq!((running.stdin_accepted, running.stdin_closed), (0, false));
    assert!(running.pid.unwrap() > 1);
    let [requested, started, deadline] =
        [&running.requested, &running.started, &running.deadline].map(|time| time.unwrap().seconds);
    assert!(requested <= started + 1 && started <= requested + 30, "{running:?}");
    assert_eq!(deadline, requested + 500);

    door.write(&exec, 0, b"go\n", Eof::Yes).await.unwrap();
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(3));
    let stdout = door.read(&exec, 0, 0).await.unwrap();
    let lingering = control.get(&exec).await.unwrap();
    assert_eq!(lingering.state(), ExecState::Lingering);
    assert_eq!(reason(&lingering), EndReason::Exited);
    assert_eq!((lingering.stdin_accepted, lingering.stdin_closed), (3, true));
    let [out, err] = &lingering.streams[..] else { panic!("{lingering:?}") };
    assert_eq!((out.stream(), out.first_offset, out.dropped_bytes), (OutputStream::Stdout, 0, 0));
    assert_eq!(out.end_offset, stdout.bytes.len() as u64);
    assert_eq!((err.stream(), err.end_offset, err.ended), (OutputStream::Stderr, 4, false));

    let sleeper = String::from_utf8(stdout.bytes).unwrap();
    door.print(&format!("kill {}", sleeper.split_whitespace().last().unwrap())).await;
    let ended = control.get_in(&exec, ExecState::Ended).await;
    assert!(ended.streams.iter().all(|stream| stream.ended), "{ended:?}");
    let end = ended.ended.clone().unwrap();
    assert_eq!((end.exit_code, end.signal, end.start_failure), (Some(3), None, None));
    assert_eq!(end.run_time, ended.run_time);
    assert_eq!(ended.pid, running.pid);
}

#[tokio::test]
async fn each_reason_for_an_end_is_told_as_a_type() {
    let agent = Agent::start().await;
    let (door, control) = both(&agent).await;
    let late = TaskExecStartRequest { timeout_secs: Some(1), ..sh("sleep 1000") };
    for (request, reason, code, signal) in [
        (sh("exit 0"), EndReason::Exited, Some(0), None),
        (sh("exit 255"), EndReason::Exited, Some(255), None),
        (sh("kill -TERM $$"), EndReason::Signaled, None, Some(15)),
        (sh("kill -9 $$"), EndReason::Signaled, None, Some(9)),
        (late, EndReason::Deadline, None, Some(9)),
    ] {
        let exec = door.start(&request).await.unwrap();
        door.wait(&exec).await.unwrap();
        let ended = control.get_in(&exec, ExecState::Ended).await.ended.unwrap();
        assert_eq!(ended.reason(), reason, "{request:?}");
        assert_eq!((ended.exit_code, ended.signal), (code, signal), "{request:?}");
        assert!(ended.time.is_some() && ended.run_time.is_some());
        assert_eq!(ended.cancelled_by, "");
    }
}

/// Many end before the thread that started them goes on.
#[tokio::test]
async fn an_exec_starts_before_it_ends() {
    let agent = Agent::start().await;
    let (door, control) = both(&agent).await;
    let one = |door: Door| async move {
        let exec = door.start(&command(&["/bin/true"])).await.unwrap();
        door.wait(&exec).await.unwrap();
        exec
    };
    let all: Vec<_> = (0..200).map(|_| tokio::spawn(one(door.clone()))).collect();
    for exec in all {
        let exec = control.get_in(&exec.await.unwrap(), ExecState::Ended).await;
        let order = |time: Option<prost_types::Timestamp>| {
            let time = time.unwrap();
            (time.seconds, time.nanos)
        };
        let (started, end) = (order(exec.started), exec.ended.clone().unwrap());
        assert!(started < order(end.time), "{exec:?}");
        let ran = end.run_time.unwrap();
        assert!((ran.seconds, ran.nanos) > (0, 0), "{exec:?}");
    }
}

#[tokio::test]
async fn a_failed_start_is_told_with_its_step_and_errno() {
    let agent = Agent::start().await;
    let (door, control) = both(&agent).await;
    let lost = TaskExecStartRequest { workdir: Some("/no/such/place".into()), ..sh("true") };
    for (request, stage, errno) in [
        (command(&["/no/such/program"]), "exec", libc::ENOENT),
        (command(&["/etc/passwd"]), "exec", libc::EACCES),
        (lost, "workdir", libc::ENOENT),
    ] {
        refused("a start", door.start(&request).await, Code::FailedPrecondition, &[]);
        let failed = control.get(&request.exec_id).await.unwrap();
        assert_eq!(failed.state(), ExecState::Failed, "{failed:?}");
        assert_eq!((failed.pid, failed.started, failed.run_time), (None, None, None));
        assert_eq!(failed.usage, None);
        assert!(failed.streams.iter().all(|stream| stream.ended));
        let end = failed.ended.unwrap();
        assert_eq!(end.reason(), EndReason::StartFailure);
        assert_eq!((end.exit_code, end.signal, end.run_time), (None, None, None));
        assert!(end.time.is_some());
        let failure = end.start_failure.unwrap();
        assert_eq!((failure.stage.as_str(), failure.errno), (stage, Some(errno)));
        assert!(failure.message.contains(&request.command_args[0]) || stage == "workdir");
    }
}

#[tokio::test]
async fn a_terminal_has_its_size_and_a_long_command_is_cut() {
    let agent = Agent::start().await;
    let (door, control) = both(&agent).await;
    let info = PtyInfo { winsz_rows: 33, winsz_cols: 101, ..PtyInfo::default() };
    let exec = door.start(&terminal("sleep 1000", info)).await.unwrap();
    let shown = control.get(&exec).await.unwrap();
    assert_eq!(shown.terminal, Some(TerminalSize { rows: 33, columns: 101 }));
    assert!(!shown.stdin_closed);

    let long = sh(&format!("true {}", "x".repeat(8000)));
    let exec = door.start(&long).await.unwrap();
    let shown = control.get(&exec).await.unwrap();
    assert!(shown.argv_cut);
    let kept: usize = shown.argv.iter().map(String::len).sum();
    assert!(kept > 4000 && kept <= 4096, "{kept} bytes");
    assert!(long.command_args[2].starts_with(&shown.argv[2]));
}

#[tokio::test]
async fn the_list_has_every_exec_in_the_order_of_their_starts() {
    let agent = Setup::new().entrypoint(["sleep", "1000"]).start().await;
    let (door, control) = both(&agent).await;
    let mut started = Vec::new();
    for script in ["exit 0", "sleep 1000", "exit 1", "sleep 1000"] {
        started.push(door.start(&sh(script)).await.unwrap());
    }
    for exec in [&started[0], &started[2]] {
        control.get_in(exec, ExecState::Ended).await;
    }
    let ids = |execs: &[Exec]| execs.iter().map(|exec| exec.exec_id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&control.list().await), started, "and the entrypoint is none of them");
    let live = doorward::wire::doorward::v1::ListExecsRequest {
        task_id: crate::support::TASK.into(),
        live_only: true,
        measure: false,
    };
    let live = control.raw.clone().list_execs(live).await.unwrap().into_inner().execs;
    assert_eq!(ids(&live), [started[1].clone(), started[3].clone()]);
    refused("an unknown exec", control.get("nobody").await, Code::NotFound, &["nobody"]);
    refused("no id", control.get("a/b").await, Code::InvalidArgument, &[]);
}

#[tokio::test]
async fn what_an_ended_exec_used_up_is_its_own_and_not_the_agents() {
    let agent = Agent::start().await;
    let (door, control) = both(&agent).await;
    let hungry = "dd if=/dev/zero of=/dev/null bs=96M count=1 2>/dev/null; \
        i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let exec = door.start(&sh(hungry)).await.unwrap();
    let used = control.get_in(&exec, ExecState::Ended).await.usage.unwrap();
    let peak = used.memory_peak_bytes.unwrap();
    assert!((96 << 20..200 << 20).contains(&peak), "{used:?}");
    let [user, system] = [used.user_time.unwrap(), used.system_time.unwrap()];
    assert!(user.seconds > 0 || user.nanos > 20_000_000, "{used:?}");
    assert!(system.nanos > 0, "{used:?}");
    assert_eq!(used.memory_bytes, None, "nothing of it runs");

    // The kernel books the agent's own memory as the peak of all that it starts.
    let exec = door.start(&command(&["true"])).await.unwrap();
    let used = control.get_in(&exec, ExecState::Ended).await.usage.unwrap();
    assert_eq!(used.memory_peak_bytes, None, "{used:?}");
}

#[tokio::test]
async fn a_look_counts_the_processes_of_each_tree_and_what_they_use() {
    let agent = Agent::start().await;
    let (door, control) = both(&agent).await;
    let busy = "sleep 1000 & setsid sleep 1000 & sh -c 'setsid sleep 1000 & exit 0'; echo up; \
        while :; do :; done";
    let busy = door.start(&sh(busy)).await.unwrap();
    let fat = "exec dd if=/dev/zero of=/dev/null bs=64M iflag=fullblock 2>/dev/null";
    let fat = door.start(&sh(fat)).await.unwrap();
    let left = door.start(&sh("setsid sleep 1000 >/dev/null 2>&1 & exit 0")).await.unwrap();
    let none = door.start(&sh("exit 0")).await.unwrap();
    for exec in [&left, &none] {
        control.get_in(exec, ExecState::Ended).await;
    }
    let settled = |execs: &[Exec]| {
        let used = |exec: &Exec| exec.usage.unwrap_or_default();
        let user = used(&execs[0]).user_time.map_or(0, |time| time.nanos);
        execs[0].processes == Some(4)
            && user > 50_000_000
            && used(&execs[1]).memory_bytes.is_some_and(|bytes| bytes > 64 << 20)
    };
    let begun = std::time::Instant::now();
    let execs = loop {
        let execs = control.measure().await;
        if settled(&execs) {
            break execs;
        }
        assert!(begun.elapsed() < crate::support::PATIENCE, "{execs:#?}");
    };
    let [busy_seen, fat_seen, left_seen, none_seen] = &execs[..] else { panic!("{execs:#?}") };
    assert_eq!(busy_seen.exec_id, busy);
    assert_eq!((fat_seen.exec_id.as_str(), fat_seen.processes), (fat.as_str(), Some(1)));
    let used = fat_seen.usage.unwrap();
    assert!((64 << 20..200 << 20).contains(&used.memory_peak_bytes.unwrap()), "{used:?}");
    assert!(used.system_time.is_some() && used.read_bytes.is_some(), "{used:?}");
    assert_eq!(left_seen.processes, Some(1), "a daemon that holds no stream: {left_seen:?}");
    assert!(left_seen.usage.unwrap().memory_bytes.unwrap() > 0);
    assert_eq!(none_seen.processes, Some(0));
    assert_eq!(none_seen.usage.unwrap().memory_bytes, None);
    // Without a look nothing is said, in place of 0.
    let running = control.get(&busy).await.unwrap();
    assert_eq!((running.processes, running.usage), (None, None));
}
