//! An image as it is in the store, opened: its documents, and its layers to be unpacked.

use std::io;

use super::{
    ImagesError,
    tell::{Counted, Teller},
};
use crate::{
    core::limits::MANIFEST_BYTES_MAX,
    image::{
        crypt::{self, Key, OpenError, Opener, Purpose, Salt},
        manifest::{
            self, Config, Descriptor, Document, LayerMedia, Manifest, ManifestError,
            SALT_ANNOTATION,
        },
        store::{Hold, Image, Store},
        unpack::{Blob, Layer},
    },
};

/// An image whose configuration was read.
pub(super) struct Source {
    /// For messages.
    pub(super) name: String,
    pub(super) manifest: Manifest,
    pub(super) config: Config,
    key: Option<Key>,
}

impl Source {
    /// Opens an image that is held. A wrong key, or none where one is needed, and one where none is needed, are
    /// refused.
    pub(super) fn open(store: &Store, hold: &Hold, key: Option<&Key>) -> Result<Self, ImagesError> {
        let name = hold.id().to_string();
        let manifest = read_manifest(store, hold.image())?;
        let bytes = store.read_verified(&manifest.config.digest, MANIFEST_BYTES_MAX)?;
        let bytes = match (manifest.is_sealed(), key) {
            (false, None) => bytes,
            (true, Some(key)) => open_config(&bytes, &manifest, key, &name)?,
            (true, None) => {
                return Err(ImagesError::invalid(format!(
                    "open {name}: it is sealed, and no key was given"
                )));
            }
            (false, Some(_)) => {
                return Err(ImagesError::invalid(format!(
                    "open {name}: it is not sealed, and a key was given"
                )));
            }
        };
        let config = manifest::parse_config(&bytes, &manifest)?;
        manifest.layer_media()?;
        Ok(Self { name, manifest, config, key: key.cloned() })
    }

    /// Whether it is sealed with a caller's key.
    pub(super) fn is_sealed(&self) -> bool {
        self.manifest.is_sealed()
    }

    /// Bytes of all layers as they are stored.
    pub(super) fn bytes(&self) -> u64 {
        self.manifest.layers.iter().map(|layer| layer.size).sum()
    }

    /// Its layers, the lowest first.
    pub(super) fn layers<'a>(
        &'a self,
        store: &'a Store,
        teller: &'a Teller,
    ) -> impl Iterator<Item = io::Result<Layer<'a>>> {
        let layers = self.manifest.layers.iter().zip(&self.config.rootfs.diff_ids);
        layers.map(move |(layer, diff_id)| {
            let media = LayerMedia::parse(&layer.media_type)
                .ok_or_else(|| io::Error::other("its media type is no layer's"))?;
            let file = store.blob(&layer.digest).map_err(io::Error::other)?;
            let file = Counted { inner: file, teller: teller.clone() };
            let blob = Blob { digest: layer.digest, size: layer.size };
            Ok(match (media.sealed, &self.key) {
                (true, Some(key)) => {
                    let salt = salt_of(layer).map_err(io::Error::other)?;
                    Layer {
                        from: Box::new(Opener::new(file, key, &salt, Purpose::Layer)),
                        compression: media.compression,
                        diff_id: Some(*diff_id),
                        // What was sealed proves itself.
                        blob: None,
                    }
                }
                _ => Layer {
                    from: Box::new(file),
                    compression: media.compression,
                    diff_id: Some(*diff_id),
                    blob: Some(blob),
                },
            })
        })
    }
}

/// The manifest of an image.
pub(super) fn read_manifest(store: &Store, image: &Image) -> Result<Manifest, ImagesError> {
    let bytes = store.read_verified(&image.manifest, MANIFEST_BYTES_MAX)?;
    match manifest::parse(&bytes)? {
        Document::Image(manifest) => Ok(*manifest),
        Document::Index(_) => Err(ManifestError::Kind("an index".into()).into()),
    }
}

fn open_config(
    bytes: &[u8],
    manifest: &Manifest,
    key: &Key,
    name: &str,
) -> Result<Vec<u8>, ImagesError> {
    let refused = |what: &dyn std::fmt::Display| format!("open {name}: {what}");
    let salt = salt_of(&manifest.config).map_err(|error| ImagesError::refused(refused(&error)))?;
    // Its digest was right, so that it is the key that is not.
    crypt::open(bytes, key, &salt, Purpose::Config).map_err(|error| match error {
        OpenError::Key => ImagesError::invalid(refused(&error)),
        OpenError::Damaged { .. } => ImagesError::damaged(refused(&error)),
    })
}

fn salt_of(sealed: &Descriptor) -> Result<Salt, crypt::KeyError> {
    let text = sealed.annotations.get(SALT_ANNOTATION).map(String::as_str);
    text.unwrap_or_default().parse()
}
