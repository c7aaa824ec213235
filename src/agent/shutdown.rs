//! The end of the agent, in order: no new starts or writes; TERM to everything it started; KILL
//! after the grace; reads and waits go on until nobody asks for more, bounded; then GOAWAY.
//!
//! It ends at SIGTERM or SIGINT, with its entrypoint, or when its embedder says so. A second
//! signal ends it at once: everything is killed and nobody is waited for. With the defaults all
//! of it is over within the ten seconds that Docker gives.

use std::{pin::pin, sync::Arc, time::Duration};

use rustix::process::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use super::{
    LOG_END,
    config::{Entrypoint, EntrypointEnd, EntrypointOutput},
    entrypoint, tee,
};
use crate::{
    core::outcome::Cause,
    doors::health::Health,
    exec::{
        engine::Engine,
        handle::{Exec, Order},
    },
    os::{
        tree::{Leader, Tree},
        work::Share,
    },
};

/// How long calls may take to end once GOAWAY was said: all of them have had their answer.
pub(super) const LEAVE: Duration = Duration::from_millis(300);
/// Nobody has read for this long: nobody reads. A client opens its reads a moment after its wait
/// was answered.
const CALM: Duration = Duration::from_millis(200);
/// The exit code of an agent that was ended at once (128 + SIGTERM).
const ENDED_AT_ONCE: u8 = 143;

/// Why the agent ends.
enum Reason {
    /// SIGTERM or SIGINT.
    Signal,
    /// The program that it is embedded in has done.
    Embedder,
    /// The entrypoint ended, with this code.
    Main(u8),
}

/// What the end needs.
pub(super) struct Ending {
    pub(super) engine: Arc<Engine>,
    /// All that came of this agent.
    pub(super) everything: Arc<Tree>,
    pub(super) health: Health,
    pub(super) grace: Duration,
    pub(super) drain: Duration,
}

/// Waits for a reason to end, and ends everything but the listeners. Returns the exit code.
pub(super) async fn await_end(
    ending: &Ending,
    main: Option<(&Entrypoint, Arc<Exec>)>,
    stop: impl Future<Output = ()>,
) -> u8 {
    let log = main.as_ref().and_then(|(config, exec)| match config.output {
        EntrypointOutput::Both => Some(tokio::spawn(tee::copy(exec.clone()))),
        EntrypointOutput::Spool => None,
    });
    let mut asked = pin!(signalled());
    let ends_with_main = async {
        match &main {
            Some((config, exec)) => {
                let code = entrypoint::code(exec).await;
                match config.end {
                    EntrypointEnd::EndsAgent => code,
                    EntrypointEnd::Keep => std::future::pending().await,
                }
            }
            None => std::future::pending().await,
        }
    };
    let reason = tokio::select! {
        () = &mut asked => Reason::Signal,
        () = stop => Reason::Embedder,
        code = ends_with_main => Reason::Main(code),
    };
    let mut again = pin!(signalled());
    let orderly = async {
        end_everything(ending).await;
        let code = match (&reason, &main) {
            (Reason::Main(code), _) => *code,
            (Reason::Signal | Reason::Embedder, Some((_, exec))) => entrypoint::code(exec).await,
            (Reason::Signal | Reason::Embedder, None) => 0,
        };
        match reason {
            Reason::Signal | Reason::Main(_) => drain(ending).await,
            // Its only client is the one that says so.
            Reason::Embedder => {}
        }
        if let Some(log) = log {
            // What the log does not take in time is in nobody's way.
            let _ = timeout(LOG_END, log).await;
        }
        code
    };
    tokio::select! {
        code = orderly => code,
        () = &mut again => {
            kill_everything(ending).await;
            ENDED_AT_ONCE
        }
    }
}

/// Resolves at the next SIGTERM or SIGINT.
async fn signalled() {
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("ignoring signals: no handler can be installed");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

async fn end_everything(ending: &Ending) {
    ending.health.stop().await;
    let live = ending.engine.close();
    for exec in &live {
        exec.order(Order::Ask(Cause::Shutdown));
    }
    let everything = ending.everything.clone();
    let term = move || everything.signal(Leader::Alive, Signal::TERM);
    let signalled = ending.engine.work().run(Share::Scan, term).await;
    if signalled == 0 && live.is_empty() {
        return;
    }
    tracing::info!(processes = signalled, grace = ?ending.grace, "ending everything");
    if timeout(ending.grace, nothing_left(ending)).await.is_err() {
        kill_everything(ending).await;
    }
    for exec in &live {
        // What could not be killed is named by the sweep; nobody waits for it.
        let _ = timeout(LEAVE, exec.ended()).await;
    }
}

/// Resolves when no process of ours is left. Looks again after each exit that we are told of,
/// and now and then for those that we are not.
async fn nothing_left(ending: &Ending) {
    const LOOK: Duration = Duration::from_millis(50);
    loop {
        let everything = ending.everything.clone();
        let members = move || everything.members(Leader::Alive);
        if ending.engine.work().run(Share::Scan, members).await.is_empty() {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn kill_everything(ending: &Ending) {
    let everything = ending.everything.clone();
    let swept =
        ending.engine.work().run(Share::Scan, move || everything.sweep(Leader::Alive)).await;
    if !swept.left.is_empty() {
        tracing::error!(left = ?swept.left, "some processes could not be killed");
    }
}

/// Waits until nobody has read for a moment, at most for the drain.
async fn drain(ending: &Ending) {
    let calm = async {
        loop {
            ending.engine.unread().await;
            if timeout(CALM, ending.engine.read_again()).await.is_err() {
                return;
            }
        }
    };
    if timeout(ending.drain, calm).await.is_err() {
        tracing::warn!("ending although somebody still reads");
    }
}
