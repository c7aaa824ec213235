//! A proxy on a thread of its own that resets each connection after a random number of bytes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::door::runtime;

/// Bytes that it takes at once.
const PIECE_BYTES: usize = 64 << 10;

/// Where a proxy listens; it ends with the bench.
pub(crate) struct Cutter {
    pub(crate) port: u16,
    /// Connections that it has reset.
    resets: Arc<AtomicU64>,
}

impl Cutter {
    /// A proxy before `agent` that resets each connection after `least` to `3 * least` bytes.
    pub(crate) fn before(agent: u16, least: u64) -> Self {
        let resets = Arc::new(AtomicU64::new(0));
        let count = resets.clone();
        let (told, port) = std::sync::mpsc::channel();
        thread::spawn(move || {
            runtime().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
                let port = listener.local_addr().expect("it has an address").port();
                told.send(port).expect("somebody waits for it");
                let mut noise = 1u64;
                while let Ok((client, _)) = listener.accept().await {
                    noise =
                        noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let allowance = least + (noise >> 33) % (2 * least);
                    let server = TcpStream::connect(("127.0.0.1", agent)).await;
                    let server = server.expect("the agent listens");
                    let count = count.clone();
                    tokio::spawn(async move {
                        if forward(client, server, allowance).await.is_some() {
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
        });
        Self { port: port.recv().expect("it listens"), resets }
    }

    pub(crate) fn resets(&self) -> u64 {
        self.resets.load(Ordering::Relaxed)
    }
}

/// Forwards both ways until `allowance` bytes have passed, and then resets both sides; nothing if one
/// of them ended before.
async fn forward(mut client: TcpStream, mut server: TcpStream, mut allowance: u64) -> Option<()> {
    let (mut up, mut down) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    for socket in [&client, &server] {
        socket.set_nodelay(true).ok()?;
    }
    while allowance > 0 {
        let (count, bytes, to) = tokio::select! {
            count = client.read(&mut up) => (count.ok()?, &up, &mut server),
            count = server.read(&mut down) => (count.ok()?, &down, &mut client),
        };
        if count == 0 {
            return None;
        }
        let passing = usize::try_from(allowance).map_or(count, |left| left.min(count));
        to.write_all(&bytes[..passing]).await.ok()?;
        allowance -= passing as u64;
    }
    for socket in [&client, &server] {
        socket.set_zero_linger().ok()?;
    }
    Some(())
}
