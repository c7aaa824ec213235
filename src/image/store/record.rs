//! What is written down about an image besides the layout.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::core::{
    image::{Digest, ImageId, Ttl},
    limits::RECORD_BYTES_MAX,
};

/// `records/<id>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    pub(super) manifest: Digest,
    created_ms: u64,
    ttl: WrittenTtl,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) snapshot_id: Option<String>,
    pub(super) sealed: bool,
    /// Everything that the image consists of, manifest and configuration too, so that collecting
    /// need not read manifests.
    pub(super) blobs: Vec<WrittenBlob>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WrittenBlob {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenTtl {
    RenewedSeconds(u64),
    Never,
    UntilMs(u64),
}

const VERSION: u32 = 1;
const SUFFIX: &str = ".json";

/// What a record says besides blobs.
pub(super) struct About {
    pub(super) manifest: Digest,
    pub(super) created: SystemTime,
    pub(super) ttl: Ttl,
    pub(super) snapshot_id: Option<String>,
    pub(super) sealed: bool,
}

impl Record {
    pub(super) fn new(about: About, blobs: Vec<WrittenBlob>) -> Self {
        let ttl = match about.ttl {
            Ttl::Renewed(after) => WrittenTtl::RenewedSeconds(after.as_secs()),
            Ttl::Never => WrittenTtl::Never,
            Ttl::Until(end) => WrittenTtl::UntilMs(milliseconds(end)),
        };
        Self {
            version: VERSION,
            manifest: about.manifest,
            created_ms: milliseconds(about.created),
            ttl,
            snapshot_id: about.snapshot_id,
            sealed: about.sealed,
            blobs,
        }
    }

    pub(super) fn created(&self) -> SystemTime {
        moment(self.created_ms)
    }

    pub(super) fn ttl(&self) -> Ttl {
        match self.ttl {
            WrittenTtl::RenewedSeconds(seconds) => Ttl::Renewed(Duration::from_secs(seconds)),
            WrittenTtl::Never => Ttl::Never,
            WrittenTtl::UntilMs(end) => Ttl::Until(moment(end)),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.blobs.iter().fold(0, |sum, blob| sum.saturating_add(blob.size))
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A moment from a file; one that no clock can show is the beginning of time.
fn moment(milliseconds: u64) -> SystemTime {
    let since = Duration::from_millis(milliseconds);
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

impl Store {
    /// An image's record; `None` if there is none that can be read.
    pub(super) fn read_record(&self, id: &ImageId) -> Result<Option<Record>, StoreError> {
        let bytes = self.records.read(&format!("{id}{SUFFIX}"), RECORD_BYTES_MAX)?;
        let record = bytes.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
        Ok(record.filter(|record| record.version == VERSION))
    }

    /// Writes an image's record.
    pub(super) fn write_record(&self, id: &ImageId, record: &Record) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(record).expect("a record is JSON");
        self.session.publish(&self.records, &format!("{id}{SUFFIX}"), &bytes)
    }

    /// Removes what is written down about an image. Nobody holds it.
    pub(super) fn forget(&self, id: &ImageId) -> Result<(), StoreError> {
        self.records.remove(&format!("{id}{SUFFIX}"))?;
        self.holds.remove(id.as_str())
    }

    /// Ids that something is written down about, whether or not there is such an image.
    pub(super) fn recorded(&self) -> Result<Vec<ImageId>, StoreError> {
        let names = self.records.names()?;
        let records = names.iter().filter_map(|name| name.strip_suffix(SUFFIX));
        let mut ids: Vec<ImageId> = records.filter_map(|id| ImageId::parse(id).ok()).collect();
        let holds = self.holds.names()?;
        ids.extend(holds.iter().filter_map(|id| ImageId::parse(id).ok()));
        ids.sort();
        ids.dedup();
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ttl_is_what_it_was() {
        let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        for ttl in [Ttl::Renewed(Duration::from_secs(7)), Ttl::Never, Ttl::Until(at(1234))] {
            let about = About {
                manifest: Digest::of(b""),
                created: at(99),
                ttl,
                snapshot_id: Some("é".into()),
                sealed: true,
            };
            let record = Record::new(about, vec![]);
            let json = serde_json::to_vec(&record).unwrap();
            let read: Record = serde_json::from_slice(&json).unwrap();
            assert_eq!((read.ttl(), read.created(), &read), (ttl, at(99), &record));
        }
    }
}
