//! Images beyond this machine: in a registry (`oci://`) or in a bucket (`s3://`), with the local store as
//! their cache.
//!
//! ```text
//! Remote ─┬─ registry   the OCI distribution protocol: blobs, manifests, tags
//!         ├─ bucket     the files of an OCI layout as objects, through the crate `object_store`
//!         └─ http       one small HTTP/1.1 client for both: names, TLS, silence that ends
//! push, pull            the same for both; every digest is checked on this side
//! ```
//!
//! Everything here is async and runs on the reactor; files and digests are the work of the pool's threads
//! ([`Share::File`](crate::os::work::Share)). Bytes are never changed: what is pushed is pulled with the
//! same digests. A link that breaks is opened again, and goes on where it was. Dropping a future stops
//! what it did and leaves nothing in the store; what it had already sent stays where it was sent.
//!
//! What the other side says is input: sizes are bounded, digests recomputed, addresses that it sends us to
//! get no password of another host, and nothing is sent without TLS unless the operator wrote so.

#[cfg_attr(not(feature = "s3"), path = "no_bucket.rs")]
mod bucket;
mod error;
mod http;
mod meter;
mod patience;
mod pieces;
mod pull;
mod push;
mod registry;

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

pub use error::RemoteError;
pub use meter::{Meter, Progress};
pub use pull::{Pull, Pulled};
pub use push::{Push, Pushed};

pub use crate::core::image::{Location, Name, RemoteTag};
use crate::{core::image::Digest, os::work::Work};
use bucket::Bucket;
use registry::Registry;

/// A place for images that other machines share.
#[derive(Clone)]
pub struct Remote {
    kind: Arc<Kind>,
    work: Work,
}

enum Kind {
    Registry(Box<Registry>),
    Bucket(Bucket),
}

/// What is needed to reach places.
#[derive(Clone)]
pub struct Options {
    /// Where files are read and digests made.
    pub work: Work,
    /// Certificates (PEM) that a server's may be signed by, besides the system's.
    pub ca: Option<PathBuf>,
    /// Where `AWS_*`, `DOCKER_CONFIG`, `REGISTRY_AUTH_FILE` and `HOME` are looked up. It holds secrets.
    pub environment: BTreeMap<String, String>,
}

impl Options {
    /// With the environment of this process, and the system's certificates.
    pub fn new(work: Work) -> Self {
        // What is not UTF-8 is nothing that is looked up here.
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { work, ca: None, environment: std::env::vars_os().filter_map(text).collect() }
    }
}

impl fmt::Debug for Options {
    /// Never shows the environment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("ca", &self.ca).finish_non_exhaustive()
    }
}

impl Remote {
    /// Reads certificates and credentials. Connects to nobody.
    pub async fn open(location: &Location, options: &Options) -> Result<Self, RemoteError> {
        let (location, given) = (location.clone(), options.clone());
        let work = options.work.clone();
        let kind = work.run(crate::os::work::Share::File, move || match &location {
            Location::Registry(place) => {
                Registry::open(place, &given).map(Box::new).map(Kind::Registry)
            }
            Location::Bucket(place) => Bucket::open(place, &given).map(Kind::Bucket),
        });
        let kind = Arc::new(kind.await?);
        Ok(Self { kind, work })
    }

    /// The manifest that a name stands for, if there is such an image: of an index, that for this
    /// machine.
    pub async fn find(&self, name: &Name) -> Result<Option<Digest>, RemoteError> {
        match self.manifest(name).await {
            Ok(found) => Ok(Some(found.digest)),
            Err(RemoteError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Names of all images, in no order: ids, and in a registry whatever tags there are besides.
    pub async fn list(&self) -> Result<Vec<String>, RemoteError> {
        match &*self.kind {
            Kind::Registry(registry) => registry.tags().await,
            Kind::Bucket(bucket) => bucket.ids().await,
        }
    }

    /// Takes a name away. What it stood for is the registry's to collect; in a bucket its blobs stay,
    /// because others may share them.
    pub async fn remove(&self, name: &Name) -> Result<(), RemoteError> {
        match &*self.kind {
            Kind::Registry(registry) => registry.remove(name).await,
            Kind::Bucket(bucket) => bucket.remove(name).await,
        }
    }

    /// What messages call it.
    fn place(&self) -> String {
        match &*self.kind {
            Kind::Registry(registry) => registry.place().into(),
            Kind::Bucket(bucket) => bucket.place().into(),
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.place())
    }
}

#[cfg(test)]
mod tests;
