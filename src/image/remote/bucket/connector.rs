//! What `object_store` speaks through: our own HTTP client.

use std::{pin::Pin, sync::Arc};

use http_body_util::BodyExt;
use object_store::{
    ClientConfigKey, ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
        HttpResponseBody, HttpService,
    },
};

use crate::image::remote::http::{Http, LinkError, Payload};

/// Gives everything that is spoken to the same client.
#[derive(Debug)]
pub(super) struct Connector {
    http: Arc<Http>,
}

#[derive(Debug)]
struct Service {
    http: Arc<Http>,
    security: Wanted,
}

/// Whether requests without TLS are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Tls,
    Any,
}

impl Connector {
    pub(super) fn new(http: Http) -> Self {
        Self { http: Arc::new(http) }
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp);
        let security = match plain.as_deref() {
            Some("true") => Wanted::Any,
            _ => Wanted::Tls,
        };
        Ok(HttpClient::new(Service { http: self.http.clone(), security }))
    }
}

impl HttpService for Service {
    fn call<'life0, 'async_trait>(
        &'life0 self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            if self.security == Wanted::Tls && request.uri().scheme_str() != Some("https") {
                return Err(failed(LinkError::Plain));
            }
            let answer = self.http.send(request.map(Payload::new)).await.map_err(failed)?;
            Ok(answer.map(|body| HttpResponseBody::new(body.map_err(failed))))
        })
    }
}

fn failed(error: LinkError) -> HttpError {
    let kind = match &error {
        LinkError::Connect(_) | LinkError::Name { .. } | LinkError::Tls(_) => {
            HttpErrorKind::Connect
        }
        LinkError::Silence(_) => HttpErrorKind::Timeout,
        LinkError::Broken(_) => HttpErrorKind::Interrupted,
        LinkError::Address
        | LinkError::Plain
        | LinkError::Unknown(_)
        | LinkError::NotTls
        | LinkError::Untrusted(_) => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
