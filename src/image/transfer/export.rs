//! An image as one file.

use std::{
    collections::BTreeMap,
    io::{BufReader, Read, Write},
};

use serde_json::json;
use tar::{EntryType, Header};

use super::{TransferError, copy};
use crate::{
    core::{
        image::{Digest, Reference},
        limits::{CHUNK_BYTES, IMAGE_ZSTD_WINDOW_LOG_MAX, MANIFEST_BYTES_MAX},
    },
    image::{
        crypt::{self, Key, OpenError, Opener, Purpose, Salt},
        manifest::{
            self, Compression, Descriptor, Document, LayerMedia, Manifest, ManifestError,
            SALT_ANNOTATION, media,
        },
        store::{Hold, Store, Verified},
    },
};

/// What kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A tar of an OCI layout: everything is as in the store, with the same digests.
    OciArchive,
    /// What `docker load` takes, also old ones: it does not know zstd, so that such layers are
    /// decompressed. A sealed image is opened.
    DockerArchive,
}

/// What is wanted besides the image.
pub struct Export<'a> {
    /// What kind of file.
    pub form: Form,
    /// What the image is called in it. In a Docker archive, names that Docker does not know as
    /// such are left out.
    pub names: &'a [String],
    /// What a sealed image is opened with, where it must be.
    pub key: Option<&'a Key>,
}

/// Writes the image. `stop` is asked between pieces.
pub fn export(
    store: &Store,
    hold: &Hold,
    wanted: &Export<'_>,
    out: &mut dyn Write,
    stop: &dyn Fn() -> bool,
) -> Result<(), TransferError> {
    let bytes = store.read_verified(&hold.manifest(), MANIFEST_BYTES_MAX)?;
    let Document::Image(manifest) = manifest::parse(&bytes)? else {
        return Err(ManifestError::Kind("an index".into()).into());
    };
    let mut writing = Writing { store, out, stop };
    match wanted.form {
        Form::OciArchive => writing.oci(hold, &bytes, &manifest, wanted.names)?,
        Form::DockerArchive => writing.docker(&manifest, wanted)?,
    }
    writing.out.write_all(&[0; 1024]).map_err(TransferError::Write)?;
    writing.out.flush().map_err(TransferError::Write)
}

/// An archive that is being written.
struct Writing<'a> {
    store: &'a Store,
    out: &'a mut dyn Write,
    stop: &'a dyn Fn() -> bool,
}

impl Writing<'_> {
    fn oci(
        &mut self,
        hold: &Hold,
        bytes: &[u8],
        manifest: &Manifest,
        names: &[String],
    ) -> Result<(), TransferError> {
        self.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let media_type = manifest.media_type.as_deref().unwrap_or(media::MANIFEST);
        let entry = Descriptor::new(media_type, hold.manifest(), bytes.len() as u64);
        let named = names.iter().map(|name| {
            let named = ("org.opencontainers.image.ref.name".to_owned(), name.clone());
            Descriptor { annotations: BTreeMap::from([named]), ..entry.clone() }
        });
        let mut entries: Vec<Descriptor> = named.collect();
        if entries.is_empty() {
            // An id is no name that others take: it has capitals.
            entries.push(entry.clone());
        }
        let index = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": entries});
        self.file("index.json", &serde_json::to_vec(&index).expect("an index is JSON"))?;
        self.header("blobs/", EntryType::Directory, 0)?;
        self.header("blobs/sha256/", EntryType::Directory, 0)?;
        self.file(&blob_name(&entry.digest), bytes)?;
        let mut written = vec![entry.digest];
        for blob in manifest.blobs() {
            if !written.contains(&blob.digest) {
                written.push(blob.digest);
                let mut reader = self.blob(blob)?;
                self.stream(&blob_name(&blob.digest), blob.size, &mut reader)?;
            }
        }
        Ok(())
    }

    fn docker(&mut self, manifest: &Manifest, wanted: &Export<'_>) -> Result<(), TransferError> {
        let config = self.config(manifest, wanted.key)?;
        manifest::parse_config(&config, manifest)?;
        let config_name = format!("{}.json", Digest::of(&config).hex());
        self.file(&config_name, &config)?;
        let mut layers = Vec::new();
        for (layer, media) in manifest.layers.iter().zip(manifest.layer_media()?) {
            let directory = layer.digest.hex();
            let name = format!("{directory}/layer.tar");
            if !layers.contains(&name) {
                self.header(&format!("{directory}/"), EntryType::Directory, 0)?;
                self.layer(&name, layer, media, wanted.key)?;
            }
            layers.push(name);
        }
        let tags: Vec<&String> = wanted.names.iter().filter(|name| is_docker_name(name)).collect();
        let tags = if tags.is_empty() { json!(null) } else { json!(tags) };
        let about = json!([{"Config": config_name, "RepoTags": tags, "Layers": layers}]);
        self.file("manifest.json", &serde_json::to_vec(&about).expect("a manifest is JSON"))
    }

    /// The configuration's bytes, opened.
    fn config(&self, manifest: &Manifest, key: Option<&Key>) -> Result<Vec<u8>, TransferError> {
        let bytes = self.store.read_verified(&manifest.config.digest, MANIFEST_BYTES_MAX)?;
        if !manifest.is_sealed() {
            return Ok(bytes);
        }
        let key = key.ok_or(TransferError::Sealed)?;
        let salt = salt(&manifest.config)?;
        crypt::open(&bytes, key, &salt, Purpose::Config).map_err(TransferError::Key)
    }

    /// A layer as Docker takes it. The header comes first, so that what must be decompressed or opened
    /// is read twice.
    fn layer(
        &mut self,
        name: &str,
        layer: &Descriptor,
        media: LayerMedia,
        key: Option<&Key>,
    ) -> Result<(), TransferError> {
        let size = match (media.compression, media.sealed) {
            (Compression::None | Compression::Gzip, false) => layer.size,
            _ => {
                let mut reader = self.open(layer, media, key)?;
                copy(&mut reader, &mut std::io::sink(), self.stop).map_err(not_the_key)?
            }
        };
        let mut reader = self.open(layer, media, key)?;
        self.stream(name, size, &mut reader)
    }

    /// A layer, opened if it is sealed and decompressed if Docker could not.
    fn open(
        &self,
        layer: &Descriptor,
        media: LayerMedia,
        key: Option<&Key>,
    ) -> Result<Box<dyn Read>, TransferError> {
        let blob = self.blob(layer)?;
        let plain: Box<dyn Read> = match media.sealed {
            true => {
                let key = key.ok_or(TransferError::Sealed)?;
                Box::new(Opener::new(blob, key, &salt(layer)?, Purpose::Layer))
            }
            false => Box::new(blob),
        };
        if media.compression != Compression::Zstd {
            return Ok(plain);
        }
        let plain = BufReader::with_capacity(CHUNK_BYTES, plain);
        let mut decoder = zstd::Decoder::with_buffer(plain).map_err(TransferError::Read)?;
        decoder.window_log_max(IMAGE_ZSTD_WINDOW_LOG_MAX).map_err(TransferError::Read)?;
        Ok(Box::new(decoder))
    }

    fn blob(&self, blob: &Descriptor) -> Result<Verified, TransferError> {
        Ok(Verified::new(self.store.blob(&blob.digest)?, blob.digest, blob.size))
    }

    fn file(&mut self, name: &str, mut bytes: &[u8]) -> Result<(), TransferError> {
        self.stream(name, bytes.len() as u64, &mut bytes)
    }

    fn stream(&mut self, name: &str, size: u64, from: &mut dyn Read) -> Result<(), TransferError> {
        self.header(name, EntryType::Regular, size)?;
        let copied = copy(from, self.out, self.stop).map_err(not_the_key)?;
        if copied != size {
            return Err(TransferError::Archive { what: format!("{name} changed its size") });
        }
        let padding = copied.next_multiple_of(512) - copied;
        std::io::copy(&mut std::io::repeat(0).take(padding), self.out)
            .map(drop)
            .map_err(TransferError::Write)
    }

    fn header(&mut self, name: &str, kind: EntryType, size: u64) -> Result<(), TransferError> {
        // GNU's dialect has sizes beyond eight gigabytes.
        let mut header = Header::new_gnu();
        header.set_path(name).map_err(TransferError::Write)?;
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.out.write_all(header.as_bytes()).map_err(TransferError::Write)
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn salt(sealed: &Descriptor) -> Result<Salt, TransferError> {
    let text = sealed.annotations.get(SALT_ANNOTATION).map(String::as_str);
    text.unwrap_or_default()
        .parse()
        .map_err(|error: crypt::KeyError| TransferError::Archive { what: error.to_string() })
}

/// A layer that does not open says what is wrong by the kind of its error.
fn not_the_key(error: TransferError) -> TransferError {
    match error {
        TransferError::Read(error) => match OpenError::of(&error) {
            Some(why) => TransferError::Key(why),
            None => TransferError::Read(error),
        },
        other => other,
    }
}

/// Whether Docker would take it for the name and tag of an image, with or without a registry.
fn is_docker_name(name: &str) -> bool {
    ["oci://localhost/", "oci://"].iter().any(|prefix| {
        matches!(Reference::parse(&format!("{prefix}{name}")),
            Ok(Reference::Remote(remote)) if remote.tag.is_some() && remote.digest.is_none())
    })
}
