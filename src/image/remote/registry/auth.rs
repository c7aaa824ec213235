//! Proving to a registry who we are, when it asks.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method,
    header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE},
};
use parking_lot::Mutex;
use serde::Deserialize;
use url::Url;

use super::{
    Registry,
    challenge::{self, Challenge},
    credentials::{Credentials, Secret},
    request::{bare, complaints},
};
use crate::{
    core::{image::Transport, limits::REMOTE_ANSWER_BYTES_MAX},
    image::remote::{
        RemoteError,
        http::{LinkError, Payload, read_all},
    },
};

/// What is known about proving who we are.
pub(super) struct Auth {
    credentials: Credentials,
    /// What goes with each request; the registry asked for it last.
    header: Mutex<Option<HeaderValue>>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

const CLIENT: &str = "doorward";

impl Auth {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, header: Mutex::new(None) }
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        self.header.lock().clone()
    }

    /// What was shown to the registry, for messages.
    pub(super) fn told(&self) -> String {
        let looked = &self.credentials.looked;
        match &self.credentials.secret {
            Secret::None => format!("no password for it was found: {looked}"),
            Secret::Password { .. } => format!("the password was that of {looked}"),
            Secret::Identity(_) | Secret::Token(_) => format!("the token was that of {looked}"),
            Secret::Program(program) => format!(
                "by {looked} docker-credential-{program} has the password, which is not run here; \
                 an entry in auths would do"
            ),
        }
    }
}

impl Registry {
    /// Gets what a registry wants to see that has just refused a request at `url`.
    pub(super) async fn prove(
        &self,
        url: &Url,
        headers: &HeaderMap,
        doing: &str,
    ) -> Result<(), RemoteError> {
        let secret = &self.auth.credentials.secret;
        if url.scheme() == "http" && self.place.transport != Transport::Plain {
            let said = "it wants a password without TLS, which only oci+http:// allows".into();
            return Err(self.unauthorized(doing, said));
        }
        let asked = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok());
        let offers: Vec<Challenge> = asked.flat_map(challenge::parse).collect();
        let bearer = offers.iter().find(|offer| matches!(offer, Challenge::Bearer { .. }));
        let text = match (bearer, secret) {
            (Some(_), Secret::Token(token)) => format!("Bearer {token}"),
            (Some(Challenge::Bearer { realm, service, scope }), _) => {
                let realm = self.realm(realm, service.as_deref(), scope.as_deref())?;
                format!("Bearer {}", self.token(realm, doing).await?)
            }
            (_, Secret::Password { user, password }) if offers.contains(&Challenge::Basic) => {
                basic(user, password)
            }
            _ => return Err(self.unauthorized(doing, self.auth.told())),
        };
        let mut value = HeaderValue::try_from(text)
            .map_err(|_| self.strange("the token it gave is none".into()))?;
        value.set_sensitive(true);
        *self.auth.header.lock() = Some(value);
        Ok(())
    }

    /// The address of the service that gives tokens, with what is asked for.
    fn realm(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<Url, RemoteError> {
        let strange = || self.strange("its token service has no address".into());
        let mut url = Url::parse(realm).map_err(|_| strange())?;
        // It will be told the password.
        if url.scheme() != "https" && self.place.transport != Transport::Plain {
            return Err(self.link("get a token".into(), LinkError::Plain));
        }
        let default = format!("repository:{}:pull,push", self.place.repository);
        let mut query = url.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        query.append_pair("scope", scope.unwrap_or(&default));
        drop(query);
        Ok(url)
    }

    async fn token(&self, mut url: Url, doing: &str) -> Result<String, RemoteError> {
        let link = |error| self.link(format!("get a token to {doing}"), error);
        let request = match &self.auth.credentials.secret {
            Secret::Identity(token) => {
                // The form of OAuth 2: a secret does not belong into an address.
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                form.extend_pairs(url.query_pairs());
                form.append_pair("grant_type", "refresh_token").append_pair("client_id", CLIENT);
                let form = form.append_pair("refresh_token", token).finish();
                url.set_query(None);
                let payload = Payload::bytes(Bytes::from(form));
                let mut request = bare(Method::POST, &url, payload)?;
                let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                request.headers_mut().insert(CONTENT_TYPE, form);
                request
            }
            Secret::Password { user, password } => {
                let mut request = bare(Method::GET, &url, Payload::bytes(Bytes::new()))?;
                let value = HeaderValue::try_from(basic(user, password));
                let mut value = value.expect("base64 is visible ASCII");
                value.set_sensitive(true);
                request.headers_mut().insert(AUTHORIZATION, value);
                request
            }
            Secret::None | Secret::Token(_) | Secret::Program(_) => {
                bare(Method::GET, &url, Payload::bytes(Bytes::new()))?
            }
        };
        let answer = self.http.send(request).await.map_err(link)?;
        let status = answer.status();
        let bytes = read_all(answer.into_body(), REMOTE_ANSWER_BYTES_MAX).await.map_err(link)?;
        if !status.is_success() {
            let said = complaints(&bytes);
            let told = self.auth.told();
            let said = format!("its token service answered {}: {said} ({told})", status.as_u16());
            return Err(self.unauthorized(doing, said));
        }
        let answer: Option<Answer> = serde_json::from_slice(&bytes).ok();
        let token = answer.and_then(|answer| answer.token.or(answer.access_token));
        token.ok_or_else(|| self.strange("its token service gave no token".into()))
    }

    fn unauthorized(&self, doing: &str, said: String) -> RemoteError {
        RemoteError::Unauthorized { place: self.place().into(), doing: doing.into(), said }
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}
