//! Manifests of a registry, byte for byte.

use bytes::Bytes;
use http::{
    HeaderMap, Method,
    header::{ACCEPT, CONTENT_TYPE},
};

use super::{
    Registry,
    request::{Ask, Content},
};
use crate::{
    core::{image::Digest, limits::MANIFEST_BYTES_MAX},
    image::{
        manifest::media,
        remote::{Name, RemoteError},
    },
};

const DIGEST: &str = "docker-content-digest";

impl Registry {
    /// The bytes of a manifest or an index. By digest they are what was asked for.
    pub(in crate::image::remote) async fn manifest(
        &self,
        name: &Name,
    ) -> Result<Vec<u8>, RemoteError> {
        let accept =
            [media::MANIFEST, media::INDEX, media::DOCKER_MANIFEST, media::DOCKER_INDEX].join(", ");
        let url = self.at(&format!("manifests/{name}")).await?;
        let ask = Ask::new(Method::GET, url, "get", format!("image {name}")).header(ACCEPT, accept);
        let answer = self.call(ask).await?;
        let said = said(answer.headers());
        let bytes = self.read(answer, MANIFEST_BYTES_MAX, &format!("get image {name}")).await?;
        let found = Digest::of(&bytes);
        let expected = match name {
            Name::Digest(digest) => Some(*digest),
            Name::Image(_) | Name::Tag(_) => said,
        };
        match expected {
            Some(expected) if expected != found => {
                Err(RemoteError::Mismatch { place: self.place().into(), expected, found })
            }
            _ => Ok(bytes),
        }
    }

    /// What a name stands for, without reading it.
    pub(in crate::image::remote) async fn look_up(
        &self,
        name: &Name,
    ) -> Result<Option<Digest>, RemoteError> {
        let accept =
            [media::MANIFEST, media::INDEX, media::DOCKER_MANIFEST, media::DOCKER_INDEX].join(", ");
        let url = self.at(&format!("manifests/{name}")).await?;
        let ask = Ask::new(Method::HEAD, url, "look for", format!("image {name}"));
        match self.call(ask.header(ACCEPT, accept)).await {
            Ok(answer) => match said(answer.headers()) {
                Some(digest) => Ok(Some(digest)),
                // Not every registry says it.
                None => self.manifest(name).await.map(|bytes| Some(Digest::of(&bytes))),
            },
            Err(RemoteError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a name stand for these bytes. What they name must be there.
    pub(in crate::image::remote) async fn publish(
        &self,
        name: &Name,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(), RemoteError> {
        let url = self.at(&format!("manifests/{name}")).await?;
        let ask = Ask::new(Method::PUT, url, "push", format!("image {name}"))
            .header(CONTENT_TYPE, media_type)
            .carrying(Content::Bytes(Bytes::copy_from_slice(bytes)));
        let answer = self.call(ask).await?;
        let expected = Digest::of(bytes);
        match said(answer.headers()) {
            Some(found) if found != expected => {
                Err(RemoteError::Mismatch { place: self.place().into(), expected, found })
            }
            _ => Ok(()),
        }
    }
}

/// The digest that an answer says, if it is one that we can check.
fn said(headers: &HeaderMap) -> Option<Digest> {
    headers.get(DIGEST)?.to_str().ok()?.parse().ok()
}
