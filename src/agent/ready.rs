//! When the container counts as ready: once its entrypoint was started, or when a command
//! succeeds or a port takes a connection, asked again and again.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{net::TcpStream, sync::watch, time};

use super::config::Ready;
use crate::{
    core::{
        ids::ExecId,
        outcome::ExitStatus,
        spec::{Argv, ErrSink, ExecSpec, Input, Sink, Stdio},
    },
    exec::{engine::Engine, handle::Exec},
};

/// Before the next checks, in turn; the last one repeats. The first are short, so that a quick
/// start is seen as one.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
];
/// One check may take this long.
const CHECK: Duration = Duration::from_secs(10);

/// Tells `ready` when the container is; gives up, by dropping it, when `entrypoint` cannot start
/// or ends before.
pub(super) async fn announce(
    engine: Arc<Engine>,
    entrypoint: Option<Arc<Exec>>,
    rule: Ready,
    ready: watch::Sender<Option<f64>>,
) {
    if let Some(exec) = &entrypoint
        && exec.started().await.is_err()
    {
        return;
    }
    let ended = async {
        match &entrypoint {
            Some(exec) if rule != Ready::Started => drop(exec.ended().await),
            Some(_) | None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = wait(&engine, &rule) => {}
        () = ended => return,
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    ready.send_replace(Some(since.map_or(0.0, |since| since.as_secs_f64())));
    // Whoever asks later is told the same.
    std::future::pending().await
}

async fn wait(engine: &Arc<Engine>, rule: &Ready) {
    let mut pauses = PAUSES.into_iter();
    let mut pause = Duration::ZERO;
    loop {
        let passed = match rule {
            Ready::Started => true,
            Ready::Command(command) => succeeds(engine, command).await,
            Ready::Tcp(address) => connects(*address).await,
        };
        if passed {
            return;
        }
        pause = pauses.next().unwrap_or(pause);
        time::sleep(pause).await;
    }
}

async fn succeeds(engine: &Arc<Engine>, command: &str) -> bool {
    let argv = ["/bin/sh", "-c", command].map(String::from).to_vec();
    let id = ExecId::parse("ready-command");
    let (Ok(argv), Ok(id)) = (Argv::parse(argv), id) else { return false };
    let spec = ExecSpec {
        argv,
        env: Vec::new(),
        workdir: None,
        stdio: Stdio::Pipes { stdin: Input::Null, stdout: Sink::Null, stderr: ErrSink::Null },
        timeout: Some(CHECK),
    };
    let ended = engine.launch(id, spec).ended().await;
    matches!(ended, Ok(outcome) if outcome.status == ExitStatus::Code(0))
}

async fn connects(address: SocketAddr) -> bool {
    matches!(time::timeout(CHECK, TcpStream::connect(address)).await, Ok(Ok(_)))
}
