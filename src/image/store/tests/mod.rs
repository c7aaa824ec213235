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
    process::Command,
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
pub(in crate::image) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

/// A directory with an open store.
pub(in crate::image) struct Place {
    directory: TempDir,
    pub(in crate::image) store: Store,
}

impl Place {
    pub(in crate::image) fn new() -> Self {
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
    pub(in crate::image) fn names(&self, directory: &str) -> Vec<String> {
        names(&self.path(directory))
    }

    pub(in crate::image) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path("blobs/sha256").join(digest.hex())
    }

    pub(in crate::image) fn add(&self, layers: &[&[u8]], ttl: Ttl, now: SystemTime) -> ImageId {
        let new = image(&self.store, layers, ttl);
        self.store.add_image(new, now).unwrap().id().clone()
    }
}

pub(in crate::image) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(in crate::image) fn blob(store: &Store, bytes: &[u8]) -> Pending {
    let mut writer = store.writer().unwrap();
    writer.write_all(bytes).unwrap();
    let pending = writer.finish().unwrap();
    assert_eq!((pending.digest(), pending.size()), (Digest::of(bytes), bytes.len() as u64));
    pending
}

/// A tar with one file, as small as they come.
pub(in crate::image) fn tar(name: &str, content: &[u8]) -> Vec<u8> {
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
    let media = LayerMedia { compression: Compression::None, sealed: false };
    let mut draft = Draft::empty(Platform::here());
    let blobs = layers.iter().map(|bytes| {
        let layer = blob(store, bytes);
        let (digest, size) = (layer.digest(), layer.size());
        draft.push(NewLayer { media, digest, size, diff_id: digest, salt: None }, at(0));
        layer
    });
    let blobs = blobs.collect();
    finished(store, draft, blobs, ttl)
}

/// An image that is not sealed, of layers that were made already.
pub(in crate::image) fn finished(
    store: &Store,
    mut draft: Draft,
    mut blobs: Vec<Pending>,
    ttl: Ttl,
) -> NewImage {
    let config = draft.config(at(0));
    let config = blob(store, &config);
    let described = Descriptor::new(media::CONFIG, config.digest(), config.size());
    blobs.push(config);
    NewImage { manifest: draft.manifest(described), blobs, ttl, snapshot_id: None, tag: None }
}

pub(in crate::image) fn by_id(id: &ImageId) -> Reference {
    Reference::Image(id.clone())
}

fn by_tag(text: &str) -> Reference {
    Reference::Tag(Tag::parse(text).unwrap())
}

pub(in crate::image) fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Says that a group of tests cannot run here, and fails where all of them must.
pub(in crate::image) fn skip(test: &str, why: &str) {
    let line = format!("SKIPPED: image::{test}: {why}\n");
    assert!(std::env::var_os("DOORWARD_TESTS_MUST_RUN").is_none(), "{line}");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Runs skopeo and gives its output; `None` where it is not installed.
pub(in crate::image) fn skopeo(test: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new("skopeo").args(arguments).output() {
        Ok(output) => output,
        Err(error) => {
            skip(test, &format!("skopeo: {error}"));
            return None;
        }
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "skopeo {arguments:?}: {errors}");
    Some(String::from_utf8(output.stdout).unwrap())
}
