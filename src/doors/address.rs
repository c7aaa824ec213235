//! Where a listener is: `tcp://host:port` or `unix:///path`.
//!
//! Clients built on gRPC's C core (Python's grpcio) send the path of a Unix socket as authority,
//! which HTTP/2 libraries refuse before we see it: they need `grpc.default_authority=localhost`.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::core::{hosts, limits::UNIX_PATH_BYTES_MAX};

/// One place to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP socket; port 0 is any free one.
    Tcp(SocketAddr),
    /// A Unix socket at an absolute path.
    Unix(PathBuf),
}

/// Why a text is no [`Address`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressError {
    /// It starts with neither `tcp://` nor `unix:///`.
    Scheme,
    /// The part after `tcp://` is not `host:port`.
    HostPort,
    /// The host is neither a literal nor a name in /etc/hosts.
    Host(String),
    /// The path of a Unix socket is longer than the kernel takes.
    PathLength,
}

impl Address {
    /// Takes an address as an operator wrote it; `hosts` is the text of /etc/hosts.
    pub fn parse(text: &str, hosts: &[u8]) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix://") {
            return Self::unix(Path::new(path));
        }
        let rest = text.strip_prefix("tcp://").ok_or(AddressError::Scheme)?;
        let (host, port) = rest.rsplit_once(':').ok_or(AddressError::HostPort)?;
        let port = port.parse().map_err(|_| AddressError::HostPort)?;
        // `tcp://::1` is a mistake to name, not port 1 of the host `:`.
        if host.is_empty() || host.contains(':') && !host.starts_with('[') {
            return Err(AddressError::HostPort);
        }
        match hosts::addresses(host, hosts).first() {
            Some(ip) => Ok(Self::Tcp(SocketAddr::new(*ip, port))),
            None => Err(AddressError::Host(host.to_string())),
        }
    }

    /// A Unix socket at `path`.
    pub fn unix(path: &Path) -> Result<Self, AddressError> {
        if !path.is_absolute() || path.file_name().is_none() {
            return Err(AddressError::Scheme);
        }
        if path.as_os_str().len() > UNIX_PATH_BYTES_MAX {
            return Err(AddressError::PathLength);
        }
        Ok(Self::Unix(path.to_path_buf()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(socket) => write!(f, "tcp://{socket}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => f.write_str("is neither tcp://HOST:PORT nor unix:///PATH"),
            Self::HostPort => f.write_str("needs tcp://HOST:PORT, an IPv6 literal in brackets"),
            Self::Host(host) => write!(f, "has a host {host:?} that /etc/hosts does not know"),
            Self::PathLength => write!(f, "has a path of more than {UNIX_PATH_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_good_and_bad() {
        let path = |n: usize| format!("unix:///{}", "x".repeat(n - 1));
        for good in ["tcp://127.0.0.1:0", "tcp://[::1]:65535", "unix:///run/d.sock", &path(107)] {
            let parsed = Address::parse(good, b"").map(|a| a.to_string());
            assert_eq!(parsed.as_deref(), Ok(good));
        }
        assert_eq!(
            Address::parse("tcp://box:80", b"10.1.2.3 box\n"),
            Ok(Address::Tcp("10.1.2.3:80".parse().unwrap()))
        );
        for (bad, why) in [
            ("127.0.0.1:80", AddressError::Scheme),
            ("http://127.0.0.1:80", AddressError::Scheme),
            ("unix://run/x", AddressError::Scheme),
            ("unix:///", AddressError::Scheme),
            ("tcp://127.0.0.1", AddressError::HostPort),
            ("tcp://:80", AddressError::HostPort),
            ("tcp://::1:80", AddressError::HostPort),
            ("tcp://127.0.0.1:65536", AddressError::HostPort),
            ("tcp://box:80", AddressError::Host("box".into())),
            (&path(108), AddressError::PathLength),
        ] {
            assert_eq!(Address::parse(bad, b""), Err(why), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused_without_a_panic(text in "(tcp://|unix://)?\\PC*") {
            let _ = Address::parse(&text, b"");
        }
    }
}
