//! What work about images tells while it goes on, until its caller hears it.
//!
//! The work tells from its own threads and never waits: of progress the newest is kept, and notices
//! up to a bound.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::Answers;
use crate::{
    core::limits::{IMAGE_MESSAGES_AHEAD, IMAGE_NOTICES_MAX},
    doors::status::{self, leaving},
    exec::engine::Engine,
    image::images::{Event, ImagesError, Progress, Told},
};

/// What was told and not heard yet.
#[derive(Default)]
pub(in crate::doors) struct Heard {
    /// Held for a few lines.
    pending: Mutex<Pending>,
    changed: Notify,
}

#[derive(Default)]
struct Pending {
    progress: Option<Progress>,
    notices: VecDeque<String>,
}

/// What a caller is told in messages of its own.
pub(super) struct Words<T, M> {
    pub(super) event: fn(Event) -> Option<M>,
    pub(super) done: fn(T) -> Vec<M>,
}

impl Heard {
    pub(in crate::doors) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What the work calls.
    pub(in crate::doors) fn told(self: &Arc<Self>) -> Told {
        let heard = self.clone();
        Arc::new(move |event| heard.hear(event))
    }

    /// All notices that were not heard yet.
    pub(in crate::doors) fn notices(&self) -> Vec<String> {
        self.pending.lock().notices.drain(..).collect()
    }

    fn hear(&self, event: Event) {
        {
            let mut pending = self.pending.lock();
            match event {
                Event::Progress(progress) => pending.progress = Some(progress),
                // The log has them all.
                Event::Notice(_) if pending.notices.len() >= IMAGE_NOTICES_MAX => {}
                Event::Notice(text) => pending.notices.push_back(text),
            }
        }
        self.changed.notify_one();
    }

    fn take(&self) -> Option<Event> {
        let mut pending = self.pending.lock();
        let notice = pending.notices.pop_front().map(Event::Notice);
        notice.or_else(|| pending.progress.take().map(Event::Progress))
    }

    /// Waits for an event. Cancel-safe.
    async fn next(&self) -> Event {
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            self.changed.notified().await;
        }
    }
}

/// Streams what is told of `work` and what comes of it. If the caller leaves, `work` is dropped.
pub(super) fn follow<T, M>(
    engine: &Arc<Engine>,
    heard: Arc<Heard>,
    work: impl Future<Output = Result<T, ImagesError>> + Send + 'static,
    words: Words<T, M>,
) -> Answers<M>
where
    T: Send + 'static,
    M: Send + 'static,
{
    let (messages, answers) = mpsc::channel(IMAGE_MESSAGES_AHEAD);
    let engine = engine.clone();
    tokio::spawn(async move {
        // Counts as a reader: an ending agent waits until this was answered.
        let _reading = engine.reading();
        let mut work = std::pin::pin!(work);
        let result = loop {
            let event = async {
                let room = messages.reserve().await;
                (room, heard.next().await)
            };
            tokio::select! {
                biased;
                () = messages.closed() => return,
                () = engine.leaving() => break Err(leaving()),
                result = &mut work => break result.map_err(status::images),
                (room, event) = event => {
                    if let (Ok(room), Some(message)) = (room, (words.event)(event)) {
                        room.send(Ok(message));
                    }
                }
            }
        };
        let rest = std::iter::from_fn(|| heard.take()).filter_map(words.event).map(Ok);
        let end = match result {
            Ok(done) => (words.done)(done).into_iter().map(Ok).collect(),
            Err(refusal) => vec![Err(refusal)],
        };
        for message in rest.chain(end) {
            if messages.send(message).await.is_err() {
                return;
            }
        }
    });
    Box::pin(ReceiverStream::new(answers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done_bytes: u64) -> Event {
        let step = "reading";
        Event::Progress(Progress { step, done_bytes, total_bytes: None, entries: 0 })
    }

    #[tokio::test]
    async fn the_newest_progress_and_every_notice_is_heard() {
        let heard = Heard::new();
        let told = heard.told();
        told(progress(1));
        told(Event::Notice("a".into()));
        told(progress(2));
        told(Event::Notice("b".into()));
        for event in [Event::Notice("a".into()), Event::Notice("b".into()), progress(2)] {
            assert_eq!(heard.next().await, event);
        }
        assert_eq!(heard.take(), None);
        for n in 0..2 * IMAGE_NOTICES_MAX {
            told(Event::Notice(n.to_string()));
        }
        assert_eq!(heard.notices().len(), IMAGE_NOTICES_MAX);
    }
}
