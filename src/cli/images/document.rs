//! Images and mounts as JSON, by the rules of every other answer.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;

use crate::{cli::show::json, wire::doorward::v1 as wire};

/// One image.
#[derive(Serialize)]
pub(super) struct Image<'a> {
    id: &'a str,
    tags: &'a [String],
    digest: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    size_bytes: u64,
    sealed: bool,
    layers: Vec<Layer<'a>>,
    mounts: Vec<Path>,
}

#[derive(Serialize)]
struct Layer<'a> {
    digest: &'a str,
    media_type: &'a str,
    size_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff_id: Option<&'a str>,
}

/// A path of the container. JSON has text only: one that is none is there twice, to be read and exactly.
#[derive(Serialize)]
pub(super) struct Path {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
}

/// An image in use.
#[derive(Serialize)]
pub(super) struct Mounted<'a> {
    #[serde(flatten)]
    path: Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    way: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
}

impl From<&[u8]> for Path {
    fn from(bytes: &[u8]) -> Self {
        let exactly = || STANDARD.encode(bytes);
        let path_base64 = std::str::from_utf8(bytes).is_err().then(exactly);
        Self { path: String::from_utf8_lossy(bytes).into_owned(), path_base64 }
    }
}

impl<'a> From<&'a wire::Image> for Image<'a> {
    fn from(image: &'a wire::Image) -> Self {
        let layers = image.layers.iter().map(|layer| Layer {
            digest: &layer.digest,
            media_type: &layer.media_type,
            size_bytes: layer.size_bytes,
            diff_id: given(&layer.diff_id),
        });
        Self {
            id: &image.image_id,
            tags: &image.tags,
            digest: &image.digest,
            created: json::time(&image.created),
            last_used: json::time(&image.last_used),
            expires: json::time(&image.expires),
            size_bytes: image.size_bytes,
            sealed: image.sealed,
            layers: layers.collect(),
            mounts: image.mounted_at.iter().map(|path| Path::from(&path[..])).collect(),
        }
    }
}

impl<'a> From<&'a wire::MountedImage> for Mounted<'a> {
    fn from(mounted: &'a wire::MountedImage) -> Self {
        Self {
            path: Path::from(&mounted.path[..]),
            image: given(&mounted.image_id),
            way: &mounted.way,
            since: json::time(&mounted.since),
        }
    }
}

fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
