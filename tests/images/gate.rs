//! A link to a server that stands still after so many bytes one way, until it is opened.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// Which way the bytes go that are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

pub(crate) struct Gate {
    pub(crate) port: u16,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes did not pass yet.
    Passing,
    /// They did, and nothing more does.
    Reached,
    Open,
}

/// What the two ways of one link share.
#[derive(Clone)]
struct Bar {
    state: watch::Sender<State>,
    passed: Arc<AtomicU64>,
    after: u64,
}

impl Gate {
    pub(crate) async fn new(server: u16, way: Way, after: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = watch::Sender::new(State::Passing);
        let bar = Bar { state: state.clone(), passed: Arc::default(), after };
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let bar = |this| (this == way).then(|| bar.clone());
                tokio::spawn(carry(from_client, to_server, bar(Way::Up)));
                tokio::spawn(carry(from_server, to_client, bar(Way::Down)));
            }
        });
        Self { port, state }
    }

    /// Waits until so many bytes have passed.
    pub(crate) async fn reached(&self) {
        let mut state = self.state.subscribe();
        state.wait_for(|state| *state == State::Reached).await.unwrap();
    }

    pub(crate) fn open(&self) {
        self.state.send_replace(State::Open);
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, bar: Option<Bar>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if let Some(bar) = &bar {
            bar.pass(count as u64).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
}

impl Bar {
    async fn pass(&self, count: u64) {
        if self.passed.fetch_add(count, Ordering::SeqCst) + count <= self.after {
            return;
        }
        self.state.send_if_modified(|state| {
            let first = *state == State::Passing;
            if first {
                *state = State::Reached;
            }
            first
        });
        let mut state = self.state.subscribe();
        state.wait_for(|state| *state == State::Open).await.unwrap();
    }
}
