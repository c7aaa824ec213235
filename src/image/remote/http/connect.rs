//! Connections: sockets, TLS, and the certificates that are trusted.

use std::{io, path::Path, sync::Arc};

use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, Error as TlsError, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use super::{Http, LinkError, Origin, Payload, Security, names};
use crate::{core::limits::REMOTE_CONNECT, image::remote::RemoteError};

impl Http {
    /// A connection of its own.
    pub(super) async fn connect(&self, origin: &Origin) -> Result<SendRequest<Payload>, LinkError> {
        let opened = timeout(REMOTE_CONNECT, self.open(origin)).await;
        opened.map_err(|_| LinkError::Silence(REMOTE_CONNECT))?
    }

    async fn open(&self, origin: &Origin) -> Result<SendRequest<Payload>, LinkError> {
        let socket = self.tcp(origin).await?;
        match origin.tls {
            Security::Plain => speak(socket).await,
            Security::Tls => {
                let name = ServerName::try_from(origin.host.clone());
                let name = name.map_err(|_| LinkError::Address)?;
                let connected = TlsConnector::from(self.tls.clone()).connect(name, socket).await;
                speak(connected.map_err(not_shaken)?).await
            }
        }
    }

    /// Connects to the first address of a name that answers.
    async fn tcp(&self, origin: &Origin) -> Result<TcpStream, LinkError> {
        let mut last = LinkError::Connect("it has no address".into());
        for address in names::addresses(&origin.host, &self.work).await? {
            match TcpStream::connect((address, origin.port)).await {
                Ok(socket) => {
                    // A request is short, and its answer is waited for.
                    let _ = socket.set_nodelay(true);
                    return Ok(socket);
                }
                Err(error) => last = LinkError::Connect(format!("{address}: {error}")),
            }
        }
        Err(last)
    }
}

async fn speak(
    socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<SendRequest<Payload>, LinkError> {
    let shaken = handshake(TokioIo::new(socket)).await;
    let (sender, connection) = shaken.map_err(|error| super::broken(&error))?;
    tokio::spawn(async move {
        // What ended it reaches the request that was under way.
        let _ = connection.await;
    });
    Ok(sender)
}

fn not_shaken(error: io::Error) -> LinkError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
        Some(TlsError::InvalidMessage(_)) => LinkError::NotTls,
        Some(TlsError::InvalidCertificate(why)) => LinkError::Untrusted(why.to_string()),
        Some(other) => LinkError::Tls(other.to_string()),
        None => LinkError::Tls(error.to_string()),
    }
}

/// What is trusted: the system's certificates, and those in a file (PEM). It reads files.
pub(in crate::image::remote) fn tls_config(
    ca: Option<&Path>,
) -> Result<Arc<ClientConfig>, RemoteError> {
    let mut roots = RootCertStore::empty();
    // A broken certificate among the system's is not ours to complain about.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca {
        let unusable = |why: &dyn std::fmt::Display| RemoteError::Setting {
            what: format!("use the certificates in {}: {why}", path.display()),
        };
        let found: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        let found = found.map_err(|why| unusable(&why))?;
        if found.is_empty() {
            return Err(unusable(&"there is none"));
        }
        for certificate in found {
            roots.add(certificate).map_err(|why| unusable(&why))?;
        }
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has what the default versions need")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
