//! How an exec's streams end once its process has exited.
//!
//! `server &` leaves a process that holds the pipes open for as long as it lives, which must
//! hang no reader; and a busy background writer must not be cut off unseen. So a stream ends
//! (a) at its end of file; (b) when it was silent for `quiet` and in that time no living process
//! of the tree used the CPU or waits for it; (c) at the latest `longest` after the exit. What
//! comes later is still kept, and can be read by offset.
//!
//! This decides for the streams of one exec; a reader first gets everything before the point
//! where the stream ends. After (c) nothing is decided any more, and the exec counts as finished
//! only when its streams reach end of file.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    engine::Engine,
    handle::Exec,
    spool::{End, Spool},
};
use crate::{
    core::ids::Stream,
    os::{
        tree::{self, Leader, Member, Tree},
        work::Share,
    },
};

/// End of file follows the exit within this, also on a busy machine, where a command that is just
/// being started still holds its copies of our pipes: a scan each would slow all of them down.
const AT_ONCE: Duration = Duration::from_millis(50);

/// Sees both streams of `exec` to their end; `exited` is when its process ended.
pub(super) async fn end_streams(engine: &Engine, exec: &Exec, tree: &Arc<Tree>, exited: Instant) {
    // Streams that nothing writes end with the process.
    for stream in [Stream::Stdout, Stream::Stderr] {
        if !exec.is_pumped(stream) {
            exec.output(stream).close();
        }
    }
    let both = async {
        exec.output(Stream::Stdout).eof().await;
        exec.output(Stream::Stderr).eof().await;
    };
    tokio::pin!(both);
    if tokio::time::timeout(AT_ONCE, &mut both).await.is_ok() {
        return;
    }
    let (quiet, longest) = engine.linger();
    let latest = exited + longest;
    let mut watch = Watch { exec, before: None, silent: false };
    while Instant::now() < latest {
        let window = quiet.min(latest.saturating_duration_since(Instant::now()));
        watch.open(engine, tree).await;
        if tokio::time::timeout(window, &mut both).await.is_ok() {
            return;
        }
        if window == quiet {
            watch.close(engine, tree).await;
        }
    }
    // Counted first: readers are told the number at their end.
    exec.note_survivors(members(engine, tree).await.len());
    for spool in watch.open_spools() {
        spool.settle(End::Linger, spool.range().end);
    }
    both.await;
}

/// One window of watching a tree that outlived its leader.
struct Watch<'a> {
    exec: &'a Exec,
    /// How far each stream was, and what the tree had used, when the window opened.
    before: Option<([u64; 2], Vec<Member>)>,
    /// Whether the streams have come to rest, so that only new bytes matter.
    silent: bool,
}

impl Watch<'_> {
    async fn open(&mut self, engine: &Engine, tree: &Arc<Tree>) {
        let ends = self.ends();
        let moved = self.before.as_ref().is_some_and(|(before, _)| *before != ends);
        if self.silent && !moved {
            return;
        }
        self.silent = false;
        self.before = Some((ends, members(engine, tree).await));
    }

    async fn close(&mut self, engine: &Engine, tree: &Arc<Tree>) {
        let Some((ends, members_before)) = &self.before else { return };
        if self.silent || *ends != self.ends() {
            return;
        }
        let members = members(engine, tree).await;
        if tree::active(members_before, &members) || *ends != self.ends() {
            return;
        }
        self.exec.note_survivors(members.len());
        for (stream, end) in [Stream::Stdout, Stream::Stderr].into_iter().zip(*ends) {
            self.exec.output(stream).settle(End::Quiet, end);
        }
        self.silent = true;
    }

    fn ends(&self) -> [u64; 2] {
        [Stream::Stdout, Stream::Stderr].map(|stream| self.exec.output(stream).range().end)
    }

    fn open_spools(&self) -> impl Iterator<Item = &Arc<Spool>> {
        let both = [Stream::Stdout, Stream::Stderr].map(|stream| self.exec.output(stream));
        both.into_iter().filter(|spool| !spool.range().ended)
    }
}

async fn members(engine: &Engine, tree: &Arc<Tree>) -> Vec<Member> {
    let tree = tree.clone();
    engine.work().run(Share::Scan, move || tree.members(Leader::Reaped)).await
}
