//! Images in registries.

use super::{Images, ImagesError, Kept, Told, engine::Engine};
use crate::{
    core::image::{Reference, Remote, Tag, Ttl},
    image::store::Hold,
};

impl Images {
    /// Copies an image into a registry; `to` is `oci://registry/repository[:tag]`.
    pub async fn push(
        &self,
        image: Reference,
        to: String,
        _told: Told,
    ) -> Result<Kept, ImagesError> {
        let Ok(Reference::Remote(remote)) = Reference::parse(&to) else {
            let what = format!("push to {to:?}: it is no oci://registry/repository");
            return Err(ImagesError::invalid(what));
        };
        self.run(move |engine| {
            let _hold = engine.hold(&image)?;
            Err(engine.no_registry(&remote))
        })
        .await
    }

    /// Copies an image from a registry into the store.
    pub async fn pull(
        &self,
        from: Reference,
        _ttl: Ttl,
        _tag: Option<Tag>,
        _told: Told,
    ) -> Result<Kept, ImagesError> {
        let Reference::Remote(remote) = from else {
            let what = format!("pull {from}: it is no oci://registry/repository");
            return Err(ImagesError::invalid(what));
        };
        self.run(move |engine| {
            let hold = engine.pulled(&remote)?;
            engine.kept(hold.image().clone())
        })
        .await
    }
}

impl Engine {
    /// An image of a registry, in use here: it is copied into the store unless it is there.
    pub(super) fn pulled(&self, remote: &Remote) -> Result<Hold, ImagesError> {
        Err(self.no_registry(remote))
    }

    /// Why nothing is had from a registry.
    fn no_registry(&self, remote: &Remote) -> ImagesError {
        ImagesError::refused(match self.settings.remote {
            true => format!("use {remote}: this version does not speak to registries"),
            false => format!("use {remote}: this agent has not been allowed to use registries"),
        })
    }
}
