//! Blobs as objects: large ones in parts.

use bytes::Bytes;
use object_store::{
    GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, path::Path,
};
use tokio::task::JoinSet;
use tokio_stream::{Stream, StreamExt};

use super::{Bucket, check::Check, failure::failed};
use crate::{
    core::{
        image::Digest,
        limits::{REMOTE_PART_BYTES, REMOTE_PARTS_MAX},
    },
    image::{
        manifest::Descriptor,
        remote::{Name, RemoteError, pieces::Source},
    },
};

/// A blob that comes.
pub(in crate::image::remote) type Coming =
    std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, RemoteError>> + Send>>;

/// Parts of one blob under way at once: one is read while another one is sent.
const PARTS_AT_ONCE: usize = 2;

impl Bucket {
    /// Begins to read a blob at `offset`.
    pub(in crate::image::remote) async fn blob(
        &self,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<Coming, RemoteError> {
        let what = format!("blob {}", blob.digest);
        let range = (offset > 0).then_some(GetRange::Offset(offset));
        let options = GetOptions { range, ..GetOptions::default() };
        let found = self.objects.get_opts(&self.blob_path(&blob.digest), options).await;
        let found = found.map_err(|error| failed(&self.shown, "pull", &what, error))?;
        let place = self.shown.clone();
        let told = move |error| failed(&place, "pull", &what, error);
        Ok(Box::pin(found.into_stream().map(move |piece| piece.map_err(&told))))
    }

    /// Whether it has a blob of this size.
    pub(in crate::image::remote) async fn has(
        &self,
        blob: &Descriptor,
    ) -> Result<bool, RemoteError> {
        match self.objects.head(&self.blob_path(&blob.digest)).await {
            Ok(object) => Ok(object.size == blob.size),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => {
                let what = format!("blob {}", blob.digest);
                Err(failed(&self.shown, "look for", &what, error))
            }
        }
    }

    /// A small object, whole.
    pub(in crate::image::remote) async fn read(
        &self,
        path: &Path,
        bytes_max: u64,
        name: &Name,
    ) -> Result<Vec<u8>, RemoteError> {
        let what = format!("image {name}");
        let told = |error| failed(&self.shown, "get", &what, error);
        let found = self.objects.get(path).await.map_err(told)?;
        let mut pieces = found.into_stream();
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next().await {
            bytes.extend_from_slice(&piece.map_err(told)?);
            if bytes.len() as u64 > bytes_max {
                let what = format!("{path} has more than {bytes_max} bytes");
                return Err(RemoteError::Strange { place: self.shown.clone(), what });
            }
        }
        Ok(bytes)
    }

    /// A manifest, which is what it is called.
    pub(in crate::image::remote) async fn manifest(
        &self,
        name: &Name,
        expected: Digest,
        bytes_max: u64,
    ) -> Result<Vec<u8>, RemoteError> {
        let bytes = self.read(&self.blob_path(&expected), bytes_max, name).await?;
        let found = Digest::of(&bytes);
        match found == expected {
            true => Ok(bytes),
            false => Err(RemoteError::Mismatch { place: self.shown.clone(), expected, found }),
        }
    }

    /// Puts a manifest among the blobs.
    pub(in crate::image::remote) async fn send_manifest(
        &self,
        bytes: &[u8],
    ) -> Result<(), RemoteError> {
        let digest = Digest::of(bytes);
        let payload = PutPayload::from(bytes.to_vec());
        let put = self.objects.put(&self.blob_path(&digest), payload).await;
        put.map(|_| ())
            .map_err(|error| failed(&self.shown, "push", &format!("manifest {digest}"), error))
    }

    /// Sends a blob, which is read and checked here: a bucket knows nothing of digests.
    pub(in crate::image::remote) async fn send_blob(
        &self,
        source: &Source,
    ) -> Result<(), RemoteError> {
        let path = self.blob_path(&source.blob.digest);
        let what = format!("blob {}", source.blob.digest);
        let told = |error| failed(&self.shown, "push", &what, error);
        if source.size() <= REMOTE_PART_BYTES {
            let bytes = source.read(0, length(source.size())).await?;
            let check = Check::new(source.work.clone()).take(bytes.clone()).await;
            check.end(source.blob.digest)?;
            self.objects.put(&path, PutPayload::from(bytes)).await.map_err(told)?;
            source.reached(source.size());
            return Ok(());
        }
        let mut upload = self.objects.put_multipart(&path).await.map_err(told)?;
        let sent = match self.send_parts(upload.as_mut(), source).await {
            Ok(()) => upload.complete().await.map(|_| ()).map_err(told),
            Err(error) => Err(error),
        };
        if sent.is_err() {
            // What stays costs its owner money until a rule of the bucket removes it.
            if let Err(error) = upload.abort().await {
                tracing::debug!("ignoring that parts stay: {}", told(error));
            }
        }
        sent
    }

    async fn send_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        source: &Source,
    ) -> Result<(), RemoteError> {
        let told =
            |error| failed(&self.shown, "push", &format!("blob {}", source.blob.digest), error);
        let part = REMOTE_PART_BYTES.max(source.size().div_ceil(REMOTE_PARTS_MAX));
        let mut check = Check::new(source.work.clone());
        // Dropped, it ends what is under way.
        let mut parts = JoinSet::new();
        let (mut offset, mut arrived) = (0, 0);
        while offset < source.size() {
            let size = part.min(source.size() - offset);
            let bytes = source.read(offset, length(size)).await?;
            check = check.take(bytes.clone()).await;
            offset += size;
            if parts.len() >= PARTS_AT_ONCE {
                arrived += ended(&mut parts).await.map_err(told)?;
                source.reached(arrived);
            }
            let sending = upload.put_part(PutPayload::from(bytes));
            parts.spawn(async move { sending.await.map(|()| size) });
        }
        while !parts.is_empty() {
            arrived += ended(&mut parts).await.map_err(told)?;
            source.reached(arrived);
        }
        check.end(source.blob.digest).map_err(RemoteError::from)
    }
}

/// The size of the next part that is there.
async fn ended(parts: &mut JoinSet<object_store::Result<u64>>) -> object_store::Result<u64> {
    match parts.join_next().await {
        Some(Ok(sent)) => sent,
        Some(Err(source)) => Err(object_store::Error::JoinError { source }),
        None => Ok(0),
    }
}

fn length(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
