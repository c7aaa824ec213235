//! The client, and the calls that have one answer.

use std::{fs, path::PathBuf, sync::Arc};

use http::HeaderValue;
use tokio::time::{Instant, sleep};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use tonic::{Code, Response, Status};

use super::{
    Address, ClientError, Command, OutputReader, StdinWriter,
    link::Link,
    retry::{Retry, Verdict, asked_pause, dice, may_pass},
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

/// How to reach an agent.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it is.
    pub address: Address,
    /// The task that it serves.
    pub task_id: String,
    /// What proves who we are.
    pub token: Token,
    /// Certificates (PEM) that an `https://` agent's may be signed by, in place of the system's.
    pub ca: Option<PathBuf>,
}

/// What proves to an agent who calls.
#[derive(Clone, Default)]
pub enum Token {
    /// Nothing: a Unix socket, or an agent that asks for nothing.
    #[default]
    None,
    /// This token.
    Text(String),
    /// The token in this file, read again when the agent refuses it; a trailing newline is not
    /// part of it.
    File(PathBuf),
}

/// A connection to one agent; clones share it. It opens again by itself after it broke.
#[derive(Clone)]
pub struct Client {
    pub(super) link: Link,
    pub(super) grpc: Grpc,
    pub(super) task_id: Arc<str>,
    token: Arc<Token>,
}

impl Options {
    /// Without a token, and with the system's certificates.
    pub fn new(address: Address, task_id: impl Into<String>) -> Self {
        Self { address, task_id: task_id.into(), token: Token::None, ca: None }
    }
}

impl Client {
    /// Connects, once and at once: a wrong address is told now and not after a minute.
    pub async fn connect(options: Options) -> Result<Self, ClientError> {
        let Options { address, task_id, token, ca } = options;
        let tls = match &address {
            Address::Tls { .. } => Some(Arc::new(tls(ca)?)),
            Address::Tcp { .. } | Address::Unix(_) => None,
        };
        let link = Link::new(address.clone(), tls);
        link.authorize(authorization(&token)?);
        link.open()
            .await
            .map_err(|error| ClientError::Connect { address, reason: error.to_string() })?;
        let grpc =
            TaskCommandRouterClient::new(link.clone()).max_decoding_message_size(REQUEST_BYTES_MAX);
        Ok(Self { link, grpc, task_id: task_id.into(), token: Arc::new(token) })
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

    /// Calls until there is an answer, or a refusal that stays.
    pub(super) async fn call<M: Clone, T, F>(
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
        let renewed = status.code() == Code::Unauthenticated && self.renew()?;
        if renewed {
            return Ok(());
        }
        if !may_pass(&status) {
            return Err(ClientError::Refused(status));
        }
        match retry.failed(Instant::now(), dice()) {
            Verdict::Again(pause) => {
                tracing::debug!(%status, "trying again in {pause:?}");
                sleep(pause).await;
                Ok(())
            }
            Verdict::GiveUp(after) => Err(ClientError::Lost { after, last: status }),
        }
    }

    /// Reads the token again; whether it is another one than before.
    fn renew(&self) -> Result<bool, ClientError> {
        let fresh = authorization(&self.token)?;
        let changed = fresh != self.link.authorization();
        self.link.authorize(fresh);
        Ok(changed)
    }
}

impl std::fmt::Debug for Token {
    /// Never shows a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Text(_) => f.write_str("Text"),
            Self::File(path) => write!(f, "File({path:?})"),
        }
    }
}

fn exited(code: i32) -> Result<ExitStatus, ClientError> {
    let code = u8::try_from(code);
    code.map(ExitStatus::Code)
        .map_err(|_| ClientError::Protocol("an exit code is not in 0-255".into()))
}

fn authorization(token: &Token) -> Result<Option<HeaderValue>, ClientError> {
    let (token, path) = match token {
        Token::None => return Ok(None),
        Token::Text(token) => (token.clone(), PathBuf::from("(given token)")),
        Token::File(path) => {
            let file = |reason: String| ClientError::File { path: path.clone(), reason };
            let token = fs::read_to_string(path).map_err(|error| file(error.to_string()))?;
            (token.strip_suffix('\n').unwrap_or(&token).to_string(), path.clone())
        }
    };
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| ClientError::File { path, reason: "a token has only visible ASCII".into() })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn tls(ca: Option<PathBuf>) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let file = |reason: String| ClientError::File { path: path.clone(), reason };
            let certificates =
                CertificateDer::pem_file_iter(&path).map_err(|error| file(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| file(error.to_string()))?;
                roots.add(certificate).map_err(|error| file(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(file("there is no certificate in it".into()));
            }
        }
        None => {
            // A broken certificate among the system's is not ours to complain about.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has what the default versions need")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
