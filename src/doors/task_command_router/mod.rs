//! The main door: `modal.task_command_router.TaskCommandRouter`.
//!
//! Unmodified public clients speak to it. One agent serves one task; every other task, exec and
//! container is NOT_FOUND. The handlers hold nothing that an exec needs: each may be dropped at
//! any await.

mod images;
mod read;
mod rpcs;
mod start;
mod write;

use std::sync::Arc;

use http::Response;
use tonic::{Status, body::Body};

use self::read::{Offsets, Output};
use super::{
    chunks,
    images::{Engines, OnDemand},
    lookup::Task,
    request::single_request,
    status::status,
    unsent::Unsent,
};
use crate::{
    core::{failure::Kind, ids::Stream},
    exec::{engine::Engine, handle::Exec},
    wire::modal::task_command_router::{
        SandboxStdioFileDescriptor, SandboxStdioReadV2Request, TaskExecStdioFileDescriptor,
        TaskExecStdioReadRequest, task_command_router_server::TaskCommandRouterServer,
    },
};

/// The container's main command, as clients see it.
#[derive(Clone)]
pub enum Entrypoint {
    /// There is none.
    None,
    /// It is this exec.
    Command(Arc<Exec>),
}

/// When the container became ready, as seconds since 1970; what it waits for until then.
pub type Ready = tokio::sync::watch::Receiver<Option<f64>>;

/// The door: translates, and leaves the rest to the engines.
#[derive(Clone)]
pub struct TaskCommandRouter {
    engine: Arc<Engine>,
    images: OnDemand,
    /// The one task it serves; none: any.
    task: Task,
    entrypoint: Entrypoint,
    ready: Ready,
    unsent: Arc<Unsent>,
}

impl TaskCommandRouter {
    /// A door to the engines for the task of this id, or for any.
    pub fn new(engines: Engines, task: Option<&str>, entrypoint: Entrypoint, ready: Ready) -> Self {
        let Engines { execs: engine, images } = engines;
        Self { engine, images, task: Task::new(task), entrypoint, ready, unsent: Unsent::new() }
    }

    /// The RPCs that tonic encodes.
    pub fn service(&self) -> TaskCommandRouterServer<Self> {
        TaskCommandRouterServer::new(self.clone())
            .max_decoding_message_size(crate::core::limits::REQUEST_BYTES_MAX)
    }

    /// `TaskExecStdioRead`, without copying what it streams.
    pub async fn read_exec(&self, request: http::Request<Body>) -> Response<Body> {
        let output = async {
            let request: TaskExecStdioReadRequest = single_request(request).await?;
            let exec = self.exec(&request.task_id, &request.exec_id)?;
            let stream = match TaskExecStdioFileDescriptor::try_from(request.file_descriptor) {
                Ok(TaskExecStdioFileDescriptor::Stdout) => Stream::Stdout,
                Ok(TaskExecStdioFileDescriptor::Stderr) => Stream::Stderr,
                Err(_) => return Err(no_descriptor(request.file_descriptor)),
            };
            let reading = self.engine.reading();
            Ok(Output::new(exec, stream, request.offset, Offsets::Counted, reading))
        };
        self.respond(output.await)
    }

    /// `SandboxStdioReadV2`: the same for the entrypoint.
    pub async fn read_entrypoint(&self, request: http::Request<Body>) -> Response<Body> {
        let output = async {
            let request: SandboxStdioReadV2Request = single_request(request).await?;
            self.check_task(&request.task_id)?;
            let exec = self.entrypoint()?;
            let stream = match SandboxStdioFileDescriptor::try_from(request.file_descriptor) {
                Ok(SandboxStdioFileDescriptor::Stdout) => Stream::Stdout,
                Ok(SandboxStdioFileDescriptor::Stderr) => Stream::Stderr,
                Err(_) => return Err(no_descriptor(request.file_descriptor)),
            };
            let reading = self.engine.reading();
            Ok(Output::new(exec, stream, request.offset, Offsets::Told, reading))
        };
        self.respond(output.await)
    }

    /// What all streams of output have unsent together.
    pub(super) fn unsent(&self) -> Arc<Unsent> {
        self.unsent.clone()
    }

    fn respond(&self, output: Result<Output, Status>) -> Response<Body> {
        match output {
            Ok(output) => chunks::respond(output, &self.unsent),
            Err(refusal) => refusal.into_http(),
        }
    }

    fn check_task(&self, task: &str) -> Result<(), Status> {
        self.task.check(task)
    }

    /// Finds an exec of this task.
    fn exec(&self, task: &str, id: &str) -> Result<Arc<Exec>, Status> {
        self.task.exec(&self.engine, task, id)
    }

    fn entrypoint(&self) -> Result<Arc<Exec>, Status> {
        match &self.entrypoint {
            Entrypoint::Command(exec) => Ok(exec.clone()),
            Entrypoint::None => {
                Err(status(Kind::Unknown, "this agent was started without an entrypoint"))
            }
        }
    }
}

fn no_descriptor(value: i32) -> Status {
    status(
        Kind::Invalid,
        format_args!("file_descriptor {value} is neither stdout (0) nor stderr (1)"),
    )
}
