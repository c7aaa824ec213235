//! A proxy that resets connections, and everything that must get through it all the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::support::Noise;

/// Forwards to an agent and resets each connection after some hundred KiB, up or down.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) host_and_port: String,
    resets: Arc<AtomicU64>,
    state: watch::Sender<State>,
    task: tokio::task::JoinHandle<()>,
}

/// Whether anything gets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    Cut,
}

impl Proxy {
    /// A proxy before `agent` that ends nothing by itself.
    pub(crate) async fn lasting(agent: &str) -> Self {
        Self::with_allowance(agent, 1, u64::MAX / 4).await
    }

    /// Resets every connection, and each new one as soon as it is made, until [`Proxy::mend`].
    pub(crate) fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Lets connections through again.
    pub(crate) fn mend(&self) {
        self.state.send_replace(State::Whole);
    }

    /// A proxy before `agent` that ends each connection after 200 to 600 KB; its cuts are the same
    /// for the same seed.
    pub(crate) async fn before(agent: &str, seed: u64) -> Self {
        Self::with_allowance(agent, seed, 200_000).await
    }

    /// The same with another least allowance; the most is three times as much.
    ///
    /// What a reset finds in the receiver's buffer is lost, so that a client which resumes only a
    /// few times needs a larger one to get anywhere.
    pub(crate) async fn with_allowance(agent: &str, seed: u64, least: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host_and_port = listener.local_addr().unwrap().to_string();
        let resets = Arc::new(AtomicU64::new(0));
        let (agent, count) = (agent.to_string(), resets.clone());
        let (state, seen) = watch::channel(State::Whole);
        let task = tokio::spawn(async move {
            let mut noise = Noise::new(seed);
            loop {
                let Ok((client, _)) = listener.accept().await else { return };
                let allowance = least + noise.number() % (2 * least);
                let Ok(server) = TcpStream::connect(&agent).await else { continue };
                let (count, seen) = (count.clone(), seen.clone());
                tokio::spawn(async move {
                    forward(client, server, allowance, seen).await;
                    count.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        Self { host_and_port, resets, state, task }
    }

    /// How many connections it has ended.
    pub(crate) fn resets(&self) -> u64 {
        self.resets.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards both ways until `allowance` bytes passed or the proxy is cut, then resets both sides in
/// mid-frame.
async fn forward(
    mut client: TcpStream,
    mut server: TcpStream,
    mut allowance: u64,
    mut state: watch::Receiver<State>,
) {
    let (mut up, mut down) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    loop {
        let (count, bytes, to) = tokio::select! {
            count = client.read(&mut up) => (count, &up, &mut server),
            count = server.read(&mut down) => (count, &down, &mut client),
            // An error means that the proxy itself has ended.
            _ = state.wait_for(|state| *state == State::Cut) => break,
        };
        let Ok(count) = count else { break };
        let passing = u64::try_from(count).unwrap().min(allowance);
        let part = &bytes[..usize::try_from(passing).unwrap()];
        if count == 0 || to.write_all(part).await.is_err() {
            break;
        }
        allowance -= passing;
        if allowance == 0 {
            break;
        }
    }
    for socket in [&client, &server] {
        let _ = socket.set_zero_linger();
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
}
