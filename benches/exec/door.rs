//! One kept connection to an agent, as lean as a client can be.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use doorward::wire::modal::{
    client::PtyInfo,
    task_command_router::{
        TaskExecStartRequest, TaskExecStdioFileDescriptor, TaskExecStdioReadRequest,
        TaskExecWaitRequest, task_command_router_client::TaskCommandRouterClient,
        task_exec_wait_response::ExitStatus,
    },
};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{net::TcpStream, runtime::Runtime};
use tonic::{Status, body::Body};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower_service::Service;

use crate::agent::TASK;

const READ: &str = "/modal.task_command_router.TaskCommandRouter/TaskExecStdioRead";

/// HTTP/2 settings that a client announces.
#[derive(Clone, Copy)]
pub(crate) enum Frames {
    /// Frames of 64 KiB and large windows, as our own client does.
    Large,
    /// Frames of 16 KiB, the protocol's default; large windows.
    Default,
}

#[derive(Clone, Copy)]
pub(crate) enum Output {
    Stdout,
    Stderr,
}

/// A client on one connection; clones share it.
#[derive(Clone)]
pub(crate) struct Door {
    link: Link,
    health: HealthClient<Link>,
    router: TaskCommandRouterClient<Link>,
    origin: Uri,
}

#[derive(Clone)]
struct Link(SendRequest<Body>);

impl Service<Request<Body>> for Link {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// The runtime of a client: one thread.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("there is epoll")
}

impl Door {
    /// Connects; must be called on a [`runtime`], which drives the connection.
    pub(crate) async fn open(port: u16, frames: Frames) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).await.expect("the agent listens");
        socket.set_nodelay(true).expect("it is a TCP socket");
        let mut builder = Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(8 << 20).initial_connection_window_size(8 << 20);
        match frames {
            Frames::Large => builder.max_frame_size(64 << 10),
            Frames::Default => &mut builder,
        };
        let handshake = builder.handshake(TokioIo::new(socket)).await;
        let (sender, connection) = handshake.expect("the agent speaks HTTP/2");
        tokio::spawn(connection);
        let link = Link(sender);
        let origin = Uri::try_from(format!("http://127.0.0.1:{port}")).expect("it is a URI");
        Self {
            health: HealthClient::with_origin(link.clone(), origin.clone()),
            router: TaskCommandRouterClient::with_origin(link.clone(), origin.clone()),
            link,
            origin,
        }
    }

    /// One unary call.
    pub(crate) async fn health(&self) {
        self.health.clone().check(HealthCheckRequest::default()).await.expect("it is healthy");
    }

    pub(crate) async fn start(&self, id: &str, argv: &[&str]) {
        self.try_start(id, argv, None).await.expect("the command can be started");
    }

    /// Starts a command, with a terminal if `pty` says what kind.
    pub(crate) async fn try_start(
        &self,
        id: &str,
        argv: &[&str],
        pty_info: Option<PtyInfo>,
    ) -> Result<(), Status> {
        let request = TaskExecStartRequest {
            task_id: TASK.into(),
            exec_id: id.into(),
            command_args: argv.iter().map(ToString::to_string).collect(),
            stdout_config: 1,
            stderr_config: 1,
            pty_info,
            ..TaskExecStartRequest::default()
        };
        self.router.clone().task_exec_start(request).await.map(|_| ())
    }

    /// Waits for an exec that ends with 0.
    pub(crate) async fn wait(&self, id: &str) {
        let request = TaskExecWaitRequest { task_id: TASK.into(), exec_id: id.into() };
        let answer = self.router.clone().task_exec_wait(request).await;
        let status = answer.expect("it can be waited for").into_inner().exit_status;
        assert_eq!(status, Some(ExitStatus::Code(0)));
    }

    /// Begins to read an output from its first byte.
    pub(crate) async fn open_output(&self, id: &str, output: Output) -> Incoming {
        let file_descriptor = match output {
            Output::Stdout => TaskExecStdioFileDescriptor::Stdout,
            Output::Stderr => TaskExecStdioFileDescriptor::Stderr,
        };
        let message = TaskExecStdioReadRequest {
            task_id: TASK.into(),
            exec_id: id.into(),
            offset: 0,
            file_descriptor: file_descriptor.into(),
        }
        .encode_to_vec();
        let length = u32::try_from(message.len()).expect("ids are short").to_be_bytes();
        let body = Bytes::from([&[0][..], &length, &message].concat());
        let request =
            Request::post(format!("{}{READ}", self.origin.to_string().trim_end_matches('/')))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Body::new(Full::new(body)))
                .expect("it is a request");
        let answer = self.link.clone().0.send_request(request).await;
        answer.expect("the agent answers").into_body()
    }

    /// Reads an output to its end, and says how many bytes came, the prefixes of messages
    /// included.
    pub(crate) async fn read(&self, id: &str, output: Output) -> u64 {
        let mut body = self.open_output(id, output).await;
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.expect("the connection holds");
            match frame.into_data() {
                Ok(data) => bytes += data.len() as u64,
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let ok = trailers.get("grpc-status").is_some_and(|status| status == "0");
                    assert!(ok, "a read ended with {trailers:?}");
                }
            }
        }
        bytes
    }
}
