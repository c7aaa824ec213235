//! The first bytes of a connection: HTTP/2's preface, read before a connection costs anything.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client of another protocol, most likely HTTP/1.1, is told.
const OTHER: &[u8] = b"HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\n\
    Content-Type: text/plain\r\nContent-Length: 47\r\n\r\n\
    this port speaks gRPC (HTTP/2, prior knowledge)";

/// A stream whose preface has come, and will be read again from its beginning.
pub(super) struct Opened<I> {
    stream: I,
    /// Bytes of the preface that were read again.
    given: usize,
}

/// Reads the preface. Anything else is an error as soon as it differs.
pub(super) async fn read<I: AsyncRead + AsyncWrite + Unpin>(
    mut stream: I,
) -> io::Result<Opened<I>> {
    let mut found = [0; PREFACE.len()];
    let mut length = 0;
    while length < found.len() {
        match stream.read(&mut found[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => length += n,
        }
        if found[..length] != PREFACE[..length] {
            stream.write_all(OTHER).await?;
            stream.shutdown().await?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not HTTP/2"));
        }
    }
    Ok(Opened { stream, given: 0 })
}

impl<I: AsyncRead + Unpin> AsyncRead for Opened<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.given < PREFACE.len() {
            let rest = &PREFACE[self.given..];
            let taken = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..taken]);
            self.given += taken;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

/// Everything is handed through, vectored writes above all: without them each frame costs a copy.
impl<I: AsyncWrite + Unpin> AsyncWrite for Opened<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_preface_is_read_twice_and_what_follows_once() {
        let (mut client, server) = tokio::io::duplex(1 << 10);
        client.write_all(PREFACE).await.unwrap();
        client.write_all(b"frames").await.unwrap();
        drop(client);
        let mut text = Vec::new();
        read(server).await.unwrap().read_to_end(&mut text).await.unwrap();
        assert_eq!(text, [PREFACE.as_slice(), b"frames"].concat());
    }

    #[tokio::test]
    async fn others_are_told_and_closed() {
        let (mut client, server) = tokio::io::duplex(1 << 10);
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert!(read(server).await.is_err());
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{text}");
    }
}
