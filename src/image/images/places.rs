//! Where images are beyond this machine: the shared store, and registries that callers name.

use std::{fmt, sync::Arc, time::SystemTime};

use super::{ImagesError, Plain, RemoteImages, tell::Teller};
use crate::{
    core::{
        failure::Kind,
        image::{
            Digest, ImageId, Location, Name, RegistryPlace, Remote as InRegistry, RemoteTag,
            Transport, Ttl,
        },
    },
    image::{
        remote::{Meter, Options, Pull, Push, Remote, RemoteError},
        store::{Hold, Store},
    },
};

/// The places that an agent may use.
pub struct Places {
    shared: Option<(Location, Remote)>,
    options: Options,
}

/// One image at one of them.
pub(super) struct Target {
    /// `None`: in the shared store.
    location: Option<Location>,
    name: Name,
}

/// An image that is wanted.
pub(super) struct Wanted {
    pub(super) ttl: Ttl,
    /// The most that its blobs may have.
    pub(super) bytes_max: u64,
}

impl Places {
    /// Reads what is needed to reach the shared store, if there is one. Connects to nobody.
    pub async fn open(shared: Option<&Location>, options: Options) -> Result<Self, ImagesError> {
        let shared = match shared {
            Some(location) => {
                let remote = Remote::open(location, &options).await.map_err(failed)?;
                Some((location.clone(), remote))
            }
            None => None,
        };
        Ok(Self { shared, options })
    }

    pub(super) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// What a caller named, if that is allowed: by `any`, or because the operator named the same repository.
    pub(super) fn target(
        &self,
        named: &InRegistry,
        plain: Plain,
        any: RemoteImages,
    ) -> Result<Target, ImagesError> {
        let (location, name) = Location::of_image(&named.to_string())
            .map_err(|error| ImagesError::invalid(format!("use {named}: {error}")))?;
        let name = name.unwrap_or_else(|| Name::Tag(RemoteTag::latest()));
        let Location::Registry(mut place) = location else {
            return Err(ImagesError::invalid(format!("use {named}: it is no registry")));
        };
        let shared = self.shared_registry().filter(|shared| shared.registry == place.registry);
        if let Some(shared) = shared {
            if shared.repository == place.repository {
                return Ok(Target { location: None, name });
            }
            place.transport = shared.transport;
        }
        if any == RemoteImages::Refused {
            let text = format!("use {named}: this agent has not been allowed to use registries");
            return Err(ImagesError::refused(text));
        }
        if plain == Plain::Asked && place.transport == Transport::Tls {
            return Err(ImagesError::refused(format!(
                "use {named} without TLS: that is for this machine, and for the registry of an \
                 --image-store that is written oci+http://"
            )));
        }
        Ok(Target { location: Some(Location::Registry(place)), name })
    }

    fn shared_registry(&self) -> Option<&RegistryPlace> {
        match &self.shared {
            Some((Location::Registry(place), _)) => Some(place),
            Some((Location::Bucket(_), _)) | None => None,
        }
    }

    /// The manifest that a name stands for.
    pub(super) async fn find(&self, target: &Target) -> Result<Digest, ImagesError> {
        let remote = self.remote(target).await?;
        let found = remote.find(&target.there()).await.map_err(failed)?;
        found.ok_or_else(|| ImagesError::new(Kind::Unknown, format!("no image {target}")))
    }

    /// Puts an image of the store where it is to be.
    pub(super) async fn push(
        &self,
        store: &Arc<Store>,
        id: &ImageId,
        to: &Target,
        teller: &Teller,
    ) -> Result<(), ImagesError> {
        let remote = self.remote(to).await?;
        let push = Push { image: id.clone(), name: to.name.clone(), now: SystemTime::now() };
        let pushed = remote.push(store, push, &meter(teller)).await;
        let pushed = pushed.map_err(|error| during(format!("push {id} as {to}"), error))?;
        tracing::info!("pushed {id} as {to}: {} bytes were not there", pushed.bytes);
        Ok(())
    }

    /// Gets an image into the store. One of the shared store has the same id here.
    pub(super) async fn pull(
        &self,
        store: &Arc<Store>,
        from: &Target,
        wanted: Wanted,
        teller: &Teller,
    ) -> Result<Hold, ImagesError> {
        let remote = self.remote(from).await?;
        let Wanted { ttl, bytes_max } = wanted;
        let now = SystemTime::now();
        let pull = Pull { name: from.there(), ttl, tag: None, bytes_max, now };
        let pulled = remote.pull(store, pull, &meter(teller)).await;
        let pulled = pulled.map_err(|error| during(format!("pull {from}"), error))?;
        let id = pulled.hold.id();
        tracing::info!("pulled {from} as {id}: {} bytes were not here", pulled.bytes);
        Ok(pulled.hold)
    }

    /// Takes an image away from the shared store; whether it was there.
    pub(super) async fn remove(&self, id: &ImageId) -> Result<bool, ImagesError> {
        let Some((location, remote)) = &self.shared else { return Ok(false) };
        match remote.remove(&Name::Image(id.clone())).await {
            Ok(()) => Ok(true),
            Err(RemoteError::NotFound { .. }) => Ok(false),
            Err(error) => Err(during(format!("remove {id} from {location}"), error)),
        }
    }

    async fn remote(&self, target: &Target) -> Result<Remote, ImagesError> {
        match (&target.location, &self.shared) {
            (Some(location), _) => Remote::open(location, &self.options).await.map_err(failed),
            (None, Some((_, remote))) => Ok(remote.clone()),
            (None, None) => Err(ImagesError::internal(format!("use {target}: nothing is shared"))),
        }
    }
}

impl Target {
    /// An image of the shared store.
    pub(super) fn shared(id: &ImageId) -> Self {
        Self { location: None, name: Name::Image(id.clone()) }
    }

    pub(super) fn is_shared(&self) -> bool {
        self.location.is_none()
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    /// What it is called where it is. An id is one only in the shared store: elsewhere somebody else gave it.
    fn there(&self) -> Name {
        match (&self.name, &self.location) {
            (Name::Image(id), Some(_)) => {
                let tag = RemoteTag::parse(id.as_str());
                Name::Tag(tag.expect("an id is written as a tag may be"))
            }
            (name, _) => name.clone(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(f, "{} of {location}", self.name),
            None => write!(f, "{} of the shared store", self.name),
        }
    }
}

/// What tells `teller` how far a transfer is.
fn meter(teller: &Teller) -> Meter {
    let teller = teller.clone();
    Meter::new(move |progress| teller.reached(progress.done, progress.of))
}

/// Why something at a place failed. It was tried for as long as it made sense: public clients hide the reason of
/// what they may try again.
fn failed(error: RemoteError) -> ImagesError {
    let kind = match error {
        RemoteError::Store(error) => return error.into(),
        RemoteError::NotFound { .. } => Kind::Unknown,
        RemoteError::Taken { .. } => Kind::Taken,
        RemoteError::Setting { .. }
        | RemoteError::Link { .. }
        | RemoteError::Refused { .. }
        | RemoteError::Unauthorized { .. }
        | RemoteError::Mismatch { .. }
        | RemoteError::Strange { .. }
        | RemoteError::TooLarge { .. }
        | RemoteError::Unsupported { .. }
        | RemoteError::Manifest { .. } => Kind::Refused,
    };
    ImagesError::new(kind, error)
}

fn during(doing: String, error: RemoteError) -> ImagesError {
    let error = failed(error);
    ImagesError { text: format!("{doing}: {}", error.text), ..error }
}
