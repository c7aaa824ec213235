//! The flags about images: where they are kept and how, and whether they may come from elsewhere.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{
    args::ServeArgs,
    check::{Check, given_path},
};
use crate::{
    core::{
        envfile::{self, EnvFileError},
        image::Location,
    },
    image::images::{Packing, RemoteImages},
};

/// What the operator decided about images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSettings {
    /// Where they are kept.
    pub store: ImageStore,
    /// What the store may take, in bytes, before what was used longest ago goes.
    pub store_max: u64,
    /// How layers are compressed.
    pub compression: Packing,
    /// Whether images may be fetched from places that callers name.
    pub remote: RemoteImages,
    /// Certificates (PEM) that registries' and buckets' may be signed by, besides the system's.
    pub ca: Option<PathBuf>,
    /// What registries and buckets need to know and commands do not.
    pub variables: Variables,
}

/// Variables that are beside the agent's own, and before them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(pub BTreeMap<String, String>);

impl fmt::Debug for Variables {
    /// Never shows a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Where images are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageStore {
    /// Beneath the state directory.
    State,
    /// In the OCI layout in this directory.
    Layout(PathBuf),
    /// In a registry or a bucket. Beneath the state directory is what was used here.
    Shared(Location),
}

const REMOTE: [(&str, RemoteImages); 4] = [
    ("true", RemoteImages::Allowed),
    ("1", RemoteImages::Allowed),
    ("false", RemoteImages::Refused),
    ("0", RemoteImages::Refused),
];

pub(super) fn check(check: &mut Check, args: &ServeArgs) -> ImageSettings {
    const COMPRESSION: [(&str, Packing); 3] =
        [("zstd", Packing::Zstd), ("gzip", Packing::Gzip), ("none", Packing::Plain)];
    ImageSettings {
        store: store(check, &args.image_store),
        store_max: check.size("--image-store-max", &args.image_store_max),
        compression: check.choice("--image-compression", &args.image_compression, &COMPRESSION),
        remote: check.choice("--allow-remote-images", &args.allow_remote_images, &REMOTE),
        ca: check
            .parsed("--image-ca", &args.image_ca, certificates)
            .and_then(|()| given_path(&args.image_ca)),
        variables: check
            .parsed("--image-env-file", &args.image_env_file, variables)
            .unwrap_or_default(),
    }
}

fn store(check: &mut Check, text: &str) -> ImageStore {
    if text == "local" {
        return ImageStore::State;
    }
    if text.contains("://") {
        return match location(text) {
            Ok(location) => ImageStore::Shared(location),
            Err(error) => {
                check.mistake(format!("--image-store {text:?}: {error}"));
                ImageStore::State
            }
        };
    }
    let path = text.strip_prefix("layout:").unwrap_or(text);
    if !path.starts_with('/') || path.contains('\0') {
        check.mistake(format!(
            "--image-store {text:?} is neither local, nor layout: and an absolute path, nor oci:// or s3:// \
             and a place"
        ));
    }
    ImageStore::Layout(path.into())
}

fn location(text: &str) -> Result<Location, String> {
    match Location::parse(text) {
        Ok(Location::Bucket(_)) if cfg!(not(feature = "s3")) => {
            Err("this program was built without S3 (the feature `s3`)".into())
        }
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

/// That there is a certificate, and none that cannot be read.
fn certificates(pem: &[u8]) -> Result<(), String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found.map_err(|error| error.to_string())?.is_empty() {
        true => Err("it has no certificate".into()),
        false => Ok(()),
    }
}

fn variables(file: &[u8]) -> Result<Variables, EnvFileError> {
    let parsed = envfile::parse(file)?.into_iter();
    let pairs = parsed.map(|variable| (variable.key().to_owned(), variable.value().to_owned()));
    Ok(Variables(pairs.collect()))
}
