//! A repository in a registry, by the OCI distribution specification.
//!
//! An image is a manifest with its id as tag, and the blobs that it names; nothing is kept of it that
//! other programs would not keep too.

mod auth;
mod challenge;
mod credentials;
mod download;
mod manifests;
mod request;
mod tags;
mod upload;

use bytes::Bytes;
use http::Method;
use tokio::sync::OnceCell;
use url::Url;

use super::{
    Options, RemoteError,
    http::{Http, LinkError, Payload, tls_config},
};
use crate::core::image::{RegistryPlace, Transport};
use auth::Auth;
use credentials::Credentials;
pub(super) use download::Coming;
use request::bare;

/// A repository.
pub(super) struct Registry {
    place: RegistryPlace,
    /// What messages call it.
    shown: String,
    http: Http,
    auth: Auth,
    /// Where it is, once it is known how it is spoken to.
    base: OnceCell<Url>,
}

impl Registry {
    /// Reads certificates and credentials.
    pub(super) fn open(place: &RegistryPlace, options: &Options) -> Result<Self, RemoteError> {
        let http = Http::new(tls_config(options.ca.as_deref())?, options.work.clone());
        let auth = Auth::new(Credentials::find(place, &options.environment)?);
        let (place, shown) = (place.clone(), place.to_string());
        Ok(Self { place, shown, http, auth, base: OnceCell::new() })
    }

    pub(super) fn place(&self) -> &str {
        &self.shown
    }

    /// The address of something in the repository.
    async fn at(&self, rest: &str) -> Result<Url, RemoteError> {
        let base = self.base.get_or_try_init(|| self.find()).await?;
        let path = format!("{}/{rest}", self.place.repository);
        base.join(&path).map_err(|error| self.strange(format!("{path}: {error}")))
    }

    /// Looks how the registry is spoken to, where that is open.
    async fn find(&self) -> Result<Url, RemoteError> {
        let url = |scheme: &str| {
            let url = Url::parse(&format!("{scheme}://{}/v2/", self.place.host()));
            url.map_err(|error| self.strange(format!("its address: {error}")))
        };
        let tls = url("https")?;
        match self.place.transport {
            Transport::Tls => Ok(tls),
            Transport::Plain => url("http"),
            Transport::Loopback => {
                let request = bare(Method::GET, &tls, Payload::bytes(Bytes::new()))?;
                match self.http.send(request).await {
                    Err(LinkError::NotTls) => url("http"),
                    _ => Ok(tls),
                }
            }
        }
    }

    /// Whether an address is the registry's own: no other gets what proves who we are.
    fn is_ours(&self, url: &Url) -> bool {
        self.base.get().is_some_and(|base| base.origin() == url.origin())
    }

    fn strange(&self, what: String) -> RemoteError {
        RemoteError::Strange { place: self.shown.clone(), what }
    }

    fn link(&self, doing: String, source: LinkError) -> RemoteError {
        RemoteError::Link { place: self.shown.clone(), doing, source }
    }
}
