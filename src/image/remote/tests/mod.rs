//! Real registries and buckets, links that are cut, and servers that do what a test says.

mod breaks;
#[cfg(feature = "s3")]
mod bucket;
mod fake;
mod hostile;
mod registry;
#[path = "../../../../tests/servers/mod.rs"]
#[allow(dead_code)]
mod servers;
mod tokens;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{Location, Meter, Name, Options, Pull, Pulled, Push, Pushed, Remote, RemoteError};
use crate::{
    core::image::{ImageId, Ttl},
    image::store::{
        Store,
        tests::{Place, at, skip, tar},
    },
    os::work::Work,
};
use servers::{Guard, PASSWORD, Server, USER};

/// A registry, or a skip.
fn docker_registry(test: &str, guard: Guard) -> Option<Server> {
    Server::registry(guard).map_err(|why| skip(test, &why)).ok()
}

impl Server {
    /// With the server's certificate and the password.
    fn options(&self) -> Options {
        self.options_as(&[USER, PASSWORD])
    }

    fn options_as(&self, pair: &[&str; 2]) -> Options {
        let file = self.credentials(pair[0], pair[1]);
        let set = [("REGISTRY_AUTH_FILE", file.to_str().unwrap())];
        Options { ca: self.certificate(), ..options(&set) }
    }
}

fn options(set: &[(&str, &str)]) -> Options {
    let environment: BTreeMap<String, String> =
        set.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Options { work: Work::new(), ca: None, environment }
}

async fn open(location: &str, options: &Options) -> Remote {
    Remote::open(&Location::parse(location).unwrap(), options).await.unwrap()
}

/// A store that several threads have.
struct Local {
    place: Place,
    store: Arc<Store>,
}

impl Local {
    fn new() -> Self {
        let place = Place::new();
        let store = Arc::new(Store::open(place.store.path(), at(0)).unwrap().0);
        Self { place, store }
    }

    fn add(&self, layers: &[&[u8]]) -> ImageId {
        self.place.add(layers, Ttl::Never, at(1))
    }

    async fn push(&self, remote: &Remote, id: &ImageId) -> Result<Pushed, RemoteError> {
        self.push_as(remote, id, Name::Image(id.clone())).await
    }

    async fn push_as(
        &self,
        remote: &Remote,
        id: &ImageId,
        name: Name,
    ) -> Result<Pushed, RemoteError> {
        let push = Push { image: id.clone(), name, now: at(2) };
        remote.push(&self.store, push, &Meter::silent()).await
    }

    async fn pull(&self, remote: &Remote, name: Name) -> Result<Pulled, RemoteError> {
        self.pull_now(remote, wanted(name)).await
    }

    async fn pull_now(&self, remote: &Remote, pull: Pull) -> Result<Pulled, RemoteError> {
        remote.pull(&self.store, pull, &Meter::silent()).await
    }

    /// Whether an image is here and every byte of it is what it should be.
    fn is_whole(&self, id: &ImageId) -> bool {
        let which = crate::image::store::Which::One(id.clone());
        self.store.verify(&which, at(3), &|| false).unwrap().is_empty()
    }
}

fn wanted(name: Name) -> Pull {
    Pull { name, ttl: Ttl::Never, tag: None, bytes_max: u64::MAX, now: at(2) }
}

fn named(id: &ImageId) -> Name {
    Name::Image(id.clone())
}

/// A layer of about so many bytes that are the same in every run and do not repeat.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let content: Vec<u8> = std::iter::repeat_with(next).take(bytes / 8).flatten().collect();
    tar("noise", &content)
}

/// Lets connections through and cuts the first ones after some bytes in one direction.
struct Cutter {
    port: u16,
    /// Bytes that went each way: up to the server, and down from it.
    moved: Arc<[AtomicU64; 2]>,
    cut: Arc<AtomicU64>,
}

/// Which way the bytes go that are counted before a cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl Cutter {
    async fn new(server: u16, way: Way, after: u64, cuts: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let moved: Arc<[AtomicU64; 2]> = Arc::default();
        let left = Arc::new(AtomicU64::new(cuts));
        let cut = Arc::new(AtomicU64::new(0));
        let shared = (moved.clone(), cut.clone());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let ((moved, cut), left) = (shared.clone(), left.clone());
                tokio::spawn(async move {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    let limit = |this| match this == way {
                        true => Some((after, left.clone())),
                        false => None,
                    };
                    let up = carry(from_client, to_server, &moved[0], limit(Way::Up));
                    let down = carry(from_server, to_client, &moved[1], limit(Way::Down));
                    // What ends one ends both.
                    tokio::select! {
                        was_cut = up => drop(cut.fetch_add(was_cut, Ordering::SeqCst)),
                        was_cut = down => drop(cut.fetch_add(was_cut, Ordering::SeqCst)),
                    }
                });
            }
        });
        Self { port, moved, cut }
    }

    fn moved(&self, way: Way) -> u64 {
        self.moved[usize::from(way == Way::Down)].load(Ordering::SeqCst)
    }

    fn cut(&self) -> u64 {
        self.cut.load(Ordering::SeqCst)
    }
}

/// Copies until the end or the cut; 1 if it was cut.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &AtomicU64,
    limit: Option<(u64, Arc<AtomicU64>)>,
) -> u64 {
    let (mut buffer, mut sum) = (vec![0; 16 << 10], 0);
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        sum += count as u64;
        moved.fetch_add(count as u64, Ordering::SeqCst);
        if let Some((after, left)) = &limit
            && sum > *after
        {
            let one_less = |left: u64| left.checked_sub(1);
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
                return 1;
            }
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    0
}
