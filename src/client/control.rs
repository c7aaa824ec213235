//! `doorward.v1.Control` for callers: what only a Doorward agent can answer.
//!
//! Messages are the wire's own; `proto/doorward/v1/control.proto` says what each field means.
//! Against another `TaskCommandRouter` every call here is [`ClientError::NoControl`].

use tonic::{Code, Response, Status, Streaming};

use super::{Client, ClientError, link::Link};
use crate::{
    core::limits::REQUEST_BYTES_MAX,
    wire::doorward::v1::{self as wire, control_client::ControlClient},
};

type Grpc = ControlClient<Link>;

/// The Control service of the agent that a [`Client`] is connected to.
#[derive(Clone)]
pub struct Control {
    pub(super) client: Client,
    grpc: Grpc,
}

impl Client {
    /// The agent's Control service. Nothing is sent: whether the agent has one, the first call
    /// tells.
    pub fn control(&self) -> Control {
        let grpc =
            ControlClient::new(self.link.clone()).max_decoding_message_size(REQUEST_BYTES_MAX);
        Control { client: self.clone(), grpc }
    }
}

/// Methods that ask once more after each break until they have an answer. Each may be repeated:
/// the task id is filled in here.
macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident($request:ident) -> $response:ident;)*) => {$(
        $(#[$doc])*
        pub async fn $name(
            &self,
            mut request: wire::$request,
        ) -> Result<wire::$response, ClientError> {
            request.task_id = self.task_id();
            let call = |request| {
                let mut grpc = self.grpc.clone();
                async move { grpc.$name(request).await }
            };
            self.unary(request, call).await
        }
    )*};
}

impl Control {
    unary! {
        /// Every exec that the agent knows.
        list_execs(ListExecsRequest) -> ListExecsResponse;
        /// One exec.
        get_exec(GetExecRequest) -> GetExecResponse;
        /// Sends a signal; a repeat after a break may send it twice.
        signal_exec(SignalExecRequest) -> SignalExecResponse;
        /// Ends an exec and all that came of it; returns when nothing is left.
        cancel_exec(CancelExecRequest) -> CancelExecResponse;
        /// Sets the size of an exec's terminal.
        resize_pty(ResizePtyRequest) -> ResizePtyResponse;
        /// Frees an ended exec's output.
        forget_exec(ForgetExecRequest) -> ForgetExecResponse;
        /// What the agent says of itself.
        get_agent(GetAgentRequest) -> GetAgentResponse;
    }

    /// State changes from a cursor on. One stream: after a break, open another with the cursor of the
    /// last message.
    pub async fn watch_execs(
        &self,
        cursor: String,
    ) -> Result<Streaming<wire::WatchExecsResponse>, ClientError> {
        let request = wire::WatchExecsRequest { task_id: self.task_id(), cursor };
        let call = |request| {
            let mut grpc = self.grpc.clone();
            async move { grpc.watch_execs(request).await }
        };
        self.unary(request, call).await
    }

    /// Output with its offsets. One stream: after a break, open another at the offsets reached.
    pub async fn read_output(
        &self,
        mut request: wire::ReadOutputRequest,
    ) -> Result<Streaming<wire::ReadOutputResponse>, ClientError> {
        request.task_id = self.task_id();
        let call = |request| {
            let mut grpc = self.grpc.clone();
            async move { grpc.read_output(request).await }
        };
        self.unary(request, call).await
    }

    /// Sits before an exec: one try, with the messages that `outgoing` brings, of which the first must be
    /// `open`; its task id is the caller's to fill in ([`Control::task_id`]).
    pub async fn attach(
        &self,
        outgoing: impl tokio_stream::Stream<Item = wire::AttachRequest> + Send + 'static,
    ) -> Result<Streaming<wire::AttachResponse>, Status> {
        self.client.link.ready().await?;
        self.grpc.clone().attach(outgoing).await.map(Response::into_inner)
    }

    /// The task that requests are for.
    pub fn task_id(&self) -> String {
        self.client.task_id.to_string()
    }

    async fn unary<M: Clone, T, F>(
        &self,
        request: M,
        call: impl Fn(M) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let called = self.client.call(request, |_, request| call(request)).await;
        called.map_err(|error| match error {
            ClientError::Refused(status) if status.code() == Code::Unimplemented => {
                ClientError::NoControl
            }
            other => other,
        })
    }
}
