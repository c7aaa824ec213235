//! Requests to a registry: sent again with a password if it wants one, followed where it sends us,
//! and their refusals read.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, LOCATION, RETRY_AFTER},
};
use serde::Deserialize;
use url::Url;

use super::Registry;
use crate::{
    core::{
        image::Transport,
        limits::{REMOTE_ANSWER_BYTES_MAX, REMOTE_REDIRECTS_MAX},
    },
    image::remote::{
        RemoteError,
        error::shown,
        http::{Download, LinkError, Payload, read_all},
        patience::Patience,
        pieces::Source,
    },
};

/// A request, which may have to be sent more than once.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) content: Content<'a>,
    /// What is done to `what`, for messages.
    pub(super) doing: &'static str,
    pub(super) what: String,
}

/// What a request carries.
pub(super) enum Content<'a> {
    Nothing,
    Bytes(Bytes),
    /// A part of a blob.
    Part {
        source: &'a Source,
        offset: u64,
        length: u64,
    },
}

/// What a registry says when it refuses something.
#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    errors: Vec<Complaint>,
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<String>,
}

impl<'a> Ask<'a> {
    pub(super) fn new(method: Method, url: Url, doing: &'static str, what: String) -> Self {
        Self { method, url, headers: Vec::new(), content: Content::Nothing, doing, what }
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn carrying(self, content: Content<'a>) -> Self {
        Self { content, ..self }
    }

    fn doing(&self) -> String {
        format!("{} {}", self.doing, self.what)
    }
}

impl Content<'_> {
    fn payload(&self) -> Payload {
        match self {
            Self::Nothing => Payload::bytes(Bytes::new()),
            Self::Bytes(bytes) => Payload::bytes(bytes.clone()),
            Self::Part { source, offset, length } => source.payload(*offset, *length),
        }
    }
}

/// A request without headers.
pub(super) fn bare(
    method: Method,
    url: &Url,
    payload: Payload,
) -> Result<Request<Payload>, RemoteError> {
    let request = Request::builder().method(method).uri(url.as_str()).body(payload);
    // What is a URL to one crate is not always one to the other.
    request.map_err(|error| RemoteError::Setting { what: format!("ask at {url}: {error}") })
}

impl Registry {
    /// Asks until there is an answer that is no error that may pass.
    pub(super) async fn call(&self, ask: Ask<'_>) -> Result<Response<Download>, RemoteError> {
        let mut patience = Patience::new();
        loop {
            match self.call_once(&ask).await {
                Err(error) => patience.after(error).await?,
                answered => return answered,
            }
        }
    }

    /// Asks once. An answer that is no success is an error.
    pub(super) async fn call_once(&self, ask: &Ask<'_>) -> Result<Response<Download>, RemoteError> {
        let answer = self.ask(ask).await?;
        match answer.status().is_success() {
            true => Ok(answer),
            false => Err(self.refused(ask, answer).await),
        }
    }

    /// Reads all of an answer, which is at most `bytes_max` bytes.
    pub(super) async fn read(
        &self,
        answer: Response<Download>,
        bytes_max: u64,
        doing: &str,
    ) -> Result<Vec<u8>, RemoteError> {
        let read = read_all(answer.into_body(), bytes_max).await;
        let bytes = read.map_err(|error| self.link(doing.into(), error))?;
        match bytes.len() as u64 > bytes_max {
            true => Err(self.strange(format!("{doing}: more than {bytes_max} bytes come"))),
            false => Ok(bytes),
        }
    }

    async fn ask(&self, ask: &Ask<'_>) -> Result<Response<Download>, RemoteError> {
        let mut url = ask.url.clone();
        let (mut renewed, mut redirects) = (false, 0);
        loop {
            let answer = self.send(ask, &url).await?;
            let status = answer.status();
            if status == StatusCode::UNAUTHORIZED && self.is_ours(&url) && !renewed {
                renewed = true;
                self.prove(&url, answer.headers(), &ask.doing()).await?;
            } else if is_redirect(status) && [Method::GET, Method::HEAD].contains(&ask.method) {
                redirects += 1;
                if redirects > REMOTE_REDIRECTS_MAX {
                    return Err(self.strange("it sends us from one place to the next".into()));
                }
                url = self.led(&url, answer.headers(), &ask.doing())?;
            } else {
                return Ok(answer);
            }
        }
    }

    async fn send(&self, ask: &Ask<'_>, url: &Url) -> Result<Response<Download>, RemoteError> {
        let mut request = bare(ask.method.clone(), url, ask.content.payload())?;
        for (name, value) in &ask.headers {
            let value = value.parse().map_err(|_| self.strange(format!("{name} is {value:?}")))?;
            request.headers_mut().insert(name, value);
        }
        if self.is_ours(url)
            && let Some(authorization) = self.auth.header()
        {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        self.http.send(request).await.map_err(|error| self.link(ask.doing(), error))
    }

    /// Where an answer leads us, which is not out of TLS.
    pub(super) fn led(
        &self,
        from: &Url,
        headers: &HeaderMap,
        doing: &str,
    ) -> Result<Url, RemoteError> {
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.and_then(|location| from.join(location).ok());
        let location =
            location.ok_or_else(|| self.strange(format!("{doing}: it does not say where")))?;
        match (location.scheme(), from.scheme(), self.place.transport) {
            ("https", _, _) | ("http", _, Transport::Plain) | ("http", "http", _) => Ok(location),
            ("http", _, _) => Err(self.link(doing.into(), LinkError::Plain)),
            _ => Err(self.link(doing.into(), LinkError::Address)),
        }
    }

    /// What an answer that is no success says.
    async fn refused(&self, ask: &Ask<'_>, answer: Response<Download>) -> RemoteError {
        let (place, doing) = (self.shown.clone(), ask.doing());
        let (status, retry_after) = (answer.status(), retry_after(answer.headers()));
        let body = read_all(answer.into_body(), REMOTE_ANSWER_BYTES_MAX).await;
        let said = complaints(&body.unwrap_or_default());
        match status {
            StatusCode::NOT_FOUND => RemoteError::NotFound { place, name: ask.what.clone() },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let said = format!("status {}: {said} ({})", status.as_u16(), self.auth.told());
                RemoteError::Unauthorized { place, doing, said }
            }
            _ => RemoteError::Refused {
                place,
                doing,
                status: Some(status.as_u16()),
                said,
                retry_after,
            },
        }
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

/// The codes and messages of a refusal; of what is none, nothing: it is some proxy's page.
pub(super) fn complaints(body: &[u8]) -> String {
    let Ok(refusal) = serde_json::from_slice::<Refusal>(body) else { return String::new() };
    let said = refusal.errors.iter().map(|complaint| match &complaint.message {
        Some(message) => format!("{}: {message}", complaint.code),
        None => complaint.code.clone(),
    });
    shown(&said.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_says_is_read_and_bounded() {
        let said = br#"{"errors":[{"code":"DENIED","message":"no\npush"},{"code":"X"}]}"#;
        assert_eq!(complaints(said), "DENIED: no push; X");
        for other in [&b"<html>"[..], b"", b"[]", b"{}"] {
            assert_eq!(complaints(other), "");
        }
        let long = format!(r#"{{"errors":[{{"code":"{}"}}]}}"#, "x".repeat(5000));
        assert_eq!(complaints(long.as_bytes()).len(), 300);
    }
}
