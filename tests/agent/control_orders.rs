//! Orders to an exec through `doorward.v1.Control`: sizes, signals, and its end with everything that
//! came of it.

use doorward::wire::{
    doorward::v1::{
        CancelExecRequest, CancelExecResponse, ResizePtyRequest, ResizePtyResponse,
        SignalExecRequest, SignalTarget, TerminalSize, control_client::ControlClient,
    },
    modal::client::PtyInfo,
};
use tokio::time::timeout;
use tonic::{
    Code, Request, Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

use crate::support::{
    Agent, Exit, PATIENCE, TASK,
    door::{Door, Eof, TOKEN, refused, terminal},
    processes, sh,
};

pub(crate) type Authorize = fn(Request<()>) -> Result<Request<()>, Status>;

/// The other door of the same agent.
#[derive(Clone)]
pub(crate) struct Orders(ControlClient<InterceptedService<Channel, Authorize>>);

impl Orders {
    pub(crate) async fn open(agent: &Agent) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{}", agent.host_and_port())).unwrap();
        let channel = endpoint.tcp_nodelay(true).connect().await.unwrap();
        let authorize: Authorize = |mut request| {
            let value = format!("Bearer {TOKEN}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
            Ok(request)
        };
        Self(ControlClient::with_interceptor(channel, authorize))
    }

    /// The generated client, for requests that have no method here.
    pub(crate) fn raw(&self) -> ControlClient<InterceptedService<Channel, Authorize>> {
        self.0.clone()
    }

    async fn resize(
        &self,
        exec: &str,
        rows: u32,
        columns: u32,
    ) -> Result<ResizePtyResponse, Status> {
        let size = Some(TerminalSize { rows, columns });
        let request = ResizePtyRequest { task_id: TASK.into(), exec_id: exec.into(), size };
        Ok(self.raw().resize_pty(request).await?.into_inner())
    }

    pub(crate) async fn signal(
        &self,
        exec: &str,
        signal: i32,
        target: SignalTarget,
    ) -> Result<Option<u32>, Status> {
        let target = target.into();
        let request =
            SignalExecRequest { task_id: TASK.into(), exec_id: exec.into(), signal, target };
        Ok(self.raw().signal_exec(request).await?.into_inner().processes)
    }

    /// Ends an exec; the grace is in milliseconds.
    pub(crate) async fn cancel(
        &self,
        exec: &str,
        grace: i64,
    ) -> Result<CancelExecResponse, Status> {
        let nanos = i32::try_from(grace % 1000 * 1_000_000).unwrap();
        let grace = Some(prost_types::Duration { seconds: grace / 1000, nanos });
        let request = CancelExecRequest { task_id: TASK.into(), exec_id: exec.into(), grace };
        let mut raw = self.raw();
        let call = timeout(PATIENCE, raw.cancel_exec(request)).await;
        Ok(call.unwrap_or_else(|_| panic!("no end of {exec}"))?.into_inner())
    }
}

/// Reads until the output has this in it, from its beginning.
pub(crate) async fn shows(door: &Door, exec: &str, text: &str) -> String {
    let mut stream = door.open_read(exec, 0, 0).await.unwrap();
    let mut seen = String::new();
    while !seen.contains(text) {
        let message = timeout(PATIENCE, stream.message()).await;
        let message = message.unwrap_or_else(|_| panic!("no {text:?} in {seen:?}")).unwrap();
        let message = message.unwrap_or_else(|| panic!("no {text:?} in {seen:?}"));
        seen.push_str(&String::from_utf8_lossy(&message.data));
    }
    seen
}

#[tokio::test]
async fn a_new_size_is_seen_and_told() {
    let agent = Agent::start().await;
    let (door, orders) = (agent.door().await, Orders::open(&agent).await);
    let script = "trap 'echo told $(stty size)' WINCH; stty size; echo ready; \
                  while [ ! -e done ]; do read line; echo line $line; done";
    let info = PtyInfo { winsz_rows: 24, winsz_cols: 80, ..PtyInfo::default() };
    let exec = door.start(&terminal(script, info)).await.unwrap();
    assert!(shows(&door, &exec, "ready").await.contains("24 80"));
    orders.resize(&exec, 40, 121).await.unwrap();
    shows(&door, &exec, "told 40 121").await;
    orders.resize(&exec, 65535, 1).await.unwrap();
    shows(&door, &exec, "told 65535 1").await;
    // The same again is no change: what is typed afterwards is answered without another word.
    orders.resize(&exec, 65535, 1).await.unwrap();
    door.write(&exec, 0, b"on\n", Eof::No).await.unwrap();
    let all = shows(&door, &exec, "line on").await;
    assert_eq!(all.matches("told").count(), 2, "{all}");
}

#[tokio::test]
async fn sizes_that_are_refused() {
    let agent = Agent::start().await;
    let (door, orders) = (agent.door().await, Orders::open(&agent).await);
    let exec = door.start(&terminal("read line", PtyInfo::default())).await.unwrap();
    for (rows, columns, word) in [(0, 80, "rows 0"), (24, 65536, "columns 65536")] {
        let refusal = orders.resize(&exec, rows, columns).await;
        refused("a size", refusal, Code::InvalidArgument, &[word]);
    }
    let request = ResizePtyRequest { task_id: TASK.into(), exec_id: exec.clone(), size: None };
    let none = orders.raw().resize_pty(request).await;
    refused("no size", none, Code::InvalidArgument, &["size"]);
    refused("unknown", orders.resize("no-such", 24, 80).await, Code::NotFound, &["no-such"]);
    door.write(&exec, 0, b"\n", Eof::No).await.unwrap();
    door.read(&exec, 0, 0).await.unwrap();
    door.wait(&exec).await.unwrap();
    let closed = orders.resize(&exec, 24, 80).await;
    refused("an exec that ended", closed, Code::FailedPrecondition, &["closed"]);
    let piped = door.start(&sh("read line")).await.unwrap();
    let refusal = orders.resize(&piped, 24, 80).await;
    refused("an exec with pipes", refusal, Code::FailedPrecondition, &["has none"]);
}

#[tokio::test]
async fn an_exec_costs_three_descriptors_and_a_terminal_one() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    assert_eq!(door.run(&sh("true")).await.exit, Exit::Code(0));
    // A thread that starts programs has four of its own.
    let held = || {
        let threads = processes::status(agent.pid(), "Threads") as usize;
        (processes::descriptors(agent.pid()), 4 * threads)
    };
    let (before, threads) = held();
    for _ in 0..10 {
        door.start(&sh("sleep 60")).await.unwrap();
    }
    let (after, more) = held();
    assert!(after <= before + 30 + more.saturating_sub(threads));
    let (before, threads) = held();
    for _ in 0..10 {
        door.start(&terminal("sleep 60", PtyInfo::default())).await.unwrap();
    }
    let (after, more) = held();
    assert!(after <= before + 10 + more.saturating_sub(threads));
}

#[tokio::test]
async fn input_that_fills_a_terminal_goes_on_when_it_is_read() {
    let agent = Agent::start().await;
    let door = agent.door().await;
    let script = "stty raw -echo; echo ready; read go; head -c 200000 | wc -c";
    let exec = door.start(&terminal(script, PtyInfo::default())).await.unwrap();
    shows(&door, &exec, "ready").await;
    let mut typed = b"go\n".to_vec();
    typed.resize(200_003, b'x');
    door.write(&exec, 0, &typed, Eof::No).await.unwrap();
    shows(&door, &exec, "200000").await;
}

/// A shell that says who it is and how often it got USR1.
fn counting(who: &str) -> String {
    format!("trap 'echo {who}' USR1; echo ready; while :; do sleep 0.02; done")
}

#[tokio::test]
async fn a_signal_reaches_the_leader_the_group_or_the_tree() {
    let agent = Agent::start().await;
    let (door, orders) = (agent.door().await, Orders::open(&agent).await);
    let script = format!(
        "sh -c \"{}\" & setsid sh -c \"{}\" & {}",
        counting("grouped"),
        counting("apart"),
        counting("leader")
    );
    let exec = door.start(&sh(&script)).await.unwrap();
    let seen = async |[ready, leader, grouped, apart]: [usize; 4]| {
        let mut stream = door.open_read(&exec, 0, 0).await.unwrap();
        let mut text = String::new();
        let count = |text: &str, word: &str| text.lines().filter(|line| *line == word).count();
        while [("ready", ready), ("leader", leader), ("grouped", grouped), ("apart", apart)]
            .iter()
            .any(|(word, wanted)| count(&text, word) < *wanted)
        {
            let message = timeout(PATIENCE, stream.message()).await;
            let message = message.unwrap_or_else(|_| panic!("no more than {text}")).unwrap();
            text.push_str(&String::from_utf8_lossy(&message.unwrap().data));
        }
        ["leader", "grouped", "apart"].map(|word| count(&text, word))
    };
    seen([3, 0, 0, 0]).await;
    let usr1 = 10;
    assert_eq!(orders.signal(&exec, usr1, SignalTarget::Leader).await.unwrap(), Some(1));
    seen([3, 1, 0, 0]).await;
    assert_eq!(orders.signal(&exec, usr1, SignalTarget::Group).await.unwrap(), None);
    seen([3, 2, 1, 0]).await;
    let reached = orders.signal(&exec, usr1, SignalTarget::Tree).await.unwrap().unwrap();
    assert!((3..=6).contains(&reached), "{reached} of three shells and their sleeps");
    assert_eq!(seen([3, 3, 2, 1]).await, [3, 2, 1]);
    // The leader alone is what is meant if nothing is said.
    orders.signal(&exec, 9, SignalTarget::Unspecified).await.unwrap();
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Signal(9));
    let refusal = orders.signal(&exec, usr1, SignalTarget::Leader).await;
    refused("a leader that is gone", refusal, Code::FailedPrecondition, &["left"]);
    // Its group and its tree live on, until they do not.
    let left = orders.signal(&exec, 9, SignalTarget::Group).await.unwrap().unwrap();
    assert!((1..=3).contains(&left), "{left} of a shell, its sleep and the leader's");
    orders.signal(&exec, 9, SignalTarget::Tree).await.unwrap();
    for target in [SignalTarget::Group, SignalTarget::Tree] {
        let mut refusal = orders.signal(&exec, 9, target).await;
        // A child that was forked as the signal went out gets the next one.
        while refusal.is_ok() {
            refusal = orders.signal(&exec, 9, target).await;
        }
        refused("nothing", refusal, Code::FailedPrecondition, &["left"]);
    }
    assert_eq!(door.read(&exec, 0, 0).await.unwrap().end, "eof");
}

#[tokio::test]
async fn the_group_of_a_terminal_is_the_one_in_its_foreground() {
    let agent = Agent::start().await;
    let (door, orders) = (agent.door().await, Orders::open(&agent).await);
    let script = "set -m; trap 'echo the-shell' INT; \
                  sh -c 'trap \"echo the-job; exit\" INT; echo ready; while :; do sleep 0.02; done'; \
                  set +m; echo alone; while :; do sleep 0.02; done";
    let exec = door.start(&terminal(script, PtyInfo::default())).await.unwrap();
    shows(&door, &exec, "ready").await;
    orders.signal(&exec, 2, SignalTarget::Group).await.unwrap();
    let all = shows(&door, &exec, "alone").await;
    assert!(all.contains("the-job") && !all.contains("the-shell"), "{all}");
    orders.signal(&exec, 2, SignalTarget::Group).await.unwrap();
    shows(&door, &exec, "the-shell").await;
}

#[tokio::test]
async fn signals_that_are_refused() {
    let agent = Agent::start().await;
    let (door, orders) = (agent.door().await, Orders::open(&agent).await);
    let exec = door.start(&sh("read line")).await.unwrap();
    for number in [-1, 0, 65] {
        let refusal = orders.signal(&exec, number, SignalTarget::Leader).await;
        refused("a number", refusal, Code::InvalidArgument, &[&number.to_string()]);
    }
    let request =
        SignalExecRequest { task_id: TASK.into(), exec_id: exec.clone(), signal: 10, target: 99 };
    let refusal = orders.raw().signal_exec(request).await;
    refused("a target", refusal, Code::InvalidArgument, &["99"]);
    let refusal = orders.signal("no-such", 9, SignalTarget::Leader).await;
    refused("an exec", refusal, Code::NotFound, &["no-such"]);
    assert_eq!(orders.signal(&exec, 64, SignalTarget::Leader).await.unwrap(), Some(1));
    assert_eq!(door.wait(&exec).await.unwrap(), Exit::Signal(64));
}
