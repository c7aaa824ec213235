//! Asking for several things at once, and telling what came of them one after the other.

use std::collections::VecDeque;

use tokio::{spawn, task::JoinHandle};

use crate::core::limits::CLI_AT_ONCE;

/// Does `work` for each item, for [`CLI_AT_ONCE`] of them at a time, and hands what comes of it to `take` in
/// the order of the items. An error of `take` ends it; what is under way by then is left to itself.
pub(super) async fn each<I, T, F>(
    items: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> F,
    mut take: impl FnMut(T) -> anyhow::Result<()>,
) -> anyhow::Result<()>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut items = items.into_iter();
    let mut under_way: VecDeque<JoinHandle<T>> = VecDeque::new();
    loop {
        let room = CLI_AT_ONCE - under_way.len();
        under_way.extend(items.by_ref().take(room).map(|item| spawn(work(item))));
        match under_way.pop_front() {
            None => return Ok(()),
            // It is never aborted, so that an error is a panic.
            Some(next) => take(next.await?)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Barrier;

    use super::*;

    #[tokio::test]
    async fn they_are_under_way_together_and_told_in_order() {
        // Each waits for all others of its window.
        let all = Arc::new(Barrier::new(CLI_AT_ONCE));
        let work = |number: usize| {
            let all = all.clone();
            async move {
                all.wait().await;
                number
            }
        };
        let mut told = Vec::new();
        let take = |number| {
            told.push(number);
            Ok(())
        };
        each(0..CLI_AT_ONCE, work, take).await.unwrap();
        assert_eq!(told, (0..CLI_AT_ONCE).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn never_too_many_and_none_after_an_error() {
        use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
        let begun = Arc::new(AtomicUsize::new(0));
        let work = |number: usize| {
            let begun = begun.clone();
            async move {
                begun.fetch_add(1, SeqCst);
                number
            }
        };
        let take = |number| {
            assert!(begun.load(SeqCst) <= number + CLI_AT_ONCE);
            if number == 10 { Err(anyhow::anyhow!("enough")) } else { Ok(()) }
        };
        each(0..1000, work, take).await.unwrap_err();
        assert!(begun.load(SeqCst) <= 10 + CLI_AT_ONCE);
    }
}
