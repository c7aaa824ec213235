//! The task that owns one exec, from its request until its streams are at their end.
//!
//! It alone changes the exec's life. The handlers of RPCs may be dropped at any moment; nothing
//! of an exec depends on one.
//!
//! Three facts have three moments: the process exited (published at once: Wait and Poll answer);
//! its streams reached end of file or came to rest (`linger`); and nothing of its tree is left,
//! which nobody waits for: a normal exit kills nothing.

use std::{io, sync::Arc, time::Instant};

use super::{
    audit,
    birth::{Born, Ends, Inlet, birth},
    engine::Engine,
    handle::{Exec, Order},
    linger, pump,
};
use crate::{
    core::{
        caller::Caller,
        failure::Kind,
        ids::Stream,
        life::Effect,
        limits::RELEASE_PAUSES,
        outcome::{ExitStatus, Shortage, Stage, StartFailure},
        spec::{ExecSpec, Stdio},
    },
    os::{
        reap::{Exit, Reaped},
        tree::{Leader, Tree},
        work::Share,
    },
};

/// What its task is given once.
pub(super) struct Request {
    pub(super) spec: ExecSpec,
    /// Who asked, if it was a client.
    pub(super) caller: Option<Caller>,
}

/// What happened to a running exec.
enum Event {
    Exited(Reaped),
    Deadline,
    Ordered(Order),
}

/// Runs `exec` from start to end.
pub(super) async fn run(engine: Arc<Engine>, exec: Arc<Exec>, request: Box<Request>) {
    let Request { spec, caller } = *request;
    match spec.stdio {
        Stdio::Pty(size) => exec.plan_terminal(size),
        Stdio::Pipes { .. } => {}
    }
    let ground = engine.ground().clone();
    let merged = spec.argv.program().to_string_lossy().into_owned();
    let born = engine.work().run(Share::Spawn, move || birth(&ground, &spec)).await;
    let connected = born.and_then(|born| {
        let Born { started, oom_kills, exit, tree, ends } = born;
        match connect(&engine, &exec, ends) {
            Ok(()) => Ok((started, oom_kills, exit, tree)),
            Err(error) => {
                // The process exists but cannot be heard: end it as if it had never been.
                let left = tree.sweep(Leader::Alive);
                tracing::warn!(exec = %exec.id(), ?left, "ending a process without streams: {error}");
                Err(unheard(merged, &error))
            }
        }
    });
    let (started, oom_kills, exit, tree) = match connected {
        Ok(connected) => connected,
        Err(failure) => {
            audit::failed(&exec, caller.as_ref(), &failure);
            return fail(&engine, &exec, failure);
        }
    };
    let tree = Arc::new(tree);
    exec.rooted(tree.clone());
    exec.facts().note_start(started);
    exec.change(|life| life.born());
    engine.changed(&exec);
    // Who asked for it is answered first.
    tokio::task::yield_now().await;
    audit::started(&exec, caller.as_ref());
    let reaped = supervise(&engine, &exec, &tree, exit).await;
    if let Some(reaped) = reaped {
        exec.facts().note_exit(&reaped, shortage(&engine, &exec, &reaped, oom_kills));
        exec.change(|life| life.exited(reaped.status));
    }
    engine.changed(&exec);
    let exited = Instant::now();
    exec.input().finish();
    tokio::task::yield_now().await;
    audit::ended(&exec, caller.as_ref());
    // The exit was told before: whoever waits for it does not wait for this.
    linger::end_streams(&engine, &exec, &tree, exited).await;
    engine.finished(&exec);
    release(&tree).await;
}

/// Gives the cgroup back. A process leaves it a moment after its end was noticed; one that lives on in
/// it keeps it until the exec is forgotten.
async fn release(tree: &Tree) {
    for pause in RELEASE_PAUSES {
        if tree.release() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
    tree.release();
}

/// Starts the pumps, and hands the input to whoever writes it.
fn connect(engine: &Engine, exec: &Exec, ends: Ends) -> io::Result<()> {
    let terminal = matches!(ends.input, Inlet::Terminal(_));
    match ends.input {
        Inlet::None => {}
        Inlet::Pipe(pipe) => exec.input().attach_pipe(pipe),
        Inlet::Terminal(master) => {
            if let Some(terminal) = exec.terminal() {
                terminal.made(&master);
            }
            exec.input().attach_terminal(master);
        }
    }
    let source = if terminal { pump::Source::Pty } else { pump::Source::Pipe };
    for (stream, end) in [(Stream::Stdout, ends.stdout), (Stream::Stderr, ends.stderr)] {
        if let Some(end) = end {
            pump::start(end, source, exec.output(stream).clone(), engine.work().clone())?;
            exec.pumped(stream);
        }
    }
    Ok(())
}

fn unheard(program: String, error: &io::Error) -> StartFailure {
    StartFailure {
        stage: Stage::Descriptors,
        value: program,
        reason: error.to_string(),
        errno: error.raw_os_error(),
    }
}

/// A start that failed for want of something that may come back leaves its id free: nothing ran,
/// and a client that is told to try again must be able to. Any other failure is an outcome.
fn fail(engine: &Engine, exec: &Arc<Exec>, failure: StartFailure) {
    for stream in [Stream::Stdout, Stream::Stderr] {
        exec.output(stream).close();
    }
    exec.facts().note_failure();
    let passing = failure.kind() == Kind::Exhausted;
    if passing {
        engine.withdraw(exec);
    }
    exec.change(|life| life.failed(failure));
    if !passing {
        engine.finished(exec);
    }
}

/// Follows the process until it has ended, and ends its tree when that is due.
///
/// Returns nothing only if the waiter is gone.
async fn supervise(
    engine: &Engine,
    exec: &Arc<Exec>,
    tree: &Arc<Tree>,
    mut exit: Exit,
) -> Option<Reaped> {
    loop {
        let deadline = exec.deadline();
        let event = tokio::select! {
            biased;
            reaped = &mut exit => match reaped {
                Ok(reaped) => Event::Exited(reaped),
                // The reaper lives as long as the process.
                Err(_) => return None,
            },
            () = at(deadline) => Event::Deadline,
            order = exec.next_order() => Event::Ordered(order),
        };
        let effect = match event {
            Event::Exited(reaped) => {
                // Given before the signal that may have ended it.
                while let Some(order) = exec.take_order() {
                    obey(exec, order);
                }
                return Some(reaped);
            }
            Event::Deadline => exec.change(|life| life.tick(Instant::now())),
            Event::Ordered(order) => {
                obey(exec, order);
                Effect::None
            }
        };
        match effect {
            Effect::Sweep => sweep(engine, exec, tree),
            Effect::None => {}
        }
    }
}

/// Remembers what whoever gave the order does to the tree.
fn obey(exec: &Exec, order: Order) {
    match order {
        Order::Ask(cause) => exec.change(|life| life.ask(cause)),
        Order::Kill(cause) => drop(exec.change(|life| life.kill(cause))),
    }
}

/// Whether memory was short when the process was killed, if it was and not by us. `before` is how
/// often the kernel had killed something of the container when the process was made.
fn shortage(engine: &Engine, exec: &Exec, reaped: &Reaped, before: Option<u64>) -> Shortage {
    if reaped.status != ExitStatus::Signal(libc::SIGKILL) || !exec.is_kill_foreign() {
        return Shortage::None;
    }
    // Always asked, so that a kill that is explained by this explains no other one.
    let near = engine.ground().oom_kills.explain(before);
    let own = exec.tree().and_then(|tree| tree.oom_kills()).is_some_and(|kills| kills > 0);
    match (own, near) {
        (true, _) => Shortage::Own,
        (false, true) => Shortage::Near,
        (false, false) => Shortage::None,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Kills the tree in the background; the exit is noticed like any other.
fn sweep(engine: &Engine, exec: &Arc<Exec>, tree: &Arc<Tree>) {
    let (work, tree, id) = (engine.work().clone(), tree.clone(), exec.id().clone());
    tokio::spawn(async move {
        let swept = work.run(Share::Scan, move || tree.sweep(Leader::Alive)).await;
        if !swept.left.is_empty() {
            tracing::warn!(exec = %id, left = ?swept.left, "some of the tree could not be killed");
        }
    });
}
