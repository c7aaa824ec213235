//! Where an agent is.

use std::{fmt, path::PathBuf, str::FromStr};

/// The address of an agent: `http://`, `https://`, `tcp://` (the same as `http://`) or `unix://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Plain HTTP/2 with prior knowledge.
    Tcp {
        /// A name or an address; IPv6 without brackets.
        host: String,
        /// Its port.
        port: u16,
    },
    /// HTTP/2 in TLS.
    Tls {
        /// A name or an address; IPv6 without brackets.
        host: String,
        /// Its port.
        port: u16,
    },
    /// Plain HTTP/2 over a Unix socket.
    Unix(PathBuf),
}

/// Why a string is no [`Address`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressError {
    /// It does not start with a scheme that is known.
    Scheme(String),
    /// The host is empty or not closed by `]`.
    Host(String),
    /// The port is missing where the scheme has none of its own, or is no number.
    Port(String),
    /// There is something after host and port.
    Path(String),
    /// The socket's path is not absolute.
    Socket(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix://") {
            let absolute = path.starts_with('/') && !path.contains('\0');
            return match absolute {
                true => Ok(Self::Unix(path.into())),
                false => Err(AddressError::Socket(text.into())),
            };
        }
        let host_port = |rest, port| host_port(text, rest, port);
        if let Some(rest) = text.strip_prefix("https://") {
            let (host, port) = host_port(rest, Some(443))?;
            Ok(Self::Tls { host, port })
        } else if let Some(rest) = text.strip_prefix("http://") {
            let (host, port) = host_port(rest, Some(80))?;
            Ok(Self::Tcp { host, port })
        } else if let Some(rest) = text.strip_prefix("tcp://") {
            let (host, port) = host_port(rest, None)?;
            Ok(Self::Tcp { host, port })
        } else {
            Err(AddressError::Scheme(text.into()))
        }
    }
}

fn host_port(text: &str, rest: &str, default: Option<u16>) -> Result<(String, u16), AddressError> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() {
        return Err(AddressError::Path(text.into()));
    }
    let bad_host = || AddressError::Host(text.into());
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (host, after) = inner.split_once(']').ok_or_else(bad_host)?;
            let port = match after {
                "" => None,
                after => Some(after.strip_prefix(':').ok_or_else(bad_host)?),
            };
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let strange = |c: char| !(c.is_ascii_alphanumeric() || "-._:%".contains(c));
    if host.is_empty() || host.contains(strange) {
        return Err(bad_host());
    }
    let port = match port {
        Some(port) => port.parse().ok(),
        None => default,
    };
    let port = port.filter(|port| *port != 0).ok_or_else(|| AddressError::Port(text.into()))?;
    Ok((host.to_string(), port))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host_port = |f: &mut fmt::Formatter<'_>, scheme, host: &str, port| match host {
            v6 if v6.contains(':') => write!(f, "{scheme}://[{v6}]:{port}"),
            host => write!(f, "{scheme}://{host}:{port}"),
        };
        match self {
            Self::Tcp { host, port } => host_port(f, "http", host, port),
            Self::Tls { host, port } => host_port(f, "https", host, port),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme(text) => write!(
                f,
                "address {text:?} does not start with http://, https://, tcp:// or unix://"
            ),
            Self::Host(text) => write!(f, "address {text:?} has no proper host"),
            Self::Port(text) => write!(f, "address {text:?} has no proper port"),
            Self::Path(text) => write!(f, "address {text:?} has a path"),
            Self::Socket(text) => {
                write!(f, "address {text:?} needs an absolute path, as in unix:///run/x.sock")
            }
        }
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_and_shown_again() {
        let cases = [
            ("http://127.0.0.1:80", "http://127.0.0.1:80"),
            ("http://box", "http://box:80"),
            ("https://box.example/", "https://box.example:443"),
            ("tcp://[::1]:50051", "http://[::1]:50051"),
            ("https://[fe80::1%eth0]", "https://[fe80::1%eth0]:443"),
            ("unix:///run/doorward.sock", "unix:///run/doorward.sock"),
        ];
        for (text, shown) in cases {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address));
        }
    }

    #[test]
    fn each_mistake_has_its_name() {
        let parse = |text: &str| text.parse::<Address>().unwrap_err();
        let own = |text: &str| text.to_string();
        for text in ["", "box:80", "ftp://box"] {
            assert_eq!(parse(text), AddressError::Scheme(own(text)));
        }
        let hosts =
            ["http://", "http://:80", "http://[::1", "http://[::1]80", "http://a@b", "tcp://::1"];
        for text in hosts {
            assert_eq!(parse(text), AddressError::Host(own(text)));
        }
        for text in ["tcp://box", "http://box:x", "http://box:0", "http://box:65536"] {
            assert_eq!(parse(text), AddressError::Port(own(text)));
        }
        assert_eq!(parse("http://box/x"), AddressError::Path(own("http://box/x")));
        assert_eq!(parse("unix://x"), AddressError::Socket(own("unix://x")));
    }
}
