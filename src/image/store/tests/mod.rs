//! The store on real directories.

mod collecting;
mod damage;
mod full;
mod images;
mod others;
mod together;

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{NewImage, Pending, Repaired, Store};
use crate::{
    core::image::{Digest, ImageId, Reference, Tag, Ttl},
    image::manifest::{Compression, Descriptor, Draft, LayerMedia, NewLayer, Platform, media},
};

/// A moment so many seconds after the tests' first one.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

/// A directory with an open store.
struct Place {
    directory: TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&directory.path().join("images"), at(0)).unwrap();
        Self { directory, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("images").join(name)
    }

    /// Opens it as another agent would.
    fn again(&self, now: SystemTime) -> (Store, Repaired) {
        Store::open(self.store.path(), now).unwrap()
    }

    /// Names in one of its directories, sorted.
    fn names(&self, directory: &str) -> Vec<String> {
        names(&self.path(directory))
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path("blobs/sha256").join(digest.hex())
    }

    fn add(&self, layers: &[&[u8]], ttl: Ttl, now: SystemTime) -> ImageId {
        self.store.add_image(image(&self.store, layers, ttl), now).unwrap()
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn blob(store: &Store, bytes: &[u8]) -> Pending {
    let mut writer = store.writer().unwrap();
    writer.write_all(bytes).unwrap();
    let pending = writer.finish().unwrap();
    assert_eq!((pending.digest(), pending.size()), (Digest::of(bytes), bytes.len() as u64));
    pending
}

/// A tar with one file, as small as they come.
fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, content).unwrap();
    builder.into_inner().unwrap()
}

/// An image with these layers, which are not compressed.
fn image(store: &Store, layers: &[&[u8]], ttl: Ttl) -> NewImage {
    let mut draft = Draft::empty(Platform::here());
    let mut blobs = Vec::new();
    for bytes in layers {
        let layer = blob(store, bytes);
        let new = NewLayer {
            media: LayerMedia { compression: Compression::None, sealed: false },
            digest: layer.digest(),
            size: layer.size(),
            diff_id: layer.digest(),
            salt: None,
        };
        draft.push(new, at(0));
        blobs.push(layer);
    }
    let config = draft.config(at(0));
    let config = blob(store, &config);
    let described = Descriptor::new(media::CONFIG, config.digest(), config.size());
    blobs.push(config);
    NewImage { manifest: draft.manifest(described), blobs, ttl, snapshot_id: None, tag: None }
}

fn by_id(id: &ImageId) -> Reference {
    Reference::Image(id.clone())
}

fn by_tag(text: &str) -> Reference {
    Reference::Tag(Tag::parse(text).unwrap())
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Says that a group of tests cannot run here, and fails where all of them must.
fn skip(test: &str, why: &str) {
    let line = format!("SKIPPED: image::store::{test}: {why}\n");
    assert!(std::env::var_os("DOORWARD_TESTS_MUST_RUN").is_none(), "{line}");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
