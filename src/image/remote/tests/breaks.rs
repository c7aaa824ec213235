//! Links that are cut in the middle.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{Cutter, Guard, Local, Way, docker_registry, named, noise, open, options, wanted};
use crate::image::remote::{Meter, Push, RemoteError};
use crate::image::store::tests::at;

const LAYER: u64 = 6 << 20;

#[tokio::test]
async fn a_pull_goes_on_where_it_was_cut() {
    let Some(server) = docker_registry("remote::breaks::pull", Guard::Open) else { return };
    let (here, there) = (Local::new(), Local::new());
    let id = here.add(&[&noise(LAYER as usize)]);
    let direct = open(&server.location("oci+http", "a"), &options(&[])).await;
    here.push(&direct, &id).await.unwrap();

    // More often than attempts that get nowhere are made.
    let cutter = Cutter::new(server.port, Way::Down, 700_000, 7).await;
    let location = format!("oci+http://127.0.0.1:{}/a", cutter.port);
    let remote = open(&location, &options(&[])).await;
    let last = Arc::new(AtomicU64::new(0));
    let seen = last.clone();
    let meter = Meter::new(move |progress| {
        assert!(progress.done <= progress.of);
        seen.store(progress.done, Ordering::SeqCst);
    });
    let pulled = remote.pull(&there.store, wanted(named(&id)), &meter).await.unwrap();
    assert!(there.is_whole(&id));
    assert_eq!(cutter.cut(), 7);
    // What had come did not come again, but for what was on its way.
    let moved = cutter.moved(Way::Down);
    assert!(moved < LAYER + LAYER / 2, "{moved} bytes for {LAYER}");
    assert_eq!(last.load(Ordering::SeqCst), pulled.bytes);
}

#[tokio::test]
async fn a_link_that_gets_nowhere_is_given_up_and_leaves_nothing() {
    let Some(server) = docker_registry("remote::breaks::up", Guard::Open) else { return };
    let (here, there) = (Local::new(), Local::new());
    let id = here.add(&[&noise(LAYER as usize)]);
    let direct = open(&server.location("oci+http", "a"), &options(&[])).await;
    here.push(&direct, &id).await.unwrap();
    let cutter = Cutter::new(server.port, Way::Down, 0, u64::MAX).await;
    let location = format!("oci+http://127.0.0.1:{}/a", cutter.port);
    let remote = open(&location, &options(&[])).await;
    let error = there.pull(&remote, named(&id)).await.unwrap_err();
    assert!(matches!(error, RemoteError::Link { .. }), "{error}");
    assert!(error.to_string().contains(&location), "{error}");
    assert!(there.store.list(at(3)).unwrap().is_empty());
}

#[tokio::test]
async fn a_push_that_was_cut_is_finished() {
    let Some(server) = docker_registry("remote::breaks::push", Guard::Open) else { return };
    let (here, there) = (Local::new(), Local::new());
    // Of more than one chunk.
    let id = here.add(&[&noise(40 << 20)]);
    let cutter = Cutter::new(server.port, Way::Up, 3_000_000, 3).await;
    let location = format!("oci+http://127.0.0.1:{}/a", cutter.port);
    let remote = open(&location, &options(&[])).await;
    let last = Arc::new(AtomicU64::new(0));
    let seen = last.clone();
    let meter = Meter::new(move |progress| seen.store(progress.done, Ordering::SeqCst));
    let push = Push { image: id.clone(), name: named(&id), now: at(2) };
    let pushed = remote.push(&here.store, push, &meter).await.unwrap();
    assert_eq!((cutter.cut(), last.load(Ordering::SeqCst)), (3, pushed.bytes));
    let direct = open(&server.location("oci+http", "a"), &options(&[])).await;
    there.pull(&direct, named(&id)).await.unwrap();
    assert!(there.is_whole(&id));
}
