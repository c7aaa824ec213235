//! How to reach an agent, and what proves to it who calls.

use std::{
    error::Error,
    fmt, fs,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use http::HeaderValue;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{Address, ClientError};

/// How to reach an agent.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it is.
    pub address: Address,
    /// The task that it serves.
    pub task_id: String,
    /// What proves who we are.
    pub token: Token,
    /// Certificates (PEM) that an `https://` agent's may be signed by, in place of the system's.
    pub ca: Option<PathBuf>,
    /// The certificate that an `https://` agent is shown if it asks for one.
    pub identity: Option<Identity>,
}

/// A certificate of ours, as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate and those between it and its authority (PEM), ours first.
    pub cert: PathBuf,
    /// The private key of the first (PEM).
    pub key: PathBuf,
}

/// What proves to an agent who calls.
#[derive(Clone, Default)]
pub enum Token {
    /// Nothing: a Unix socket, a certificate, or an agent that asks for nothing.
    #[default]
    None,
    /// This token.
    Text(String),
    /// The token in this file, read again when the agent refuses it; a trailing newline is not
    /// part of it.
    File(PathBuf),
    /// What this source gives, asked again when the agent refuses it.
    Source(TokenSource),
}

/// Where tokens come from that expire: a function that is called for the first one, and for
/// another whenever the agent answers UNAUTHENTICATED. One call at a time.
#[derive(Clone)]
pub struct TokenSource(Arc<Fetch>);

type Fetch = dyn Fn() -> Fetched + Send + Sync;
type Fetched = Pin<Box<dyn Future<Output = Result<String, SourceError>> + Send>>;
type SourceError = Box<dyn Error + Send + Sync>;

impl Options {
    /// Without a token, and with the system's certificates.
    pub fn new(address: Address, task_id: impl Into<String>) -> Self {
        let (token, ca, identity) = (Token::None, None, None);
        Self { address, task_id: task_id.into(), token, ca, identity }
    }

    /// What TLS needs, where the address wants it. Reads the files.
    pub(super) fn tls(&self) -> Result<Option<ClientConfig>, ClientError> {
        match self.address {
            Address::Tls { .. } => {}
            Address::Tcp { .. } | Address::Unix(_) => return Ok(None),
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has what the default versions need")
            .with_root_certificates(self.roots()?);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(Identity { cert, key }) => {
                let chain = certificates(cert)?;
                let secret =
                    PrivateKeyDer::from_pem_file(key).map_err(|why| unusable(key, &why))?;
                builder.with_client_auth_cert(chain, secret).map_err(|why| unusable(cert, &why))?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Some(config))
    }

    fn roots(&self) -> Result<RootCertStore, ClientError> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|why| unusable(path, &why))?;
                }
            }
            None => {
                // A broken certificate among the system's is not ours to complain about.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        Ok(roots)
    }
}

/// The certificates in a file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(none) if none.is_empty() => Err(unusable(path, &"there is no certificate in it")),
        found => found.map_err(|why| unusable(path, &why)),
    }
}

fn unusable(path: &Path, why: &dyn fmt::Display) -> ClientError {
    ClientError::File { path: path.to_path_buf(), reason: why.to_string() }
}

impl Token {
    /// Tokens from `fetch`.
    ///
    /// ```
    /// use doorward::client::Token;
    ///
    /// // From a service …
    /// async fn ask() -> Result<String, std::io::Error> { Ok("t0ken".into()) }
    /// let token = Token::source(ask);
    /// // … or from something that does not wait.
    /// let token = Token::source(|| std::future::ready(std::env::var("TOKEN")));
    /// ```
    pub fn source<F, R, E>(fetch: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<SourceError>,
    {
        let boxed = move || -> Fetched {
            let fetched = fetch();
            Box::pin(async move { fetched.await.map_err(Into::into) })
        };
        Self::Source(TokenSource(Arc::new(boxed)))
    }

    /// Whether asking again may give another one.
    pub(super) fn can_change(&self) -> bool {
        match self {
            Self::None | Self::Text(_) => false,
            Self::File(_) | Self::Source(_) => true,
        }
    }

    /// The header that proves who we are.
    pub(super) async fn authorization(&self) -> Result<Option<HeaderValue>, ClientError> {
        let (token, path) = match self {
            Self::None => return Ok(None),
            Self::Text(token) => (token.clone(), PathBuf::from("(given token)")),
            Self::File(path) => {
                let token = fs::read_to_string(path).map_err(|why| unusable(path, &why))?;
                (token.strip_suffix('\n').unwrap_or(&token).to_string(), path.clone())
            }
            Self::Source(TokenSource(fetch)) => {
                let token = fetch().await.map_err(ClientError::Token)?;
                (token, PathBuf::from("(token of a source)"))
            }
        };
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| unusable(&path, &"a token has only visible ASCII"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl fmt::Debug for Token {
    /// Never shows a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Text(_) => f.write_str("Text"),
            Self::File(path) => write!(f, "File({path:?})"),
            Self::Source(_) => f.write_str("Source"),
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSource")
    }
}
