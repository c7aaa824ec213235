//! `index.json`: one entry for each name, an image's id or a tag.
//!
//! Entries are kept as JSON values: other programs add their own, and what we do not understand must
//! not go because we wrote beside it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Store, StoreError};
use crate::{
    core::{
        image::{Digest, ImageId, Tag},
        limits::INDEX_BYTES_MAX,
    },
    image::manifest::{Descriptor, media},
};

const NAME: &str = "index.json";
/// Annotation of an entry: the name.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation of a tag's entry: the image that it is a name of.
const IMAGE: &str = "doorward.image";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    manifests: Vec<Value>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// An entry that can be read.
pub(super) struct Entry {
    /// Empty if others gave it none.
    pub(super) name: String,
    pub(super) image: Option<ImageId>,
    pub(super) descriptor: Descriptor,
}

impl Entry {
    fn of(value: &Value) -> Option<Self> {
        let descriptor = Descriptor::deserialize(value).ok()?;
        let name = descriptor.annotations.get(REF_NAME).cloned().unwrap_or_default();
        let image = descriptor.annotations.get(IMAGE).and_then(|id| ImageId::parse(id).ok());
        Some(Self { name, image, descriptor })
    }

    /// The image whose own entry this is.
    pub(super) fn id(&self) -> Option<ImageId> {
        ImageId::parse(&self.name).ok()
    }
}

impl Index {
    /// One without entries.
    pub(super) fn empty() -> Self {
        let media_type = Some(media::INDEX.into());
        Self { schema_version: 2, media_type, manifests: Vec::new(), rest: Map::new() }
    }

    /// Every entry that can be read.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.manifests.iter().filter_map(Entry::of)
    }

    /// The entry of an image.
    pub(super) fn image(&self, id: &ImageId) -> Option<Entry> {
        self.entries().find(|entry| entry.name == id.as_str())
    }

    /// The image that a tag is a name of.
    pub(super) fn tagged(&self, tag: &Tag) -> Option<ImageId> {
        self.entries().find(|entry| entry.name == tag.as_str())?.image
    }

    /// The tags of an image, sorted.
    pub(super) fn tags(&self, id: &ImageId) -> Vec<Tag> {
        let own = self.entries().filter(|entry| entry.image.as_ref() == Some(id));
        let mut tags: Vec<Tag> = own.filter_map(|entry| Tag::parse(&entry.name).ok()).collect();
        tags.sort();
        tags
    }

    /// How many images there are.
    pub(super) fn count(&self) -> usize {
        self.entries().filter(|entry| entry.id().is_some()).count()
    }

    /// The entry of a new image.
    pub(super) fn add(&mut self, id: &ImageId, descriptor: Descriptor) {
        self.put(id.as_str(), None, descriptor);
    }

    /// A tag for an image, away from another one that had it.
    pub(super) fn tag(&mut self, tag: &Tag, id: &ImageId, descriptor: Descriptor) {
        self.put(tag.as_str(), Some(id), descriptor);
    }

    fn put(&mut self, name: &str, image: Option<&ImageId>, mut descriptor: Descriptor) {
        self.remove_name(name);
        descriptor.annotations.remove(IMAGE);
        descriptor.annotations.insert(REF_NAME.into(), name.into());
        if let Some(id) = image {
            descriptor.annotations.insert(IMAGE.into(), id.to_string());
        }
        let value = serde_json::to_value(descriptor).expect("a descriptor is JSON");
        self.manifests.push(value);
    }

    /// Removes a name, and says whether it was there.
    pub(super) fn remove_name(&mut self, name: &str) -> bool {
        self.remove_where(|entry| entry.name == name)
    }

    /// Removes an image's entry and all its tags.
    pub(super) fn remove_image(&mut self, id: &ImageId) {
        self.remove_where(|entry| entry.name == id.as_str() || entry.image.as_ref() == Some(id));
    }

    fn remove_where(&mut self, matches: impl Fn(&Entry) -> bool) -> bool {
        let before = self.manifests.len();
        self.manifests.retain(|value| !Entry::of(value).is_some_and(|entry| matches(&entry)));
        self.manifests.len() != before
    }

    /// Digests that anything in it names, also what we do not understand: nothing that is named is
    /// removed.
    pub(super) fn digests(&self) -> impl Iterator<Item = Digest> {
        self.manifests.iter().filter_map(|value| value["digest"].as_str()?.parse().ok())
    }
}

impl Store {
    /// The index as it is on disk.
    pub(super) fn read_index(&self) -> Result<Index, StoreError> {
        let strange = |what: String| StoreError::Strange {
            what: format!("{}/{NAME}: {what}", self.path.display()),
        };
        let bytes = self.root.read(NAME, INDEX_BYTES_MAX)?;
        let bytes = bytes.ok_or_else(|| strange("it is gone".into()))?;
        serde_json::from_slice(&bytes).map_err(|error| strange(error.to_string()))
    }

    /// Puts another index in its place. The exclusive lock is held.
    pub(super) fn write_index(&self, index: &Index) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(index).expect("an index is JSON");
        self.session.publish(&self.root, NAME, &bytes)
    }
}
