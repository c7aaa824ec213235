//! The flags about images: where they are kept and how, and whether they may come from elsewhere.

use std::path::PathBuf;

use super::{args::ServeArgs, check::Check};
use crate::image::images::Packing;

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
}

/// Where images are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageStore {
    /// Beneath the state directory.
    State,
    /// In the OCI layout in this directory.
    Layout(PathBuf),
}

/// Whether images may be fetched from places that callers name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteImages {
    /// `oci://…` names an image in a registry.
    Allowed,
    /// It is refused.
    Refused,
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
    }
}

fn store(check: &mut Check, text: &str) -> ImageStore {
    if text == "local" {
        return ImageStore::State;
    }
    if ["oci://", "s3://"].iter().any(|scheme| text.starts_with(scheme)) {
        check.mistake(format!("--image-store {text:?}: this version keeps images on a disk only"));
        return ImageStore::State;
    }
    let path = text.strip_prefix("layout:").unwrap_or(text);
    if !path.starts_with('/') || path.contains('\0') {
        check.mistake(format!(
            "--image-store {text:?} is neither local nor layout: and an absolute path"
        ));
    }
    ImageStore::Layout(path.into())
}
