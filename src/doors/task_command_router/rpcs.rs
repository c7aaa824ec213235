//! The RPCs themselves, each a few lines between a request and the engine.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use tokio_stream::Empty;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{
    TaskCommandRouter,
    images::Asked,
    start::{self, Arrival},
    write,
};
use crate::{
    core::{
        failure::Kind,
        ids::ExecId,
        inbox::End,
        outcome::{ExitStatus, StartFailure},
    },
    doors::{call::Arrived, images::ask, inflight::Charge, status::status},
    exec::input::Ended,
    image::images::Subject,
    wire::modal::task_command_router::{
        self as tcr, task_command_router_server::TaskCommandRouter as Rpcs,
        task_exec_poll_response, task_exec_wait_response,
    },
};

type Answer<T> = Result<Response<T>, Status>;
type Later<'a, T> = Pin<Box<dyn Future<Output = Answer<T>> + Send + 'a>>;

/// Answers RPCs that are part of the contract and not built. Written as `async_trait` would
/// expand them, because that attribute does not look into a macro.
macro_rules! unbuilt {
    ($($rpc:literal $name:ident($request:ident) -> $response:ty;)*) => {$(
        fn $name<'a, 'b>(&'a self, _: Request<tcr::$request>) -> Later<'b, $response>
        where
            'a: 'b,
            Self: 'b,
        {
            let text = concat!($rpc, " is not built in this version of doorward");
            Box::pin(std::future::ready(Err(status(Kind::Unbuilt, text))))
        }
    )*};
}

#[async_trait]
impl Rpcs for TaskCommandRouter {
    async fn task_exec_start(
        &self,
        request: Request<tcr::TaskExecStartRequest>,
    ) -> Answer<tcr::TaskExecStartResponse> {
        // When the headers came: the body may have taken its time.
        let received = request.extensions().get::<Arrived>();
        let received = received.map_or_else(Instant::now, |arrived| arrived.0.into_std());
        let caller = request.extensions().get().cloned();
        let request = request.into_inner();
        self.check_task(&request.task_id)?;
        self.check_container(&request.container_id)?;
        let id = ExecId::parse(&request.exec_id).map_err(|error| status(Kind::Invalid, error))?;
        let start = start::parse(id, request, Arrival { received, caller });
        let start = start.map_err(|error| status(Kind::Invalid, error))?;
        let started = self.engine.start(start).await;
        started.map_err(|error| status(error.kind(), error))?;
        Ok(Response::new(tcr::TaskExecStartResponse {}))
    }

    async fn task_exec_wait(
        &self,
        request: Request<tcr::TaskExecWaitRequest>,
    ) -> Answer<tcr::TaskExecWaitResponse> {
        use task_exec_wait_response::ExitStatus as Wire;
        let request = request.into_inner();
        let exec = self.exec(&request.task_id, &request.exec_id)?;
        // Counts as a reader: an ending agent waits until this was answered.
        let _reading = self.engine.reading();
        let outcome = exec.ended().await.map_err(never_started)?;
        let exit_status = match outcome.status {
            ExitStatus::Code(code) => Wire::Code(code.into()),
            ExitStatus::Signal(signal) => Wire::Signal(signal),
        };
        Ok(Response::new(tcr::TaskExecWaitResponse { exit_status: Some(exit_status) }))
    }

    async fn task_exec_poll(
        &self,
        request: Request<tcr::TaskExecPollRequest>,
    ) -> Answer<tcr::TaskExecPollResponse> {
        use task_exec_poll_response::ExitStatus as Wire;
        let request = request.into_inner();
        let exec = self.exec(&request.task_id, &request.exec_id)?;
        let outcome = exec.poll().map_err(never_started)?;
        let exit_status = outcome.map(|outcome| match outcome.status {
            ExitStatus::Code(code) => Wire::Code(code.into()),
            ExitStatus::Signal(signal) => Wire::Signal(signal),
        });
        Ok(Response::new(tcr::TaskExecPollResponse { exit_status }))
    }

    async fn task_exec_stdin_write(
        &self,
        request: Request<tcr::TaskExecStdinWriteRequest>,
    ) -> Answer<tcr::TaskExecStdinWriteResponse> {
        let request = request.into_inner();
        let exec = self.exec(&request.task_id, &request.exec_id)?;
        self.check_open()?;
        exec.started().await.map_err(never_started)?;
        let end = if request.eof { End::Closes } else { End::Open };
        write::single(&exec, request.offset, &request.data, end).await?;
        Ok(Response::new(tcr::TaskExecStdinWriteResponse {}))
    }

    async fn task_exec_stdin_write_stream(
        &self,
        request: Request<Streaming<tcr::TaskExecStdinWriteStreamRequest>>,
    ) -> Answer<tcr::TaskExecStdinWriteStreamResponse> {
        let charge = request.extensions().get::<Charge>().cloned();
        let mut messages = request.into_inner();
        let start = write::first(&mut messages).await?;
        let exec = self.exec(&start.task_id, &start.exec_id)?;
        self.check_open()?;
        exec.started().await.map_err(never_started)?;
        write::Stream::open(exec, messages, start.offset, charge)?.accept().await?;
        Ok(Response::new(tcr::TaskExecStdinWriteStreamResponse {}))
    }

    async fn task_exec_stdin_status(
        &self,
        request: Request<tcr::TaskExecStdinStatusRequest>,
    ) -> Answer<tcr::TaskExecStdinStatusResponse> {
        let request = request.into_inner();
        let exec = self.exec(&request.task_id, &request.exec_id)?;
        exec.started().await.map_err(never_started)?;
        let (num_bytes_written, ended) = exec.input().status();
        let closed = ended == Ended::Yes;
        Ok(Response::new(tcr::TaskExecStdinStatusResponse { num_bytes_written, closed }))
    }

    async fn sandbox_stdin_write_v2(
        &self,
        request: Request<tcr::SandboxStdinWriteV2Request>,
    ) -> Answer<tcr::SandboxStdinWriteV2Response> {
        let request = request.into_inner();
        self.check_task(&request.task_id)?;
        let exec = self.entrypoint()?;
        self.check_open()?;
        exec.started().await.map_err(never_started)?;
        let end = if request.eof { End::Closes } else { End::Open };
        write::single(&exec, request.offset, &request.data, end).await?;
        Ok(Response::new(tcr::SandboxStdinWriteV2Response {}))
    }

    async fn sandbox_wait_until_ready(
        &self,
        request: Request<tcr::SandboxWaitUntilReadyTcrRequest>,
    ) -> Answer<tcr::SandboxWaitUntilReadyTcrResponse> {
        let request = request.into_inner();
        self.check_task(&request.task_id)?;
        let limit = Duration::try_from_secs_f32(request.timeout);
        let limit = limit.ok().filter(|limit| !limit.is_zero()).unwrap_or(Duration::MAX);
        let mut ready = self.ready.clone();
        match tokio::time::timeout(limit, ready.wait_for(Option::is_some)).await {
            Ok(Ok(at)) => {
                let ready_at = at.unwrap_or_default();
                Ok(Response::new(tcr::SandboxWaitUntilReadyTcrResponse { ready_at }))
            }
            Ok(Err(_)) => Err(status(Kind::Refused, "the entrypoint ended before it was ready")),
            Err(_) => {
                Err(Status::deadline_exceeded(format!("not ready within {} s", request.timeout)))
            }
        }
    }

    #[cfg(feature = "images")]
    async fn task_mount_directory(
        &self,
        request: Request<tcr::TaskMountDirectoryRequest>,
    ) -> Answer<()> {
        let request = request.into_inner();
        self.check_task(&request.task_id)?;
        self.check_container(&request.container_id)?;
        self.mount(request).await
    }

    #[cfg(feature = "images")]
    async fn task_unmount_directory(
        &self,
        request: Request<tcr::TaskUnmountDirectoryRequest>,
    ) -> Answer<()> {
        let request = request.into_inner();
        self.check_task(&request.task_id)?;
        self.check_container(&request.container_id)?;
        self.unmount(request).await
    }

    #[cfg(feature = "images")]
    async fn task_snapshot_directory(
        &self,
        request: Request<tcr::TaskSnapshotDirectoryRequest>,
    ) -> Answer<tcr::TaskSnapshotDirectoryResponse> {
        let request = request.into_inner();
        self.check_task(&request.task_id)?;
        self.check_container(&request.container_id)?;
        let asked = Asked {
            subject: ask::directory(&request.path)?,
            snapshot_id: request.snapshot_id,
            ttl_seconds: request.ttl_seconds,
            key: request.customer_supplied_encryption_key,
        };
        self.snapshot(asked, |image_id| tcr::TaskSnapshotDirectoryResponse { image_id }).await
    }

    #[cfg(feature = "images")]
    async fn task_snapshot_filesystem(
        &self,
        request: Request<tcr::TaskSnapshotFilesystemRequest>,
    ) -> Answer<tcr::TaskSnapshotFilesystemResponse> {
        let request = request.into_inner();
        self.check_task(&request.task_id)?;
        self.check_container(&request.container_id)?;
        if request.ttl_seconds.is_none() {
            return Err(ask::invalid("ttl_seconds must be set: a positive number, or -1 for ever"));
        }
        let asked = Asked {
            subject: Subject::Filesystem,
            snapshot_id: request.snapshot_id,
            ttl_seconds: request.ttl_seconds,
            key: request.customer_supplied_encryption_key,
        };
        self.snapshot(asked, |image_id| tcr::TaskSnapshotFilesystemResponse { image_id }).await
    }

    #[cfg(not(feature = "images"))]
    unbuilt! {
        "TaskMountDirectory" task_mount_directory(TaskMountDirectoryRequest) -> ();
        "TaskUnmountDirectory" task_unmount_directory(TaskUnmountDirectoryRequest) -> ();
        "TaskSnapshotDirectory" task_snapshot_directory(TaskSnapshotDirectoryRequest)
            -> tcr::TaskSnapshotDirectoryResponse;
        "TaskSnapshotFilesystem" task_snapshot_filesystem(TaskSnapshotFilesystemRequest)
            -> tcr::TaskSnapshotFilesystemResponse;
    }

    type TaskExecStdioReadStream = Empty<Result<tcr::TaskExecStdioReadResponse, Status>>;

    async fn task_exec_stdio_read(
        &self,
        _: Request<tcr::TaskExecStdioReadRequest>,
    ) -> Answer<Self::TaskExecStdioReadStream> {
        Err(status(Kind::Internal, "TaskExecStdioRead is routed past the generated service"))
    }

    type SandboxStdioReadV2Stream = Empty<Result<tcr::SandboxStdioReadV2Response, Status>>;

    async fn sandbox_stdio_read_v2(
        &self,
        _: Request<tcr::SandboxStdioReadV2Request>,
    ) -> Answer<Self::SandboxStdioReadV2Stream> {
        Err(status(Kind::Internal, "SandboxStdioReadV2 is routed past the generated service"))
    }

    unbuilt! {
        "TaskContainerCreate" task_container_create(TaskContainerCreateRequest) -> tcr::TaskContainerCreateResponse;
        "TaskContainerGet" task_container_get(TaskContainerGetRequest) -> tcr::TaskContainerGetResponse;
        "TaskContainerList" task_container_list(TaskContainerListRequest) -> tcr::TaskContainerListResponse;
        "TaskContainerTerminate" task_container_terminate(TaskContainerTerminateRequest) -> tcr::TaskContainerTerminateResponse;
        "TaskContainerWait" task_container_wait(TaskContainerWaitRequest) -> tcr::TaskContainerWaitResponse;
        "TaskReloadVolumes" task_reload_volumes(TaskReloadVolumesRequest) -> tcr::TaskReloadVolumesResponse;
        "TaskSetNetworkAccess" task_set_network_access(TaskSetNetworkAccessRequest) -> tcr::TaskSetNetworkAccessResponse;
        "TaskSetOutboundPolicy" task_set_outbound_policy(TaskSetExperimentalOutboundPolicyRequest) -> tcr::TaskSetExperimentalOutboundPolicyResponse;
        "TaskSnapshotMemory" task_snapshot_memory(TaskSnapshotMemoryRequest) -> tcr::TaskSnapshotMemoryResponse;
    }
}

impl TaskCommandRouter {
    fn check_open(&self) -> Result<(), Status> {
        if self.engine.is_open() {
            Ok(())
        } else {
            Err(status(Kind::Refused, "write input: the agent is shutting down"))
        }
    }
}

/// A start that failed is what every later call about its exec is told.
fn never_started(failure: StartFailure) -> Status {
    status(Kind::Refused, format_args!("the exec never started: {failure}"))
}
