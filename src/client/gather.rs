//! The first bytes of a connection, sent as one.
//!
//! A client of HTTP/2 speaks first, and four times before it waits: preface, settings, the headers of a
//! request and its message. Each comes from another task and would be a packet of its own, which
//! wakes everybody on the way. Here what is written first is held for a few turns of the
//! runtime, in which the others add theirs. It costs nobody time: whoever writes is woken at once,
//! again and again, until the turns are over.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are held at most; a small request is some hundred.
const HELD_BYTES_MAX: usize = 4 << 10;
/// Turns that they are held: preface and settings come in the first, the request's headers in the
/// next, its message in the one after.
const TURNS: u8 = 4;

/// A socket that sends the first bytes written to it as one, and counts what comes.
pub(super) struct Gather<S> {
    inner: S,
    received: Arc<AtomicU64>,
    /// What was written and not sent, while it is held.
    held: Option<Held>,
}

struct Held {
    bytes: Vec<u8>,
    /// How many are sent.
    sent: usize,
    turns: u8,
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    /// One to which nothing was written. Bytes that come are added to `received`.
    pub(super) fn new(inner: S, received: Arc<AtomicU64>) -> Self {
        let held = Some(Held { bytes: Vec::new(), sent: 0, turns: TURNS });
        Self { inner, received, held }
    }

    /// Sends what is held; from then on nothing is.
    fn poll_release(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(held) = &mut self.held else { return Poll::Ready(Ok(())) };
        while held.sent < held.bytes.len() {
            let rest = &held.bytes[held.sent..];
            match ready!(Pin::new(&mut self.inner).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => held.sent += sent,
            }
        }
        self.held = None;
        Poll::Ready(Ok(()))
    }

    /// Takes all of `bytes` to be held, if there is room.
    fn hold(&mut self, bytes: &[u8]) -> bool {
        match &mut self.held {
            // What is being sent is no longer added to.
            Some(held) if held.sent == 0 && held.bytes.len() + bytes.len() <= HELD_BYTES_MAX => {
                held.bytes.extend_from_slice(bytes);
                true
            }
            Some(_) | None => false,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let gather = self.get_mut();
        if gather.hold(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(gather.poll_release(context))?;
        Pin::new(&mut gather.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let gather = self.get_mut();
        if let Some(first) = pieces.iter().find(|piece| !piece.is_empty())
            && gather.hold(first)
        {
            return Poll::Ready(Ok(first.len()));
        }
        ready!(gather.poll_release(context))?;
        Pin::new(&mut gather.inner).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gather = self.get_mut();
        if let Some(held) = &mut gather.held
            && held.turns > 0
            && held.sent == 0
            && !held.bytes.is_empty()
        {
            held.turns -= 1;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(gather.poll_release(context))?;
        Pin::new(&mut gather.inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gather = self.get_mut();
        ready!(gather.poll_release(context))?;
        Pin::new(&mut gather.inner).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gather = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut gather.inner).poll_read(context, buffer);
        let count = (buffer.filled().len() - before) as u64;
        gather.received.fetch_add(count, Ordering::Relaxed);
        read
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_is_written_first_is_sent_as_one_and_all_of_it() {
        let (near, mut far) = duplex(1 << 20);
        let received = Arc::new(AtomicU64::new(0));
        let mut gather = Gather::new(near, received.clone());
        gather.write_all(b"pre").await.unwrap();
        // Nobody has waited for a turn yet.
        let mut nothing = [0; 8];
        let early = poll_fn(|context| {
            let mut buffer = ReadBuf::new(&mut nothing);
            Poll::Ready(Pin::new(&mut far).poll_read(context, &mut buffer).is_ready())
        });
        assert!(!early.await);
        gather.write_all(b"face").await.unwrap();
        gather.flush().await.unwrap();
        let mut read = [0; 64];
        let count = far.read(&mut read).await.unwrap();
        assert_eq!(&read[..count], b"preface");
        // From now on nothing is held.
        gather.write_all(b"more").await.unwrap();
        let count = far.read(&mut read).await.unwrap();
        assert_eq!(&read[..count], b"more");
        // What comes is counted.
        far.write_all(b"answer").await.unwrap();
        let count = gather.read(&mut read).await.unwrap();
        assert_eq!((&read[..count], received.load(Ordering::Relaxed)), (&b"answer"[..], 6));
    }

    #[tokio::test]
    async fn much_is_sent_in_order_behind_what_was_held() {
        let (near, mut far) = duplex(100);
        let expected: Vec<u8> = (0..3 * HELD_BYTES_MAX).map(|n| (n % 251) as u8).collect();
        let sent = expected.clone();
        let sending = tokio::spawn(async move {
            let mut gather = Gather::new(near, Arc::default());
            let (first, rest) = sent.split_at(HELD_BYTES_MAX - 1);
            gather.write_all(first).await.unwrap();
            gather.write_all(rest).await.unwrap();
            gather.shutdown().await.unwrap();
        });
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        sending.await.unwrap();
        assert_eq!(read, expected);
    }
}
