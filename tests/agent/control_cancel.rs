//! CancelExec: whatever an exec started is gone when it answers, or is named with what keeps it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use doorward::wire::{
    doorward::v1::{CancelExecRequest, CancelExecResponse, EndReason, SignalTarget},
    modal::task_command_router::TaskExecStartRequest,
};
use tonic::Code;

use crate::{
    control_orders::{Orders, shows},
    support::{Agent, Exit, TASK, container, door::refused, processes, sh, skip, until},
};

/// How the exec of an answer ended, with its exit code or signal, and whether somebody is named who
/// asked for it.
fn end(answer: &CancelExecResponse) -> (EndReason, Option<i32>, bool) {
    let ended = answer.exec.as_ref().and_then(|exec| exec.ended.as_ref());
    let ended = ended.unwrap_or_else(|| panic!("no end: {answer:?}"));
    (ended.reason(), ended.exit_code.or(ended.signal), !ended.cancelled_by.is_empty())
}

/// Longer than any of these tests: KILL does not come by itself.
const LONG: i64 = 3_600_000;

#[tokio::test]
async fn everything_is_asked_to_end_and_gone_at_the_answer() {
    let agent = Agent::start().await;
    let (door, orders) = (agent.door().await, Orders::open(&agent).await);
    let script = "setsid sleep 5321.5 & (setsid sh -c 'sleep 5321.5 & sleep 5321.5' &); \
                  sleep 5321.5 & kill -STOP $!; echo stands; sleep 5321.5";
    let exec = door.start(&sh(script)).await.unwrap();
    shows(&door, &exec, "stands").await;
    // Two shells and five that sleep: TERM goes to those that are there, not to what is forked later.
    until("all are there", || processes::with_command("sleep 5321.5").len() == 7).await;
    let begun = Instant::now();
    let answer = orders.cancel(&exec, LONG).await.unwrap();
    assert_eq!(answer.left, []);
    assert_eq!(end(&answer), (EndReason::Cancelled, Some(15), true));
    assert_eq!(answer.exec.unwrap().exec_id, exec);
    assert_eq!(processes::with_command("sleep 5321.5"), [0; 0]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Signal(15));
    assert_eq!(door.read(&exec, 0, 0).await.unwrap().end, "eof");
    // A repeat finds nothing to do, and what happened stays.
    assert_eq!(orders.cancel(&exec, LONG).await.unwrap().left, []);
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Signal(15));
}

#[tokio::test]
async fn a_stopped_exec_can_act_on_term() {
    let agent = Agent::start().await;
    let (door, orders) = (agent.door().await, Orders::open(&agent).await);
    let script = "trap 'echo obeyed; exit 7' TERM; echo ready; while :; do sleep 0.02; done";
    let exec = door.start(&sh(script)).await.unwrap();
    shows(&door, &exec, "ready").await;
    orders.signal(&exec, 19, SignalTarget::Tree).await.unwrap();
    let answer = orders.cancel(&exec, LONG).await.unwrap();
    assert_eq!(answer.left, []);
    assert_eq!(end(&answer), (EndReason::Exited, Some(7), true));
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(7));
    shows(&door, &exec, "obeyed").await;
}

const DEAF: &str = "trap '' TERM; echo deaf; sleep 5322.5";

#[tokio::test]
async fn who_ignores_term_is_killed_when_the_grace_is_over() {
    let agent = Agent::start().await;
    let (door, orders) = (agent.door().await, Orders::open(&agent).await);
    let exec = door.start(&sh(DEAF)).await.unwrap();
    shows(&door, &exec, "deaf").await;
    let begun = Instant::now();
    let answer = orders.cancel(&exec, 700).await.unwrap();
    assert_eq!(answer.left, []);
    assert_eq!(end(&answer), (EndReason::Cancelled, Some(9), true));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(700) && took < Duration::from_secs(8), "{took:?}");
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Signal(9));
}

#[tokio::test]
async fn a_repeat_joins_and_the_earliest_kill_wins() {
    let agent = Agent::start().await;
    let (door, orders) = (agent.door().await, Orders::open(&agent).await);
    let exec = door.start(&sh(DEAF)).await.unwrap();
    shows(&door, &exec, "deaf").await;
    let patient: Vec<_> = (0..3)
        .map(|_| {
            let (orders, exec) = (orders.clone(), exec.clone());
            tokio::spawn(async move { orders.cancel(&exec, LONG).await.unwrap() })
        })
        .collect();
    // A later one with more patience than the first does not put it off.
    let begun = Instant::now();
    let (soon, later) = tokio::join!(orders.cancel(&exec, 300), orders.cancel(&exec, LONG));
    assert_eq!((soon.unwrap().left, later.unwrap().left), (vec![], vec![]));
    for patient in patient {
        assert_eq!(patient.await.unwrap().left, []);
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Signal(9));
}

#[tokio::test]
async fn the_end_goes_on_when_who_asked_has_left() {
    let agent = Agent::start().await;
    let (door, orders) = (agent.door().await, Orders::open(&agent).await);
    let exec = door.start(&sh(DEAF)).await.unwrap();
    shows(&door, &exec, "deaf").await;
    let call = tokio::time::timeout(Duration::from_millis(200), orders.cancel(&exec, 1000)).await;
    assert!(call.is_err(), "answered before the grace was over: {call:?}");
    drop(orders);
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Signal(9));
}

#[tokio::test]
async fn a_deadline_during_the_grace_kills() {
    let agent = Agent::start().await;
    let (door, orders) = (agent.door().await, Orders::open(&agent).await);
    let request = TaskExecStartRequest { timeout_secs: Some(2), ..sh(DEAF) };
    let exec = door.start(&request).await.unwrap();
    shows(&door, &exec, "deaf").await;
    let answer = orders.cancel(&exec, LONG).await.unwrap();
    assert_eq!(answer.left, []);
    assert_eq!(end(&answer), (EndReason::Deadline, Some(9), true));
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Signal(9));
}

#[tokio::test]
async fn what_an_exec_left_behind_is_cleaned_up_and_its_end_stays() {
    let agent = Agent::start().await;
    let (door, orders) = (agent.door().await, Orders::open(&agent).await);
    let script = "setsid sleep 5323.5 & (setsid sh -c \"trap '' TERM; sleep 5323.5\" &); exit 3";
    let exec = door.start(&sh(script)).await.unwrap();
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(3));
    until("both sleep", || processes::with_command("sleep 5323.5").len() >= 3).await;
    let answer = orders.cancel(&exec, 500).await.unwrap();
    assert_eq!(answer.left, []);
    assert_eq!(end(&answer), (EndReason::Exited, Some(3), false));
    assert_eq!(processes::with_command("sleep 5323.5"), [0; 0]);
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Code(3));
}

/// A cgroup that can be frozen; thawed and removed at its end.
struct Freezer {
    directory: PathBuf,
    state: &'static str,
    values: [&'static str; 2],
    kill: Kill,
}

/// What KILL does to a frozen process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    Ends,
    WaitsForTheThaw,
}

impl Freezer {
    fn v1(name: &str) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup/freezer");
        let (state, values) = ("freezer.state", ["THAWED", "FROZEN"]);
        Self::make(root, name, state, values, Kill::WaitsForTheThaw)
    }

    fn v2(name: &str) -> Option<Self> {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.controllers").exists())?;
        Self::make(root, name, "cgroup.freeze", ["0", "1"], Kill::Ends)
    }

    fn make(
        root: &Path,
        name: &str,
        state: &'static str,
        values: [&'static str; 2],
        kill: Kill,
    ) -> Option<Self> {
        let directory = root.join(format!("test-of-doorward-{}-{name}", std::process::id()));
        fs::create_dir(&directory).ok()?;
        let freezer = Self { directory, state, values, kill };
        freezer.directory.join(state).exists().then_some(freezer)
    }

    fn freeze(&self, pids: &[u32]) {
        for pid in pids {
            fs::write(self.directory.join("cgroup.procs"), pid.to_string()).unwrap();
        }
        fs::write(self.directory.join(self.state), self.values[1]).unwrap();
    }

    fn thaw(&self) {
        fs::write(self.directory.join(self.state), self.values[0]).unwrap();
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = fs::write(self.directory.join(self.state), self.values[0]);
        // What dies in it takes a moment to leave it.
        let begun = Instant::now();
        while fs::remove_dir(&self.directory).is_err() && begun.elapsed() < Duration::from_secs(5) {
            std::thread::yield_now();
        }
    }
}

#[tokio::test]
async fn a_frozen_exec_is_named_until_it_is_thawed() {
    let makes: [fn(&str) -> Option<Freezer>; 2] = [Freezer::v1, Freezer::v2];
    let freezers: Vec<_> = makes.iter().filter_map(|make| make("frozen")).collect();
    if freezers.is_empty() || container::wanted() {
        return skip("a frozen exec", "no cgroup can be made that freezes the agent's commands");
    }
    let agent = Agent::start().await;
    let (door, orders) = (agent.door().await, Orders::open(&agent).await);
    for freezer in freezers {
        let exec = door.start(&sh("sleep 5324.5 & echo $$ $!; wait")).await.unwrap();
        let pids = shows(&door, &exec, "\n").await;
        let pids: Vec<u32> = pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        freezer.freeze(&pids);
        let answer = orders.cancel(&exec, 300).await.unwrap();
        if freezer.kill == Kill::WaitsForTheThaw {
            let mut left: Vec<_> =
                answer.left.iter().map(|left| left.pid.cast_unsigned()).collect();
            left.sort_unstable();
            let mut wanted = pids.clone();
            wanted.sort_unstable();
            assert_eq!(left, wanted, "{answer:?}");
            assert!(answer.left.iter().all(|left| left.reason == "frozen"), "{answer:?}");
            assert!(answer.left.iter().any(|left| left.name == "sleep"), "{answer:?}");
            assert_eq!(door.poll(&exec).await.unwrap(), None);
            let again = orders.cancel(&exec, 0).await.unwrap();
            assert_eq!(again.left.len(), 2, "still frozen: {again:?}");
            freezer.thaw();
        }
        let answer = orders.cancel(&exec, LONG).await.unwrap();
        assert_eq!(answer.left, []);
        assert_eq!(processes::with_command("sleep 5324.5"), [0; 0]);
        // Of the two that waited for the thaw, either may come first.
        let exit = door.wait(&exec).await.unwrap();
        assert!([Exit::Signal(9), Exit::Signal(15)].contains(&exit), "{exit:?}");
    }
}

#[tokio::test]
async fn cancels_that_are_refused() {
    let agent = Agent::start().await;
    let (door, orders) = (agent.door().await, Orders::open(&agent).await);
    let exec = door.start(&sh("read line")).await.unwrap();
    for (seconds, nanos) in [(-1, 0), (3600, 1), (i64::MAX, 0), (0, i32::MIN)] {
        let grace = Some(prost_types::Duration { seconds, nanos });
        let request = CancelExecRequest { task_id: TASK.into(), exec_id: exec.clone(), grace };
        let refusal = orders.raw().cancel_exec(request).await;
        refused("a grace", refusal, Code::InvalidArgument, &["grace", &seconds.to_string()]);
    }
    assert_eq!(door.poll(&exec).await.unwrap(), None);
    refused("an exec", orders.cancel("no-such", 0).await, Code::NotFound, &["no-such"]);
}
