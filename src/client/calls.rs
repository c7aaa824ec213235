//! The client, and the calls that have one answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, header::CONTENT_TYPE};
use http_body_util::Full;
use tokio::time::{Instant, sleep};
use tonic::{Code, Response, Status, body::Body};

use super::{
    Address, ClientError, Command, Options, OutputReader, StdinWriter, Token,
    bound::Bound,
    link::Link,
    retry::{Fetched, Retry, Verdict, asked_pause, dice, may_pass},
};
use crate::{
    core::{ids::Stream, limits::REQUEST_BYTES_MAX, outcome::ExitStatus},
    wire::modal::task_command_router::{
        TaskExecPollRequest, TaskExecStdinStatusRequest, TaskExecStdinStatusResponse,
        TaskExecWaitRequest, task_command_router_client::TaskCommandRouterClient,
        task_exec_poll_response, task_exec_wait_response,
    },
};

/// The generated client.
pub(super) type Grpc = TaskCommandRouterClient<Link>;

/// A connection to one agent; clones share it. It opens again by itself after it broke.
#[derive(Clone)]
pub struct Client {
    pub(super) link: Link,
    pub(super) grpc: Grpc,
    pub(super) task_id: Arc<str>,
    pub(super) bound: Bound,
    token: Arc<Token>,
    /// Held while a token is fetched, so that one is at a time.
    fetching: Arc<tokio::sync::Mutex<()>>,
}

impl Client {
    /// Connects, once and at once: a wrong address is told now and not after a minute, and so is a certificate
    /// of ours that the other side does not take.
    pub async fn connect(options: Options) -> Result<Self, ClientError> {
        let tls = options.tls()?.map(Arc::new);
        let Options { address, task_id, token, ca: _, identity: _ } = options;
        let link = Link::new(address.clone(), tls);
        link.authorize(token.authorization().await?);
        if let Err(reason) = first_contact(&link, &address).await {
            return Err(ClientError::Connect { address, reason });
        }
        let grpc =
            TaskCommandRouterClient::new(link.clone()).max_decoding_message_size(REQUEST_BYTES_MAX);
        Ok(Self {
            link,
            grpc,
            task_id: task_id.into(),
            bound: Bound::default(),
            token: Arc::new(token),
            fetching: Arc::default(),
        })
    }

    /// Starts `command` under `exec_id`. The same id with the same command is the same exec: a
    /// repeat starts nothing. Dropping the future leaves open whether it was started.
    pub async fn start(&self, exec_id: &str, command: &Command) -> Result<(), ClientError> {
        let request = command.request(&self.task_id, exec_id);
        self.call(request, |mut grpc, request| async move { grpc.task_exec_start(request).await })
            .await
            .map(|_| ())
    }

    /// Waits for the end of an exec. Dropping the future changes nothing; anybody may wait, as
    /// often as they like.
    pub async fn wait(&self, exec_id: &str) -> Result<ExitStatus, ClientError> {
        let request =
            TaskExecWaitRequest { task_id: self.task_id.to_string(), exec_id: exec_id.into() };
        let answer = self
            .call(request, |mut grpc, request| async move { grpc.task_exec_wait(request).await })
            .await?;
        match answer.exit_status {
            Some(task_exec_wait_response::ExitStatus::Code(code)) => exited(code),
            Some(task_exec_wait_response::ExitStatus::Signal(signal)) => {
                Ok(ExitStatus::Signal(signal))
            }
            None => Err(ClientError::Protocol("a wait ended without an exit status".into())),
        }
    }

    /// How an exec ended, or `None` while it runs.
    pub async fn poll(&self, exec_id: &str) -> Result<Option<ExitStatus>, ClientError> {
        let request =
            TaskExecPollRequest { task_id: self.task_id.to_string(), exec_id: exec_id.into() };
        let answer = self
            .call(request, |mut grpc, request| async move { grpc.task_exec_poll(request).await })
            .await?;
        match answer.exit_status {
            Some(task_exec_poll_response::ExitStatus::Code(code)) => exited(code).map(Some),
            Some(task_exec_poll_response::ExitStatus::Signal(signal)) => {
                Ok(Some(ExitStatus::Signal(signal)))
            }
            None => Ok(None),
        }
    }

    /// A reader of one of an exec's outputs, from byte `offset` on.
    pub fn output(&self, exec_id: &str, stream: Stream, offset: u64) -> OutputReader {
        OutputReader::new(self.clone(), exec_id, stream, offset)
    }

    /// A writer of an exec's input, from its first byte on.
    pub fn stdin(&self, exec_id: &str) -> StdinWriter {
        StdinWriter::new(self.clone(), exec_id)
    }

    /// How much input an exec has accepted, and whether it is closed. Ends an upload that is
    /// under way.
    pub(super) async fn stdin_status(
        &self,
        exec_id: &str,
    ) -> Result<TaskExecStdinStatusResponse, ClientError> {
        let request = TaskExecStdinStatusRequest {
            task_id: self.task_id.to_string(),
            exec_id: exec_id.into(),
        };
        self.call(
            request,
            |mut grpc, request| async move { grpc.task_exec_stdin_status(request).await },
        )
        .await
    }

    /// Calls until there is an answer, or a refusal that stays, or the deadline has passed.
    pub(super) async fn call<M: Clone, T, F>(
        &self,
        request: M,
        call: impl Fn(Grpc, M) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.bound.within(self.call_on(request, call)).await
    }

    async fn call_on<M: Clone, T, F>(
        &self,
        request: M,
        call: impl Fn(Grpc, M) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut retry = Retry::new();
        loop {
            let status = match self.link.ready().await {
                Ok(()) => {
                    let since = Instant::now();
                    match call(self.grpc.clone(), request.clone()).await {
                        Ok(answer) => return Ok(answer.into_inner()),
                        Err(status) => {
                            retry.lasted(since.elapsed());
                            status
                        }
                    }
                }
                Err(status) => status,
            };
            self.after(status, &mut retry).await?;
        }
    }

    /// Returns when the call that failed with `status` may be tried again.
    pub(super) async fn after(&self, status: Status, retry: &mut Retry) -> Result<(), ClientError> {
        if let Some(pause) = asked_pause(&status) {
            sleep(pause).await;
            return Ok(());
        }
        if status.code() == Code::Unauthenticated && self.renew(retry).await? {
            return Ok(());
        }
        if !may_pass(&status) {
            return Err(ClientError::Refused(status));
        }
        match retry.failed(Instant::now(), self.bound.patience, dice()) {
            Verdict::Again(pause) => {
                tracing::debug!(%status, "trying again in {pause:?}");
                // A timer takes a millisecond for nothing.
                if !pause.is_zero() {
                    sleep(pause).await;
                }
                Ok(())
            }
            Verdict::GiveUp(after) => Err(ClientError::Lost { after, last: status }),
        }
    }

    /// Gets a token again after one was refused; whether trying again makes sense. It does once even if
    /// the token is the same: what was refused may have been an older one, which another call replaced.
    async fn renew(&self, retry: &mut Retry) -> Result<bool, ClientError> {
        if !self.token.can_change() {
            return Ok(false);
        }
        let known = self.link.authorization();
        let _one_at_a_time = self.fetching.lock().await;
        let mut fetched = Fetched::Another;
        if self.link.authorization() == known {
            let fresh = self.token.authorization().await?;
            if fresh == known {
                fetched = Fetched::Same;
            }
            self.link.authorize(fresh);
        }
        Ok(retry.renewed(fetched))
    }
}

/// Opens the connection. In TLS 1.3 a side that shows a certificate hears only with the first answer whether it
/// was taken, so that a call is made, of which any answer will do.
async fn first_contact(link: &Link, address: &Address) -> Result<(), String> {
    link.open().await.map_err(|error| error.to_string())?;
    match address {
        Address::Tls { .. } => {
            let asked = link.send(health_check()).await;
            asked.map(|_| ()).map_err(|status| status.message().to_string())
        }
        Address::Tcp { .. } | Address::Unix(_) => Ok(()),
    }
}

/// A call that needs no authentication, of the service as a whole.
fn health_check() -> Request<Body> {
    // A message without fields, in gRPC's frame.
    const EMPTY: [u8; 5] = [0; 5];
    let mut request = Request::post("/grpc.health.v1.Health/Check")
        .body(Body::new(Full::new(Bytes::from_static(&EMPTY))))
        .expect("the path is a path");
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    request
}

fn exited(code: i32) -> Result<ExitStatus, ClientError> {
    let code = u8::try_from(code);
    code.map(ExitStatus::Code)
        .map_err(|_| ClientError::Protocol("an exit code is not in 0-255".into()))
}
