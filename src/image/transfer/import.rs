//! Images from one file.

use std::{collections::BTreeMap, io::Read, time::SystemTime};

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    TransferError, copy,
    members::{Kind, Members},
};
use crate::{
    core::{
        image::{Digest, ImageId, Ttl},
        limits::{IMPORT_MEMBERS_MAX, MANIFEST_BYTES_MAX},
    },
    image::{
        manifest::{
            self, Compression, Descriptor, Document, Index, LayerMedia, Manifest, ManifestError,
            Platform, media,
        },
        store::{NewImage, Pending, Store, StoreError},
    },
};

/// An image that came out of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The image.
    pub id: ImageId,
    /// What the archive calls it; not all of it need be a tag of ours.
    pub names: Vec<String>,
}

/// Reads an archive, of whichever form, and keeps every image in it that runs here. An archive that is cut
/// or damaged gives none. `stop` is asked between pieces.
pub fn import(
    store: &Store,
    from: &mut dyn Read,
    ttl: Ttl,
    now: SystemTime,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<Imported>, TransferError> {
    let mut archive = Archive::read(store, from, stop)?;
    let images = match archive.has("index.json") {
        true => archive.oci()?,
        false => archive.docker()?,
    };
    if images.is_empty() {
        return Err(strange("it holds no image"));
    }
    let (mut imported, mut holds) = (Vec::new(), Vec::new());
    for Found { manifest, names } in images {
        let blobs = archive.take_blobs(&manifest)?;
        let new = NewImage { manifest, blobs, ttl, snapshot_id: None, tag: None };
        let hold = store.add_image(new, now)?;
        imported.push(Imported { id: hold.id().clone(), names });
        // The next one may need what this one brought.
        holds.push(hold);
    }
    Ok(imported)
}

/// What was in an archive.
struct Archive {
    files: BTreeMap<String, Pending>,
    links: BTreeMap<String, String>,
}

/// An image in an archive.
struct Found {
    manifest: Vec<u8>,
    names: Vec<String>,
}

/// A line of Docker's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Archive {
    /// Takes everything out of the archive into files of the store that belong to nobody yet.
    fn read(
        store: &Store,
        from: &mut dyn Read,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, TransferError> {
        let mut members = Members::new(from);
        let mut archive = Self { files: BTreeMap::new(), links: BTreeMap::new() };
        while let Some(member) = members.next()? {
            if archive.files.len() + archive.links.len() == IMPORT_MEMBERS_MAX {
                return Err(strange(&format!("it has more than {IMPORT_MEMBERS_MAX} members")));
            }
            match member.kind {
                Kind::File if !is_legacy(&member.name) => {
                    let mut writer = store.writer()?;
                    copy(&mut members, &mut writer, stop).map_err(not_kept)?;
                    // A blob is called after its digest, and nothing else needs to be believed.
                    let digest = member.name.strip_prefix("blobs/sha256/");
                    let pending = match digest.map(Digest::from_hex) {
                        Some(Ok(expected)) => writer.finish_expecting(expected)?,
                        _ => writer.finish()?,
                    };
                    archive.files.insert(member.name, pending);
                }
                Kind::Link(target) => drop(archive.links.insert(member.name, target)),
                Kind::File | Kind::Other => {}
            }
        }
        // What comes behind its end must be there before anything is kept: it may have been cut off.
        copy(&mut members.into_inner(), &mut std::io::sink(), stop)?;
        Ok(archive)
    }

    fn has(&self, name: &str) -> bool {
        self.file(name).is_some()
    }

    /// A file by one of its names. Links lead to files, as Docker makes them, and not to other links.
    fn file(&self, name: &str) -> Option<&Pending> {
        let target = self.links.get(name).map_or(name, String::as_str);
        self.files.get(target)
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, TransferError> {
        let file = self.file(name).ok_or_else(|| strange(&format!("it has no {name:?}")))?;
        if file.size() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLarge { bytes: file.size() }.into());
        }
        let mut bytes = Vec::new();
        file.open()?.read_to_end(&mut bytes).map_err(TransferError::Read)?;
        Ok(bytes)
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, TransferError> {
        serde_json::from_slice(&self.bytes(name)?)
            .map_err(|error| strange(&format!("{name}: {error}")))
    }

    /// The images of an OCI layout. Several names of one image become one image.
    fn oci(&self) -> Result<Vec<Found>, TransferError> {
        let index: Index = self.json("index.json")?;
        let mut found: BTreeMap<Digest, Found> = BTreeMap::new();
        let single = index.manifests.len() == 1;
        for entry in &index.manifests {
            let (digest, manifest) = match self.image(entry) {
                // Of many, those for other machines are left out.
                Err(TransferError::Manifest(ManifestError::Platform { .. })) if !single => continue,
                image => image?,
            };
            let name = entry.annotations.get("org.opencontainers.image.ref.name");
            let image = found.entry(digest).or_insert(Found { manifest, names: Vec::new() });
            image.names.extend(name.cloned());
        }
        Ok(found.into_values().collect())
    }

    /// The manifest that an entry of an index leads to.
    fn image(&self, entry: &Descriptor) -> Result<(Digest, Vec<u8>), TransferError> {
        let bytes = self.bytes(&blob_name(&entry.digest))?;
        let (digest, bytes) = match manifest::parse(&bytes)? {
            Document::Image(_) => return Ok((entry.digest, bytes)),
            Document::Index(index) => {
                let picked = index.pick(&Platform::here())?;
                (picked.digest, self.bytes(&blob_name(&picked.digest))?)
            }
        };
        match manifest::parse(&bytes)? {
            Document::Image(_) => Ok((digest, bytes)),
            Document::Index(_) => Err(ManifestError::Kind("an index in an index".into()).into()),
        }
    }

    /// The images of an archive of Docker's.
    fn docker(&mut self) -> Result<Vec<Found>, TransferError> {
        if !self.has("manifest.json") {
            return Err(strange("it has neither index.json nor manifest.json"));
        }
        let images: Vec<DockerImage> = self.json("manifest.json")?;
        images.into_iter().map(|image| self.docker_image(image)).collect()
    }

    /// Makes the manifest that such an image does not have. Configuration and layers stay as they are.
    fn docker_image(&self, image: DockerImage) -> Result<Found, TransferError> {
        let config = self.bytes(&image.config)?;
        let mut manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::MANIFEST.into()),
            config: Descriptor::new(media::CONFIG, Digest::of(&config), config.len() as u64),
            layers: Vec::new(),
            annotations: BTreeMap::new(),
            rest: Default::default(),
        };
        for name in &image.layers {
            let layer = self.file(name).ok_or_else(|| strange(&format!("it has no {name:?}")))?;
            let media = LayerMedia { compression: sniff(layer)?, sealed: false };
            manifest.layers.push(Descriptor::new(media.name(), layer.digest(), layer.size()));
        }
        let config = manifest::parse_config(&config, &manifest)?;
        for ((layer, media), diff_id) in
            manifest.layers.iter().zip(manifest.layer_media()?).zip(&config.rootfs.diff_ids)
        {
            if media.compression == Compression::None && layer.digest != *diff_id {
                let what = format!("layer {diff_id} is in truth {}", layer.digest);
                return Err(TransferError::Archive { what });
            }
        }
        let manifest = serde_json::to_vec(&manifest).expect("a manifest is JSON");
        Ok(Found { manifest, names: image.repo_tags.unwrap_or_default() })
    }

    /// What an image needs and no image before it took.
    fn take_blobs(&mut self, manifest: &[u8]) -> Result<Vec<Pending>, TransferError> {
        let Document::Image(manifest) = manifest::parse(manifest)? else {
            return Err(ManifestError::Kind("an index".into()).into());
        };
        let needed: Vec<Digest> = manifest.blobs().map(|blob| blob.digest).collect();
        let mine = self.files.iter().filter(|(_, blob)| needed.contains(&blob.digest()));
        let mine: Vec<String> = mine.map(|(name, _)| name.clone()).collect();
        Ok(mine.iter().filter_map(|name| self.files.remove(name)).collect())
    }
}

/// What Docker's archives hold for versions before 1.10, a file for each layer.
fn is_legacy(name: &str) -> bool {
    name.ends_with("/VERSION") || name.ends_with("/json") || name == "repositories"
}

fn sniff(layer: &Pending) -> Result<Compression, TransferError> {
    let mut head = Vec::new();
    layer.open()?.take(4).read_to_end(&mut head).map_err(TransferError::Read)?;
    Ok(Compression::sniff(&head))
}

/// What is written to here is the store.
fn not_kept(error: TransferError) -> TransferError {
    match error {
        TransferError::Write(error) => StoreError::io("write a blob", error).into(),
        other => other,
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn strange(what: &str) -> TransferError {
    TransferError::Archive { what: what.to_owned() }
}
