//! In place of `bucket` where the program is built without the feature `s3`: there is no bucket, and
//! that is said to whoever wants one.

use std::{convert::Infallible, pin::Pin, time::SystemTime};

use bytes::Bytes;
use tokio_stream::Stream;

use super::{Name, Options, RemoteError, pieces::Source};
use crate::{
    core::image::{BucketPlace, Digest},
    image::manifest::Descriptor,
};

/// Nothing is one.
pub(super) struct Bucket(Infallible);

/// What would come.
pub(super) type Coming = Pin<Box<dyn Stream<Item = Result<Bytes, RemoteError>> + Send>>;

/// What an id would stand for.
pub(super) struct Record {
    pub(super) manifest: Descriptor,
    until: Option<SystemTime>,
}

impl Record {
    pub(super) fn new(manifest: Descriptor, until: Option<SystemTime>) -> Self {
        Self { manifest, until }
    }

    pub(super) fn until(&self) -> Option<SystemTime> {
        self.until
    }
}

impl Bucket {
    pub(super) fn open(place: &BucketPlace, _: &Options) -> Result<Self, RemoteError> {
        Err(RemoteError::Setting {
            what: format!("use {place}: this program was built without S3 (the feature `s3`)"),
        })
    }

    pub(super) fn place(&self) -> &str {
        match self.0 {}
    }

    pub(super) async fn blob(&self, _: &Descriptor, _: u64) -> Result<Coming, RemoteError> {
        match self.0 {}
    }

    pub(super) async fn has(&self, _: &Descriptor) -> Result<bool, RemoteError> {
        match self.0 {}
    }

    pub(super) async fn send_blob(&self, _: &Source) -> Result<(), RemoteError> {
        match self.0 {}
    }

    pub(super) async fn manifest(
        &self,
        _: &Name,
        _: Digest,
        _: u64,
    ) -> Result<Vec<u8>, RemoteError> {
        match self.0 {}
    }

    pub(super) async fn send_manifest(&self, _: &[u8]) -> Result<(), RemoteError> {
        match self.0 {}
    }

    pub(super) async fn record(&self, _: &Name) -> Result<Record, RemoteError> {
        match self.0 {}
    }

    pub(super) async fn publish(&self, _: &Name, _: &Record) -> Result<(), RemoteError> {
        match self.0 {}
    }

    pub(super) async fn ids(&self) -> Result<Vec<String>, RemoteError> {
        match self.0 {}
    }

    pub(super) async fn remove(&self, _: &Name) -> Result<(), RemoteError> {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{image::remote::Location, os::work::Work};

    #[test]
    fn who_wants_a_bucket_is_told_that_there_is_none() {
        let Ok(Location::Bucket(place)) = Location::parse("s3://bucket") else {
            panic!("a bucket")
        };
        let error = Bucket::open(&place, &Options::new(Work::new())).err().unwrap();
        assert!(error.to_string().contains("built without S3"), "{error}");
    }
}
