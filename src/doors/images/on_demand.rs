//! The image engine, opened when it is first asked for: an agent that nobody asks for images pays
//! nothing for them.

use std::{pin::Pin, sync::Arc};

use tokio::sync::OnceCell;

use crate::{
    exec::engine::Engine,
    image::images::{Images, ImagesError},
};

/// What serves the requests of doors.
#[derive(Clone)]
pub struct Engines {
    /// Of execs.
    pub execs: Arc<Engine>,
    /// Of images.
    pub images: OnDemand,
}

/// The engine of images, or how it is opened; clones share it.
#[derive(Clone)]
pub struct OnDemand(Arc<Inner>);

/// What opens the engine.
pub type Open = Box<dyn Fn() -> Opening + Send + Sync>;

/// The engine on its way.
pub type Opening = Pin<Box<dyn Future<Output = Result<Images, ImagesError>> + Send>>;

struct Inner {
    open: Open,
    opened: OnceCell<Images>,
}

impl OnDemand {
    /// An engine that `open` opens. After a failure it is called again for whoever asks next.
    pub fn new(open: Open) -> Self {
        Self(Arc::new(Inner { open, opened: OnceCell::new() }))
    }

    /// The engine. Whoever drops the future does not stop its opening.
    pub async fn get(&self) -> Result<Images, ImagesError> {
        if let Some(images) = self.opened() {
            return Ok(images.clone());
        }
        // An opening that was given up midway would still hold the locks that the next one needs.
        let inner = self.0.clone();
        let opening = async move { inner.opened.get_or_try_init(|| (inner.open)()).await.cloned() };
        tokio::spawn(opening).await.expect("an opening neither panics nor is aborted")
    }

    /// The engine, if somebody has asked for it.
    pub fn opened(&self) -> Option<&Images> {
        if cfg!(feature = "images") { self.0.opened.get() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;
    use crate::core::failure::Kind;

    /// An engine whose opening waits for a word and then fails, and how often it was begun.
    fn failing() -> (OnDemand, Arc<AtomicUsize>, Arc<Notify>) {
        let (begun, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (count, wait) = (begun.clone(), go.clone());
        let open = move || {
            count.fetch_add(1, Ordering::Relaxed);
            let wait = wait.clone();
            let opening: Opening = Box::pin(async move {
                wait.notified().await;
                let text = String::from("no place");
                Err(ImagesError { kind: Kind::Refused, damaged: false, text })
            });
            opening
        };
        (OnDemand::new(Box::new(open)), begun, go)
    }

    #[tokio::test]
    async fn nobody_opens_it_twice_at_once_and_a_failure_is_tried_again() {
        let (images, begun, go) = failing();
        assert_eq!(begun.load(Ordering::Relaxed), 0);
        let left = tokio::time::timeout(std::time::Duration::from_millis(1), images.get()).await;
        assert!(left.is_err());
        let other = tokio::spawn({
            let images = images.clone();
            async move { images.get().await.map(drop) }
        });
        tokio::task::yield_now().await;
        // Whoever has left began it; the other one waits for that.
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        go.notify_one();
        while begun.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        go.notify_one();
        assert_eq!(other.await.unwrap().unwrap_err().text, "no place");
        assert!(images.opened().is_none());
    }
}
