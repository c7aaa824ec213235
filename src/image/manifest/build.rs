//! Images of our own, made layer by layer.

use std::{collections::BTreeMap, time::SystemTime};

use serde_json::Map;

use super::{
    Config, Descriptor, EXPIRES_ANNOTATION, History, LayerMedia, Manifest, Platform, RootFs,
    SALT_ANNOTATION, SNAPSHOT_HISTORY, media,
};
use crate::core::image::Digest;

/// An image that is being made: empty, or what another one is, to which layers are added.
#[derive(Debug, Clone)]
pub struct Draft {
    config: Config,
    layers: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
}

/// A layer that was made.
#[derive(Debug, Clone)]
pub struct NewLayer {
    /// How it is kept.
    pub media: LayerMedia,
    /// What the blob hashes to.
    pub digest: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// What the uncompressed tar hashes to.
    pub diff_id: Digest,
    /// The salt of its key, as text, if it is sealed.
    pub salt: Option<String>,
}

impl Draft {
    /// An image without layers.
    pub fn empty(platform: Platform) -> Self {
        let mut rest = Map::new();
        if let Some(variant) = platform.variant {
            rest.insert("variant".into(), variant.into());
        }
        let config = Config {
            created: None,
            architecture: platform.architecture,
            os: platform.os,
            rootfs: RootFs { kind: "layers".into(), diff_ids: Vec::new() },
            history: Vec::new(),
            rest,
        };
        Self { config, layers: Vec::new(), annotations: BTreeMap::new() }
    }

    /// What another image is, layers and configuration.
    pub fn on(manifest: &Manifest, config: Config) -> Self {
        Self { config, layers: manifest.layers.clone(), annotations: BTreeMap::new() }
    }

    /// Adds a layer on top.
    pub fn push(&mut self, layer: NewLayer, created: SystemTime) {
        let mut descriptor = Descriptor::new(layer.media.name(), layer.digest, layer.size);
        if let Some(salt) = layer.salt {
            descriptor.annotations.insert(SALT_ANNOTATION.into(), salt);
        }
        self.layers.push(descriptor);
        self.config.rootfs.diff_ids.push(layer.diff_id);
        self.config.history.push(History {
            created: Some(rfc3339(created)),
            created_by: Some(SNAPSHOT_HISTORY.into()),
            rest: Map::new(),
        });
    }

    /// Says when the image is to be there no more, wherever it is copied.
    pub fn expires(&mut self, end: SystemTime) {
        self.annotations.insert(EXPIRES_ANNOTATION.into(), rfc3339(end));
    }

    /// The configuration's bytes.
    pub fn config(&mut self, created: SystemTime) -> Vec<u8> {
        self.config.created = Some(rfc3339(created));
        serde_json::to_vec(&self.config).expect("a document of ours is JSON")
    }

    /// The manifest's bytes. `config` is what became of [`config`](Self::config): the same bytes,
    /// or the same sealed, with the salt.
    pub fn manifest(self, config: Descriptor) -> Vec<u8> {
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::MANIFEST.into()),
            config,
            layers: self.layers,
            annotations: self.annotations,
            rest: Map::new(),
        };
        serde_json::to_vec(&manifest).expect("a document of ours is JSON")
    }
}

/// A moment as images write it.
fn rfc3339(time: SystemTime) -> String {
    prost_types::Timestamp::from(time).to_string()
}
