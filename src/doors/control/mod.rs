//! Our own door beside the main one: `doorward.v1.Control`, for what people and programs want to
//! know of execs and do to them. What each RPC means is in `proto/doorward/v1/control.proto`.
//!
//! A file an area: here each RPC finds its exec and hands over.

mod agent;
mod attach;
mod cancel;
mod cursor;
mod follow;
mod forget;
mod list;
mod output;
mod render;
mod resize;
mod signal;
mod watch;

use std::{pin::Pin, sync::Arc};

use tokio_stream::{Empty, Stream};
use tonic::{Request, Response, Status, Streaming, async_trait, body::Body};

pub use self::agent::About;
use super::{
    images::{Engines, OnDemand},
    lookup::Task,
    status::status,
    unsent::Unsent,
};
use crate::{
    core::{failure::Kind, limits::REQUEST_BYTES_MAX},
    exec::{engine::Engine, handle::Exec},
    wire::doorward::v1::{
        self as wire,
        control_server::{Control as Rpcs, ControlServer},
    },
};

/// The door: translates, and leaves the rest to the engine.
#[derive(Clone)]
pub struct Control {
    engine: Arc<Engine>,
    images: OnDemand,
    task: Task,
    about: Arc<About>,
}

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Control {
    /// A door to the engine of execs for the task of this id, or for any. Of images it only says how they
    /// are mounted.
    pub fn new(engines: Engines, task: Option<&str>, about: About) -> Self {
        let Engines { execs: engine, images } = engines;
        Self { engine, images, task: Task::new(task), about: Arc::new(about) }
    }

    /// The name of this agent process, which no other one has.
    fn instance(&self) -> &str {
        &self.about.instance
    }

    /// The service that tonic serves.
    pub fn service(&self) -> ControlServer<Self> {
        ControlServer::new(self.clone()).max_decoding_message_size(REQUEST_BYTES_MAX)
    }

    /// `ReadOutput`, without copying what it streams.
    pub async fn read(
        &self,
        request: http::Request<Body>,
        unsent: &Arc<Unsent>,
    ) -> http::Response<Body> {
        output::respond(self, request, unsent).await
    }

    /// `Attach`, likewise.
    pub async fn sit(
        &self,
        request: http::Request<Body>,
        unsent: &Arc<Unsent>,
    ) -> http::Response<Body> {
        attach::respond(self, request, unsent).await
    }

    fn exec(&self, task: &str, id: &str) -> Result<Arc<Exec>, Status> {
        self.task.exec(&self.engine, task, id)
    }
}

#[async_trait]
impl Rpcs for Control {
    type WatchExecsStream = Answers<wire::WatchExecsResponse>;
    type ReadOutputStream = Empty<Result<wire::ReadOutputResponse, Status>>;
    type AttachStream = Empty<Result<wire::AttachResponse, Status>>;

    async fn list_execs(
        &self,
        request: Request<wire::ListExecsRequest>,
    ) -> Answer<wire::ListExecsResponse> {
        let request = request.into_inner();
        self.task.check(&request.task_id)?;
        list::list(self, &request).await.map(Response::new)
    }

    async fn get_exec(
        &self,
        request: Request<wire::GetExecRequest>,
    ) -> Answer<wire::GetExecResponse> {
        let request = request.into_inner();
        let exec = self.exec(&request.task_id, &request.exec_id)?;
        list::get(self, &exec, &request).await.map(Response::new)
    }

    async fn watch_execs(
        &self,
        request: Request<wire::WatchExecsRequest>,
    ) -> Answer<Self::WatchExecsStream> {
        let request = request.into_inner();
        self.task.check(&request.task_id)?;
        Ok(Response::new(watch::watch(self, &request)))
    }

    async fn signal_exec(
        &self,
        request: Request<wire::SignalExecRequest>,
    ) -> Answer<wire::SignalExecResponse> {
        let request = request.into_inner();
        let exec = self.exec(&request.task_id, &request.exec_id)?;
        signal::signal(self, &exec, request).await.map(Response::new)
    }

    async fn cancel_exec(
        &self,
        request: Request<wire::CancelExecRequest>,
    ) -> Answer<wire::CancelExecResponse> {
        let caller = request.extensions().get().cloned();
        let request = request.into_inner();
        let exec = self.exec(&request.task_id, &request.exec_id)?;
        cancel::cancel(self, &exec, request, caller).await.map(Response::new)
    }

    async fn resize_pty(
        &self,
        request: Request<wire::ResizePtyRequest>,
    ) -> Answer<wire::ResizePtyResponse> {
        let request = request.into_inner();
        let exec = self.exec(&request.task_id, &request.exec_id)?;
        resize::resize(&exec, request).map(Response::new)
    }

    async fn forget_exec(
        &self,
        request: Request<wire::ForgetExecRequest>,
    ) -> Answer<wire::ForgetExecResponse> {
        let request = request.into_inner();
        self.task.check(&request.task_id)?;
        forget::forget(self, &request).map(Response::new)
    }

    async fn read_output(
        &self,
        _: Request<wire::ReadOutputRequest>,
    ) -> Answer<Self::ReadOutputStream> {
        Err(status(Kind::Internal, "ReadOutput is routed past the generated service"))
    }

    async fn attach(
        &self,
        _: Request<Streaming<wire::AttachRequest>>,
    ) -> Answer<Self::AttachStream> {
        Err(status(Kind::Internal, "Attach is routed past the generated service"))
    }

    async fn get_agent(
        &self,
        request: Request<wire::GetAgentRequest>,
    ) -> Answer<wire::GetAgentResponse> {
        self.task.check(&request.into_inner().task_id)?;
        agent::describe(self).await.map(Response::new)
    }
}
