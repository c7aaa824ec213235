//! A plain client of the public contract: each call once, nothing retried, everything shown.

use std::sync::atomic::{AtomicU64, Ordering};

use doorward::wire::modal::{
    client::PtyInfo,
    task_command_router::{
        TaskExecPollRequest, TaskExecStartRequest, TaskExecStdinStatusRequest,
        TaskExecStdinStatusResponse, TaskExecStdinWriteRequest, TaskExecStdioReadRequest,
        TaskExecStdioReadResponse, TaskExecWaitRequest,
        task_command_router_client::TaskCommandRouterClient, task_exec_poll_response,
        task_exec_wait_response,
    },
};
use tokio::time::timeout;
use tonic::{
    Code, Request, Status, Streaming,
    metadata::MetadataMap,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::PATIENCE;

/// The task that every agent of these tests serves.
pub(crate) const TASK: &str = "ta-proof";
/// The static token that they take.
pub(crate) const TOKEN: &str = "a-static-token-for-tests-only";

/// How a program ended, as the wire says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
}

/// What a read to the end gave.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) bytes: Vec<u8>,
    /// The trailer `doorward-end`.
    pub(crate) end: String,
    pub(crate) trailers: MetadataMap,
}

/// The end of a small command.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Puts the token into each call.
#[derive(Clone)]
pub(crate) struct Token(Option<String>);

impl Token {
    /// This token.
    pub(crate) fn new(token: &str) -> Self {
        Self(Some(token.into()))
    }
}

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            let value = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

/// The generated client with a token.
pub(crate) type Raw = TaskCommandRouterClient<InterceptedService<Channel, Token>>;

/// A connection to an agent.
#[derive(Clone)]
pub(crate) struct Door {
    /// The generated client, for what has no method here.
    pub(crate) raw: Raw,
}

/// A start request for `sh -c SCRIPT` with pipes, under a fresh id.
pub(crate) fn sh(script: &str) -> TaskExecStartRequest {
    command(&["/bin/sh", "-c", script])
}

/// A start request with pipes, under a fresh id.
pub(crate) fn command(words: &[&str]) -> TaskExecStartRequest {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    TaskExecStartRequest {
        task_id: TASK.into(),
        exec_id: format!("exec-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
        command_args: words.iter().map(|word| (*word).into()).collect(),
        stdout_config: 1,
        stderr_config: 1,
        ..TaskExecStartRequest::default()
    }
}

/// A start request with a terminal.
pub(crate) fn terminal(script: &str, info: PtyInfo) -> TaskExecStartRequest {
    TaskExecStartRequest { pty_info: Some(info), ..sh(script) }
}

impl Door {
    /// Connects to `host:port`.
    pub(crate) async fn open(host_and_port: &str, token: Option<&str>) -> Self {
        Self::connect(format!("http://{host_and_port}"), token).await
    }

    /// Connects to a Unix socket.
    pub(crate) async fn open_unix(path: &str, token: Option<&str>) -> Self {
        Self::connect(format!("unix://{path}"), token).await
    }

    async fn connect(url: String, token: Option<&str>) -> Self {
        let endpoint = Endpoint::from_shared(url).unwrap();
        let channel = endpoint.tcp_nodelay(true).connect().await.unwrap();
        let token = Token(token.map(String::from));
        let raw = TaskCommandRouterClient::with_interceptor(channel, token);
        Self { raw: raw.max_decoding_message_size(usize::MAX) }
    }

    /// Starts a command and returns its id.
    pub(crate) async fn start(&self, request: &TaskExecStartRequest) -> Result<String, Status> {
        self.raw.clone().task_exec_start(request.clone()).await?;
        Ok(request.exec_id.clone())
    }

    /// Waits for an exit.
    pub(crate) async fn wait(&self, exec: &str) -> Result<Exit, Status> {
        use task_exec_wait_response::ExitStatus;
        let request = TaskExecWaitRequest { task_id: TASK.into(), exec_id: exec.into() };
        let mut raw = self.raw.clone();
        let call = timeout(PATIENCE, raw.task_exec_wait(request)).await;
        let answer = call.unwrap_or_else(|_| panic!("no end of {exec}"))?.into_inner();
        Ok(match answer.exit_status.expect("a wait without a status is an error to clients") {
            ExitStatus::Code(code) => Exit::Code(code),
            ExitStatus::Signal(signal) => Exit::Signal(signal),
        })
    }

    /// Asks for an exit.
    pub(crate) async fn poll(&self, exec: &str) -> Result<Option<Exit>, Status> {
        use task_exec_poll_response::ExitStatus;
        let request = TaskExecPollRequest { task_id: TASK.into(), exec_id: exec.into() };
        let answer = self.raw.clone().task_exec_poll(request).await?.into_inner();
        Ok(answer.exit_status.map(|status| match status {
            ExitStatus::Code(code) => Exit::Code(code),
            ExitStatus::Signal(signal) => Exit::Signal(signal),
        }))
    }

    /// Opens a stream: 0 is stdout, 1 stderr.
    pub(crate) async fn open_read(
        &self,
        exec: &str,
        stream: i32,
        offset: u64,
    ) -> Result<Streaming<TaskExecStdioReadResponse>, Status> {
        let request = TaskExecStdioReadRequest {
            task_id: TASK.into(),
            exec_id: exec.into(),
            offset,
            file_descriptor: stream,
        };
        Ok(self.raw.clone().task_exec_stdio_read(request).await?.into_inner())
    }

    /// Reads a stream to its end.
    pub(crate) async fn read(
        &self,
        exec: &str,
        stream: i32,
        offset: u64,
    ) -> Result<Output, Status> {
        let mut messages = self.open_read(exec, stream, offset).await?;
        rest(&mut messages, exec).await
    }

    /// Writes input by one unary call.
    pub(crate) async fn write(
        &self,
        exec: &str,
        offset: u64,
        data: &[u8],
        eof: Eof,
    ) -> Result<(), Status> {
        let request = TaskExecStdinWriteRequest {
            task_id: TASK.into(),
            exec_id: exec.into(),
            offset,
            data: data.to_vec().into(),
            eof: eof == Eof::Yes,
        };
        self.raw.clone().task_exec_stdin_write(request).await.map(drop)
    }

    /// Asks how much input was accepted, which evicts a stream that is writing.
    pub(crate) async fn input(&self, exec: &str) -> Result<TaskExecStdinStatusResponse, Status> {
        let request = TaskExecStdinStatusRequest { task_id: TASK.into(), exec_id: exec.into() };
        Ok(self.raw.clone().task_exec_stdin_status(request).await?.into_inner())
    }

    /// Runs a small command to its end.
    pub(crate) async fn run(&self, request: &TaskExecStartRequest) -> Done {
        let exec = self.start(request).await.unwrap_or_else(|error| panic!("{request:?}: {error}"));
        let (stdout, stderr) = tokio::join!(self.read(&exec, 0, 0), self.read(&exec, 1, 0));
        let text = |output: Result<Output, Status>| {
            String::from_utf8_lossy(&output.unwrap().bytes).into_owned()
        };
        let exit = self.wait(&exec).await.unwrap();
        Done { exit, stdout: text(stdout), stderr: text(stderr) }
    }

    /// Runs a script and returns what it printed; it must succeed.
    pub(crate) async fn print(&self, script: &str) -> String {
        let done = self.run(&sh(script)).await;
        assert_eq!(done.exit, Exit::Code(0), "{script}: {done:?}");
        done.stdout
    }
}

/// Whether a write ends the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eof {
    Yes,
    No,
}

/// The rest of a stream; an empty chunk, which crashes public clients, fails the test.
pub(crate) async fn rest(
    messages: &mut Streaming<TaskExecStdioReadResponse>,
    exec: &str,
) -> Result<Output, Status> {
    let mut bytes = Vec::new();
    loop {
        let next = timeout(PATIENCE, messages.message()).await;
        let next = next.unwrap_or_else(|_| {
            let head = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
            panic!("the stream of {exec} does not end after {} bytes: {head}", bytes.len())
        });
        match next? {
            Some(message) => {
                assert!(!message.data.is_empty(), "an empty chunk of {exec}");
                bytes.extend_from_slice(&message.data);
            }
            None => break,
        }
    }
    let trailers = messages.trailers().await?.unwrap_or_default();
    let end = trailers.get("doorward-end").map_or("", |value| value.to_str().unwrap()).to_string();
    Ok(Output { bytes, end, trailers })
}

/// Checks that a call was refused with this code and says these words.
pub(crate) fn refused<T: std::fmt::Debug>(
    what: &str,
    call: Result<T, Status>,
    code: Code,
    words: &[&str],
) {
    let status = call.expect_err(what);
    assert_eq!(status.code(), code, "{what}: {status:?}");
    for word in words {
        assert!(status.message().contains(word), "{what}: no {word:?} in {:?}", status.message());
    }
}
