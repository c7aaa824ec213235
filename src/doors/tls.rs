//! TLS of the TCP listeners: rustls with ring, HTTP/2 only, client certificates where asked for.

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig, ServerConnection,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

/// Why there is no TLS.
#[derive(Debug)]
pub enum TlsError {
    /// The certificate file holds no certificate.
    Chain(String),
    /// The key file holds no private key.
    Key(String),
    /// The file of client authorities holds none that can be used.
    Authorities(String),
    /// Certificate and key do not belong together, or are of no use.
    Pair(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(why) => write!(f, "--tls-cert has no PEM certificate: {why}"),
            Self::Key(why) => write!(f, "--tls-key has no PEM private key: {why}"),
            Self::Authorities(why) => write!(f, "--client-ca has no usable certificate: {why}"),
            Self::Pair(error) => write!(f, "--tls-cert and --tls-key do not work: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// TLS with this chain and key (PEM); with `authorities` (PEM) a client must show a certificate
/// that one of them issued.
pub fn server_config(
    chain: &[u8],
    key: &[u8],
    authorities: Option<&[u8]>,
) -> Result<ServerConfig, TlsError> {
    let chain = certificates(chain).map_err(TlsError::Chain)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| TlsError::Key(e.to_string()))?;
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?;
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(pem).map_err(TlsError::Authorities)? {
                roots.add(certificate).map_err(|e| TlsError::Authorities(e.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|e| TlsError::Authorities(e.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("the file has none".into()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}

/// What the log calls a peer that showed a verified certificate: the start of its fingerprint.
pub(super) fn peer_name(connection: &ServerConnection) -> Option<String> {
    let certificate = connection.peer_certificates()?.first()?;
    let hash = Sha256::digest(certificate.as_ref());
    let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Some(format!("certificate sha256:{hex}"))
}
