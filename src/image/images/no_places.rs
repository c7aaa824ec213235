//! In place of `places` where the program is built without images: nobody opens an engine of images there.

use std::{convert::Infallible, fmt, sync::Arc};

use super::{ImagesError, Plain, RemoteImages, tell::Teller};
use crate::{
    core::image::{Digest, ImageId, Name, Remote as InRegistry, Ttl},
    image::store::{Hold, Store},
};

/// Nothing is one.
pub struct Places(Infallible);

/// One image at one of them.
pub(super) struct Target(Name);

/// An image that is wanted.
pub(super) struct Wanted {
    pub(super) ttl: Ttl,
    pub(super) bytes_max: u64,
}

impl Places {
    pub(super) fn is_shared(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn target(
        &self,
        _: &InRegistry,
        _: Plain,
        _: RemoteImages,
    ) -> Result<Target, ImagesError> {
        match self.0 {}
    }

    pub(super) async fn find(&self, _: &Target) -> Result<Digest, ImagesError> {
        match self.0 {}
    }

    pub(super) async fn push(
        &self,
        _: &Arc<Store>,
        _: &ImageId,
        _: &Target,
        _: &Teller,
    ) -> Result<(), ImagesError> {
        match self.0 {}
    }

    pub(super) async fn pull(
        &self,
        _: &Arc<Store>,
        _: &Target,
        _: Wanted,
        _: &Teller,
    ) -> Result<Hold, ImagesError> {
        match self.0 {}
    }

    pub(super) async fn remove(&self, _: &ImageId) -> Result<bool, ImagesError> {
        match self.0 {}
    }
}

impl Target {
    pub(super) fn shared(id: &ImageId) -> Self {
        Self(Name::Image(id.clone()))
    }

    pub(super) fn is_shared(&self) -> bool {
        true
    }

    pub(super) fn name(&self) -> &Name {
        &self.0
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
