//! Images in an S3-compatible bucket, through the crate `object_store`.
//!
//! ```text
//! <prefix>/blobs/sha256/<hex>     manifests, configurations and layers, as in an OCI image layout
//! <prefix>/records/<im-id>.json   which manifest an id stands for: written once, never over another
//! ```
//!
//! A record is put last and only where there is none (`If-None-Match`), so that an image that can be
//! found is whole, and an id never stands for another image. There is no index: no two agents could
//! write one. Blobs are never removed here; whoever has the bucket knows when nobody needs them.
//!
//! Addresses, region and credentials are those of the `AWS_*` variables, as other tools have them:
//! `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP=true` for one without TLS, `AWS_ACCESS_KEY_ID` and
//! `AWS_SECRET_ACCESS_KEY`, a web identity, or whatever the machine's metadata service gives.

mod check;
mod connector;
mod failure;
mod objects;
mod record;

use object_store::{
    BackoffConfig, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
};

use super::{
    Name, Options, RemoteError,
    http::{Http, tls_config},
};
use crate::core::{
    image::{BucketPlace, Digest, ImageId},
    limits::{REMOTE_ANSWER, REMOTE_ATTEMPTS_MAX, REMOTE_PAUSE_MAX, REMOTE_PAUSE_MIN},
};
use connector::Connector;
pub(super) use objects::Coming;
pub(super) use record::Record;

/// A part of a bucket.
pub(super) struct Bucket {
    place: BucketPlace,
    /// What messages call it.
    shown: String,
    objects: AmazonS3,
}

impl Bucket {
    /// Reads certificates and settings.
    pub(super) fn open(place: &BucketPlace, options: &Options) -> Result<Self, RemoteError> {
        let http = Http::new(tls_config(options.ca.as_deref())?, options.work.clone());
        let mut builder = AmazonS3Builder::new();
        for (name, value) in &options.environment {
            let key = name.starts_with("AWS_").then(|| name.to_ascii_lowercase().parse().ok());
            if let Some(key) = key.flatten() {
                builder = builder.with_config(key, value);
            }
        }
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: REMOTE_PAUSE_MIN,
                max_backoff: REMOTE_PAUSE_MAX,
                base: 2.0,
            },
            max_retries: usize::try_from(REMOTE_ATTEMPTS_MAX).unwrap_or(usize::MAX),
            retry_timeout: REMOTE_ANSWER,
        };
        let builder = builder.with_bucket_name(&place.bucket).with_retry(retry);
        let built = builder.with_http_connector(Connector::new(http)).build();
        let objects = built.map_err(|error| RemoteError::Setting {
            what: format!("use {place} with the AWS_* variables: {}", failure::told(&error)),
        })?;
        Ok(Self { shown: place.to_string(), place: place.clone(), objects })
    }

    pub(super) fn place(&self) -> &str {
        &self.shown
    }

    fn path(&self, rest: &str) -> Path {
        match self.place.prefix.as_str() {
            "" => Path::from(rest),
            prefix => Path::from(format!("{prefix}/{rest}")),
        }
    }

    fn blob_path(&self, digest: &Digest) -> Path {
        self.path(&format!("blobs/sha256/{}", digest.hex()))
    }

    fn record_path(&self, id: &ImageId) -> Path {
        self.path(&format!("records/{id}.json"))
    }

    /// The id that a name is. Other names are a registry's.
    fn id<'a>(&self, name: &'a Name) -> Result<&'a ImageId, RemoteError> {
        match name {
            Name::Image(id) => Ok(id),
            Name::Tag(_) | Name::Digest(_) => Err(RemoteError::Unsupported {
                place: self.shown.clone(),
                what: format!("{name}: images in a bucket are known by their ids"),
            }),
        }
    }
}
