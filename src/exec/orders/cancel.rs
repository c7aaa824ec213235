//! The end of an exec on request.
//!
//! ```text
//! TERM to the whole tree ─▶ wait until nothing of it is left ─────────────▶ done
//!                              │ the grace is over, or somebody cannot wait   ▲
//!                              └──▶ KILL to the whole tree ──────────────────┘ what is left is named
//! ```
//!
//! One task does it, whoever asked, and goes on if they leave. Others who ask meanwhile join it; the
//! earliest KILL that any of them wants is the one that comes. An exec that has ended, and left
//! processes behind, is treated alike; one that is being started is ended when it has.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::sync::watch;

use super::leader;
use crate::{
    core::{
        ids::Stream,
        limits::{CANCEL_LOOK_MAX, CANCEL_LOOK_MIN, CANCEL_SETTLE},
        outcome::Cause,
    },
    exec::{
        engine::Engine,
        handle::{Exec, Order},
    },
    os::{
        tree::{Left, Tree},
        work::Share,
    },
};

/// An end that is under way.
pub(in crate::exec) struct Cancelling {
    /// When KILL is due.
    kill_at: watch::Sender<Instant>,
    /// What was left in the end.
    left: watch::Receiver<Option<Arc<[Left]>>>,
}

/// Ends `exec` for `who`: TERM, after `grace` KILL. Returns when nothing of it is left, or what
/// could not be ended. If the future is dropped, the end goes on.
pub async fn cancel(
    engine: &Arc<Engine>,
    exec: &Arc<Exec>,
    grace: Duration,
    who: Arc<str>,
) -> Arc<[Left]> {
    if exec.poll() == Ok(None) {
        exec.note_cancel(who);
    }
    let mut left = join(engine, exec, Instant::now() + grace);
    let ended = left.wait_for(Option::is_some).await;
    ended.ok().and_then(|left| left.clone()).unwrap_or_default()
}

/// Joins the end that is under way, or begins one.
fn join(
    engine: &Arc<Engine>,
    exec: &Arc<Exec>,
    kill_at: Instant,
) -> watch::Receiver<Option<Arc<[Left]>>> {
    let mut slot = exec.cancelling().lock();
    if let Some(cancelling) = &*slot {
        cancelling.kill_at.send_if_modified(|at| {
            let earlier = kill_at < *at;
            *at = kill_at.min(*at);
            earlier
        });
        return cancelling.left.clone();
    }
    let (kill_at, due) = watch::channel(kill_at);
    let (done, left) = watch::channel(None);
    *slot = Some(Cancelling { kill_at, left: left.clone() });
    let (engine, exec) = (engine.clone(), exec.clone());
    tokio::spawn(async move {
        let found = end(&engine, &exec, due).await;
        if !found.is_empty() {
            tracing::warn!(exec = %exec.id(), left = ?found, "some of the tree could not be ended");
        }
        // First, so that whoever comes from here on begins a new one.
        *exec.cancelling().lock() = None;
        // Those who asked may all be gone.
        let _ = done.send(Some(found.into()));
    });
    left
}

async fn end(engine: &Engine, exec: &Exec, mut kill_at: watch::Receiver<Instant>) -> Vec<Left> {
    if exec.started().await.is_err() {
        return Vec::new();
    }
    let Some(tree) = exec.tree() else { return Vec::new() };
    if Instant::now() < *kill_at.borrow() {
        exec.order(Order::Ask(Cause::Cancelled));
        let (asked, state) = (tree.clone(), leader(exec));
        engine.work().run(Share::Scan, move || asked.signal(state, Signal::TERM)).await;
        let obeyed = tokio::select! {
            () = nothing_left(engine, exec, tree) => true,
            () = due(&mut kill_at) => false,
        };
        if obeyed {
            settle(exec, tree).await;
            return Vec::new();
        }
    }
    exec.order(Order::Kill(Cause::Cancelled));
    let (killed, state) = (tree.clone(), leader(exec));
    let swept = engine.work().run(Share::Scan, move || killed.sweep(state)).await;
    let leader_left = swept.left.iter().any(|left| Some(left.pid) == tree.leader());
    if !leader_left {
        settle(exec, tree).await;
    }
    swept.left
}

/// Resolves when it is time for KILL, which may become earlier.
async fn due(kill_at: &mut watch::Receiver<Instant>) {
    loop {
        let at = *kill_at.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep_until(at.into()) => return,
            changed = kill_at.changed() => if changed.is_err() { return },
        }
    }
}

/// Resolves when no process of the tree is left: two looks in a row find none, because a fork that
/// is under way shows its child only at its end. Looks again when the first process has ended,
/// and now and then for all others, of whose end nobody tells us. What is stopped is let go on at
/// each look: it could not act on TERM, and a stop may come to pass only after it was sent.
async fn nothing_left(engine: &Engine, exec: &Exec, tree: &Arc<Tree>) {
    let mut pause = CANCEL_LOOK_MIN;
    let mut empty_looks = 0;
    loop {
        let (seen, state) = (tree.clone(), leader(exec));
        let living = engine.work().run(Share::Scan, move || seen.go_on(state)).await;
        empty_looks = if living == 0 { empty_looks + 1 } else { 0 };
        match empty_looks {
            0 => {}
            1 => continue,
            _ => return,
        }
        let ended = exec.poll() != Ok(None);
        tokio::select! {
            _ = exec.ended(), if !ended => {}
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(CANCEL_LOOK_MAX),
        }
    }
}

/// Waits a moment for what follows from the end of all processes: the exit is noticed, and the
/// streams end.
async fn settle(exec: &Exec, tree: &Tree) {
    let settled = async {
        // A start that failed has settled too.
        let _ = exec.ended().await;
        exec.output(Stream::Stdout).eof().await;
        exec.output(Stream::Stderr).eof().await;
    };
    // A stream that is held otherwise, or much output: nobody waits for that.
    let _ = tokio::time::timeout(CANCEL_SETTLE, settled).await;
    // What an exec left behind had kept its cgroup.
    tree.release();
}
