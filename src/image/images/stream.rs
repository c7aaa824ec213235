//! Images go out and come in as single files, piece by piece.

use std::{
    io::{self, Read, Write},
    sync::Arc,
    time::SystemTime,
};

use bytes::{Buf, Bytes};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{Archive, Form, Images, ImagesError, Kept, Told, engine::Engine};
use crate::{
    core::{
        failure::Kind,
        image::{Reference, Tag, Ttl},
        limits::{CHUNK_BYTES, IMAGE_STREAM_PIECES, IMAGE_STREAMS_AT_ONCE},
    },
    image::{
        store::Hold,
        transfer::{self, Export},
    },
};

impl Images {
    /// An image as one archive, and how long it will be, where that is known.
    pub async fn export(
        &self,
        image: Reference,
        form: Form,
    ) -> Result<(Archive, Option<u64>), ImagesError> {
        let permit = self.0.stream()?;
        let nobody: Told = Arc::new(|_| {});
        let hold = exportable(self.bring(&image, &nobody).await?, form)?;
        let (to, archive) = mpsc::channel(IMAGE_STREAM_PIECES);
        let images = self.clone();
        tokio::spawn(async move {
            let last = to.clone();
            let done = images.run(move |engine| {
                let _permit = permit;
                engine.export(&hold, form, to)
            });
            if let Err(error) = done.await {
                // Nobody may listen any more.
                let _ = last.send(Err(error)).await;
            }
        });
        Ok((archive, None))
    }

    /// Takes the images of an archive into the store. The archive is whole when the sender is dropped
    /// after [`None`] was sent; if it is dropped before, nothing is kept.
    pub async fn import(
        &self,
        pieces: mpsc::Receiver<Option<Bytes>>,
        ttl: Ttl,
        tag: Option<Tag>,
    ) -> Result<Vec<Kept>, ImagesError> {
        let permit = self.0.stream()?;
        let images = self.clone();
        Self::to_its_end(async move {
            let imported = images.run(move |engine| {
                let _permit = permit;
                engine.import(pieces, ttl, tag.as_ref())
            });
            let kept = imported.await?;
            let nobody: Told = Arc::new(|_| {});
            for kept in &kept {
                images.share(&kept.image.id, &nobody).await?;
            }
            Ok(kept)
        })
        .await
    }
}

impl Engine {
    /// A place among the archives that are written and read.
    fn stream(&self) -> Result<OwnedSemaphorePermit, ImagesError> {
        self.streams.clone().try_acquire_owned().map_err(|_| {
            let text = format!("{IMAGE_STREAMS_AT_ONCE} archives are being written or read");
            ImagesError::new(Kind::Exhausted, text)
        })
    }

    fn export(
        &self,
        hold: &Hold,
        form: Form,
        to: mpsc::Sender<Result<Bytes, ImagesError>>,
    ) -> Result<(), ImagesError> {
        let names: Vec<String> =
            hold.image().tags.iter().map(|tag| tag.as_str().to_owned()).collect();
        let form = match form {
            Form::Oci => transfer::Form::OciArchive,
            Form::Docker => transfer::Form::DockerArchive,
        };
        let stop = || self.stopped() || to.is_closed();
        let mut out = Outgoing { to: &to, piece: Vec::with_capacity(CHUNK_BYTES) };
        let wanted = Export { form, names: &names, key: None };
        Ok(transfer::export(&self.store, hold, &wanted, &mut out, &stop)?)
    }

    fn import(
        &self,
        pieces: mpsc::Receiver<Option<Bytes>>,
        ttl: Ttl,
        tag: Option<&Tag>,
    ) -> Result<Vec<Kept>, ImagesError> {
        let now = SystemTime::now();
        let mut from = Incoming { pieces, piece: Bytes::new(), ended: false };
        let imported = transfer::import(&self.store, &mut from, ttl, now, &|| self.stopped())?;
        if let Some(tag) = tag {
            let [only] = &imported[..] else {
                for one in &imported {
                    self.store.remove(&one.id, now)?;
                }
                let count = imported.len();
                let what = format!("import: the archive has {count} images, and a tag is for one");
                return Err(ImagesError::invalid(what));
            };
            self.store.tag(&only.id, tag, now)?;
        }
        let kept = imported.iter().map(|one| {
            let image = self.find(&Reference::Image(one.id.clone()))?;
            self.kept(image)
        });
        let kept = kept.collect();
        self.collect_too_many();
        kept
    }
}

/// An image in use, if it can have this form.
fn exportable(hold: Hold, form: Form) -> Result<Hold, ImagesError> {
    match (form, hold.image().sealed) {
        (Form::Docker, true) => Err(ImagesError::invalid(format!(
            "export {}: it is sealed, and Docker could not read it; an OCI archive keeps it sealed",
            hold.id()
        ))),
        (Form::Oci | Form::Docker, _) => Ok(hold),
    }
}

/// An archive on its way to a client, which may be slow.
struct Outgoing<'a> {
    to: &'a mpsc::Sender<Result<Bytes, ImagesError>>,
    piece: Vec<u8>,
}

impl Write for Outgoing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(CHUNK_BYTES));
        let sent = self.to.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes it any more"))
    }
}

/// An archive as it comes from a client.
struct Incoming {
    pieces: mpsc::Receiver<Option<Bytes>>,
    piece: Bytes,
    ended: bool,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => self.ended = true,
                None => {
                    let what = "the archive was cut off";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
                }
            }
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
