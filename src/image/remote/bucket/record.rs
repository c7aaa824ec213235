//! Records: which manifest an id stands for.

use std::time::{Duration, SystemTime};

use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload, path::Path};
use serde::{Deserialize, Serialize};
use tokio_stream::StreamExt;

use super::{Bucket, failure::failed};
use crate::{
    core::{
        image::{Digest, ImageId},
        limits::{REMOTE_ANSWER_BYTES_MAX, REMOTE_NAMES_MAX},
    },
    image::{
        manifest::Descriptor,
        remote::{Name, RemoteError},
    },
};

/// `records/<id>.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::image::remote) struct Record {
    version: u32,
    pub(in crate::image::remote) manifest: Descriptor,
    /// When the image is to be there no more, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until_ms: Option<u64>,
}

const VERSION: u32 = 1;

impl Record {
    pub(in crate::image::remote) fn new(manifest: Descriptor, until: Option<SystemTime>) -> Self {
        let since = until.map(|end| end.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        let until_ms = since.map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        Self { version: VERSION, manifest, until_ms }
    }

    /// When the image is to be there no more.
    pub(in crate::image::remote) fn until(&self) -> Option<SystemTime> {
        let since = Duration::from_millis(self.until_ms?);
        SystemTime::UNIX_EPOCH.checked_add(since)
    }
}

impl Bucket {
    /// The record of an image.
    pub(in crate::image::remote) async fn record(
        &self,
        name: &Name,
    ) -> Result<Record, RemoteError> {
        let id = self.id(name)?;
        let bytes = self.read(&self.record_path(id), REMOTE_ANSWER_BYTES_MAX, name).await?;
        let strange = |what| RemoteError::Strange { place: self.shown.clone(), what };
        let record: Record = serde_json::from_slice(&bytes)
            .map_err(|error| strange(format!("the record of {id}: {error}")))?;
        match record.version {
            VERSION => Ok(record),
            other => Err(strange(format!("the record of {id} is of version {other}"))),
        }
    }

    /// Makes an image exist, whose blobs are there. If there is one of this id, it stays; it is an
    /// error if it is another one.
    pub(in crate::image::remote) async fn publish(
        &self,
        name: &Name,
        record: &Record,
    ) -> Result<(), RemoteError> {
        let id = self.id(name)?;
        let bytes = serde_json::to_vec(record).expect("a record is JSON");
        let mode = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let path = self.record_path(id);
        let put = object_store::ObjectStore::put_opts(
            &self.objects,
            &path,
            PutPayload::from(bytes),
            mode,
        );
        match put.await {
            Ok(_) => Ok(()),
            // Also where it was our own, of which only the answer was lost.
            Err(object_store::Error::AlreadyExists { .. }) => {
                let theirs = self.record(name).await?.manifest.digest;
                self.same(name, theirs, record.manifest.digest)
            }
            Err(error) => Err(failed(&self.shown, "push", &format!("image {id}"), error)),
        }
    }

    fn same(&self, name: &Name, theirs: Digest, ours: Digest) -> Result<(), RemoteError> {
        let (place, name) = (self.shown.clone(), format!("image {name}"));
        match theirs == ours {
            true => Ok(()),
            false => Err(RemoteError::Taken { place, name, theirs, ours }),
        }
    }

    /// All ids.
    pub(in crate::image::remote) async fn ids(&self) -> Result<Vec<String>, RemoteError> {
        let records = self.path("records");
        let mut found = object_store::ObjectStore::list(&self.objects, Some(&records));
        let mut ids = Vec::new();
        while let Some(object) = found.next().await {
            let object = object.map_err(|error| failed(&self.shown, "list", "images", error))?;
            ids.extend(id_of(&object.location));
            if ids.len() > REMOTE_NAMES_MAX {
                let what = format!("it has more than {REMOTE_NAMES_MAX} images");
                return Err(RemoteError::Strange { place: self.shown.clone(), what });
            }
        }
        Ok(ids)
    }

    /// Takes an image's record away.
    pub(in crate::image::remote) async fn remove(&self, name: &Name) -> Result<(), RemoteError> {
        // Deleting what is not there succeeds in a bucket.
        self.record(name).await?;
        let path = self.record_path(self.id(name)?);
        let deleted = self.objects.delete(&path).await;
        deleted.map_err(|error| failed(&self.shown, "remove", &format!("image {name}"), error))
    }
}

/// Whose record an object is.
fn id_of(location: &Path) -> Option<String> {
    let id = location.filename()?.strip_suffix(".json")?;
    ImageId::parse(id).ok().map(|id| id.to_string())
}
