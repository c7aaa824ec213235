//! Documents that others made, read and judged.

use std::{fmt, time::SystemTime};

use serde_json::Value;

use super::{Config, Descriptor, Index, Manifest, Platform, media};
use crate::core::{
    image::Digest,
    limits::{IMAGE_LAYERS_MAX, MANIFEST_BYTES_MAX},
};

/// What a document is.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// An image.
    Image(Box<Manifest>),
    /// Images for several platforms.
    Index(Index),
}

/// Why a document is none that we can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestError {
    /// It is larger than [`MANIFEST_BYTES_MAX`].
    TooLarge {
        /// Its size in bytes.
        bytes: u64,
    },
    /// It is no JSON, or lacks something.
    Json(String),
    /// It is of a kind that we do not know.
    Kind(String),
    /// It is an image and an index at once: readers would disagree about what it is.
    Ambiguous,
    /// It has more than [`IMAGE_LAYERS_MAX`] layers.
    Layers {
        /// How many.
        count: usize,
    },
    /// The media type of a layer is no layer's.
    Layer {
        /// The layer.
        digest: Digest,
        /// What it is said to be.
        media_type: String,
    },
    /// Its configuration does not name as many layers as it has.
    DiffIds {
        /// Layers of the manifest.
        layers: usize,
        /// Layers of the configuration.
        diff_ids: usize,
    },
    /// An index has nothing for this machine.
    Platform {
        /// What was looked for.
        wanted: String,
    },
}

/// Reads a manifest or an index.
pub fn parse(bytes: &[u8]) -> Result<Document, ManifestError> {
    within(bytes)?;
    let value: Value = serde_json::from_slice(bytes).map_err(json)?;
    let (layers, manifests) = (value.get("layers").is_some(), value.get("manifests").is_some());
    if layers && manifests {
        return Err(ManifestError::Ambiguous);
    }
    let said = value.get("mediaType").and_then(Value::as_str).map(str::to_owned);
    let wanted: [&str; 2] = match manifests {
        true => [media::INDEX, media::DOCKER_INDEX],
        false => [media::MANIFEST, media::DOCKER_MANIFEST],
    };
    if let Some(other) = said.filter(|said| !wanted.contains(&said.as_str())) {
        return Err(ManifestError::Kind(shown(&other)));
    }
    match value.get("schemaVersion").and_then(Value::as_u64) {
        Some(2) => {}
        other => return Err(ManifestError::Kind(format!("schema version {other:?}"))),
    }
    if manifests {
        return serde_json::from_value(value).map(Document::Index).map_err(json);
    }
    let manifest: Manifest = serde_json::from_value(value).map_err(json)?;
    if manifest.layers.len() > IMAGE_LAYERS_MAX {
        return Err(ManifestError::Layers { count: manifest.layers.len() });
    }
    Ok(Document::Image(Box::new(manifest)))
}

/// Reads the configuration of `manifest`.
pub fn parse_config(bytes: &[u8], manifest: &Manifest) -> Result<Config, ManifestError> {
    within(bytes)?;
    let config: Config = serde_json::from_slice(bytes).map_err(json)?;
    let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    match layers == diff_ids {
        true => Ok(config),
        false => Err(ManifestError::DiffIds { layers, diff_ids }),
    }
}

impl Manifest {
    /// What each layer is; the first that is no layer is refused.
    pub fn layer_media(&self) -> Result<Vec<super::LayerMedia>, ManifestError> {
        let judge = |layer: &Descriptor| {
            super::LayerMedia::parse(&layer.media_type).ok_or_else(|| ManifestError::Layer {
                digest: layer.digest,
                media_type: shown(&layer.media_type),
            })
        };
        self.layers.iter().map(judge).collect()
    }

    /// Whether its configuration is sealed with a caller's key.
    pub fn is_sealed(&self) -> bool {
        self.config.media_type == media::SEALED_CONFIG
    }

    /// When the image is to be there no more, if whoever made it said so.
    pub fn expires(&self) -> Option<SystemTime> {
        let written = self.annotations.get(super::EXPIRES_ANNOTATION)?;
        let end: prost_types::Timestamp = written.parse().ok()?;
        SystemTime::try_from(end).ok()
    }

    /// Everything it consists of, besides itself.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}

impl Index {
    /// The manifest for a platform: the first that says it is for it, else the only one if it does
    /// not say what it is for.
    pub fn pick(&self, platform: &Platform) -> Result<&Descriptor, ManifestError> {
        let runs =
            |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|other| platform.runs(other));
        let only = || match self.manifests.as_slice() {
            [only] if only.platform.is_none() => Some(only),
            _ => None,
        };
        self.manifests.iter().find(runs).or_else(only).ok_or_else(|| ManifestError::Platform {
            wanted: format!("{}/{}", platform.os, platform.architecture),
        })
    }
}

fn within(bytes: &[u8]) -> Result<(), ManifestError> {
    let bytes = bytes.len() as u64;
    if bytes > MANIFEST_BYTES_MAX { Err(ManifestError::TooLarge { bytes }) } else { Ok(()) }
}

fn json(error: serde_json::Error) -> ManifestError {
    ManifestError::Json(shown(&error.to_string()))
}

/// What a stranger wrote, cut to a length for a message.
fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => {
                write!(f, "it has {bytes} bytes, at most {MANIFEST_BYTES_MAX} are read")
            }
            Self::Json(why) => f.write_str(why),
            Self::Kind(what) => write!(f, "it is {what:?}, which is not known here"),
            Self::Ambiguous => f.write_str("it has layers and manifests at once"),
            Self::Layers { count } => {
                write!(f, "it has {count} layers, at most {IMAGE_LAYERS_MAX} are taken")
            }
            Self::Layer { digest, media_type } => {
                write!(f, "layer {digest} is {media_type:?}, which is no layer")
            }
            Self::DiffIds { layers, diff_ids } => {
                write!(f, "it has {layers} layers, its configuration {diff_ids}")
            }
            Self::Platform { wanted } => write!(f, "it has no image for {wanted}"),
        }
    }
}

impl std::error::Error for ManifestError {}
