//! Orders to an exec through `doorward.v1.Control`: sizes, signals, and its end with everything that
//! came of it.

use doorward::wire::{
    doorward::v1::{
        ResizePtyRequest, ResizePtyResponse, TerminalSize, control_client::ControlClient,
    },
    modal::client::PtyInfo,
};
use tonic::{
    Code, Request, Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

use crate::support::{
    Agent, Exit, TASK,
    door::{Door, Eof, TOKEN, refused, terminal},
    processes, sh,
};

type Authorize = fn(Request<()>) -> Result<Request<()>, Status>;

/// The other door of the same agent.
#[derive(Clone)]
struct Orders(ControlClient<InterceptedService<Channel, Authorize>>);

impl Orders {
    async fn open(agent: &Agent) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{}", agent.host_and_port())).unwrap();
        let channel = endpoint.tcp_nodelay(true).connect().await.unwrap();
        let authorize: Authorize = |mut request| {
            let value = format!("Bearer {TOKEN}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
            Ok(request)
        };
        Self(ControlClient::with_interceptor(channel, authorize))
    }

    async fn resize(
        &self,
        exec: &str,
        rows: u32,
        columns: u32,
    ) -> Result<ResizePtyResponse, Status> {
        let size = Some(TerminalSize { rows, columns });
        let request = ResizePtyRequest { task_id: TASK.into(), exec_id: exec.into(), size };
        Ok(self.0.clone().resize_pty(request).await?.into_inner())
    }
}

/// Reads until the output has this in it, from its beginning.
async fn shows(door: &Door, exec: &str, text: &str) -> String {
    let mut stream = door.open_read(exec, 0, 0).await.unwrap();
    let mut seen = String::new();
    while !seen.contains(text) {
        let message = stream.message().await.unwrap();
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
    let none = orders.0.clone().resize_pty(request).await;
    refused("no size", none, Code::InvalidArgument, &["size"]);
    refused("unknown", orders.resize("no-such", 24, 80).await, Code::NotFound, &["no-such"]);
    door.write(&exec, 0, b"\n", Eof::No).await.unwrap();
    door.read(&exec, 0, 0).await.unwrap();
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
    let before = processes::descriptors(agent.pid());
    for _ in 0..10 {
        door.start(&sh("sleep 60")).await.unwrap();
    }
    assert!(processes::descriptors(agent.pid()) <= before + 30);
    let before = processes::descriptors(agent.pid());
    for _ in 0..10 {
        door.start(&terminal("sleep 60", PtyInfo::default())).await.unwrap();
    }
    assert!(processes::descriptors(agent.pid()) <= before + 10);
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
