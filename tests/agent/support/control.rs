//! A plain client of `doorward.v1.Control`: each call once, nothing retried.

use std::time::Instant;

use doorward::wire::doorward::v1::{
    Exec, ExecState, GetExecRequest, ListExecsRequest, control_client::ControlClient,
};
use tokio::time::sleep;
use tonic::{
    Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

use super::{PATIENCE, TASK, door::Token};

/// The generated client with a token.
pub(crate) type Raw = ControlClient<InterceptedService<Channel, Token>>;

/// A connection to an agent's Control service.
#[derive(Clone)]
pub(crate) struct Control {
    /// The generated client, for what has no method here.
    pub(crate) raw: Raw,
}

impl Control {
    /// Connects to `host:port`.
    pub(crate) async fn open(host_and_port: &str, token: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{host_and_port}")).unwrap();
        Self::connect(endpoint, token).await
    }

    /// The same, with little room for what is not read.
    pub(crate) async fn open_narrow(host_and_port: &str, token: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{host_and_port}")).unwrap();
        Self::connect(endpoint.initial_stream_window_size(16 << 10), token).await
    }

    async fn connect(endpoint: Endpoint, token: &str) -> Self {
        let channel = endpoint.tcp_nodelay(true).connect().await.unwrap();
        let raw = ControlClient::with_interceptor(channel, Token::new(token));
        Self { raw: raw.max_decoding_message_size(usize::MAX) }
    }

    /// Every exec.
    pub(crate) async fn list(&self) -> Vec<Exec> {
        let request = ListExecsRequest { task_id: TASK.into(), ..ListExecsRequest::default() };
        self.raw.clone().list_execs(request).await.unwrap().into_inner().execs
    }

    /// Every exec, with a look at the system.
    pub(crate) async fn measure(&self) -> Vec<Exec> {
        let request =
            ListExecsRequest { task_id: TASK.into(), measure: true, ..ListExecsRequest::default() };
        self.raw.clone().list_execs(request).await.unwrap().into_inner().execs
    }

    /// One exec, without a look at the system.
    pub(crate) async fn get(&self, exec: &str) -> Result<Exec, Status> {
        let request = GetExecRequest {
            task_id: TASK.into(),
            exec_id: exec.into(),
            ..GetExecRequest::default()
        };
        Ok(self.raw.clone().get_exec(request).await?.into_inner().exec.unwrap())
    }

    /// An exec once it is in this state.
    pub(crate) async fn get_in(&self, exec: &str, state: ExecState) -> Exec {
        let begun = Instant::now();
        loop {
            let seen = self.get(exec).await.unwrap();
            if seen.state() == state {
                return seen;
            }
            assert!(begun.elapsed() < PATIENCE, "waited in vain for {state:?}: {seen:?}");
            sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}
