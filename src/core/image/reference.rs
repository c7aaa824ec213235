//! How callers name an image: by its id, by a tag of the store, or in a registry.

use std::fmt;

use super::{Digest, ImageId};
use crate::core::limits::{REGISTRY_BYTES_MAX, REPOSITORY_BYTES_MAX, TAG_BYTES_MAX};

/// What a caller wrote for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `im-…`: one image of the store.
    Image(ImageId),
    /// A tag of the store.
    Tag(Tag),
    /// `oci://…`: an image in a registry.
    Remote(Remote),
}

/// A name that somebody gave an image of the store, 1-128 bytes: words of `[0-9A-Za-z]` with one of
/// `-._:@+/` between two of them (the grammar of `org.opencontainers.image.ref.name`), and no `im-`
/// at the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

/// An image in a registry: `oci://registry/repository[:tag][@digest]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Host and, perhaps, port.
    pub registry: String,
    /// The path within the registry.
    pub repository: String,
    /// The tag, if one was given.
    pub tag: Option<String>,
    /// What the manifest must hash to, if that was given.
    pub digest: Option<Digest>,
}

/// Which part of a text makes it no reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferenceError {
    /// It is empty.
    Empty,
    /// It begins with `im-` and is no image id.
    ImageId,
    /// The name of a tag.
    Tag,
    /// The host of a registry.
    Registry,
    /// The path in a registry.
    Repository,
    /// What follows `@`.
    Digest,
}

const SCHEME: &str = "oci://";

impl Reference {
    /// Takes a reference as a caller wrote it.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if let Some(rest) = text.strip_prefix(SCHEME) {
            return Remote::parse(rest).map(Self::Remote);
        }
        if text.starts_with("im-") {
            let id = ImageId::parse(text).map_err(|_| ReferenceError::ImageId)?;
            return Ok(Self::Image(id));
        }
        Tag::parse(text).map(Self::Tag)
    }
}

impl Tag {
    /// Takes a tag as a caller wrote it.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let parts = text.split(['-', '.', '_', ':', '@', '+', '/']);
        let mut words = parts.map(|word| word.bytes().all(|b| b.is_ascii_alphanumeric()));
        let good = words.all(|good| good) && is_closed(text) && !text.starts_with("im-");
        match good && text.len() <= TAG_BYTES_MAX {
            true => Ok(Self(text.into())),
            false => Err(ReferenceError::Tag),
        }
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text begins and ends with a letter or digit and has no two others side by side.
fn is_closed(text: &str) -> bool {
    let word = |byte: &u8| byte.is_ascii_alphanumeric();
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(word) && bytes.last().is_some_and(word);
    ends && bytes.windows(2).all(|pair| word(&pair[0]) || word(&pair[1]))
}

impl Remote {
    /// What follows `oci://`.
    fn parse(text: &str) -> Result<Self, ReferenceError> {
        let (registry, rest) = text.split_once('/').ok_or(ReferenceError::Repository)?;
        if !is_host(registry) {
            return Err(ReferenceError::Registry);
        }
        let (name, digest) = match rest.split_once('@') {
            Some((name, digest)) => {
                (name, Some(digest.parse().map_err(|_| ReferenceError::Digest)?))
            }
            None => (rest, None),
        };
        let (repository, tag) = match name.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (name, None),
        };
        if !is_repository(repository) {
            return Err(ReferenceError::Repository);
        }
        if tag.is_some_and(|tag| !is_remote_tag(tag)) {
            return Err(ReferenceError::Tag);
        }
        let (registry, repository) = (registry.to_owned(), repository.to_owned());
        Ok(Self { registry, repository, tag: tag.map(str::to_owned), digest })
    }
}

/// A host name or address and perhaps a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let name = |host: &str| {
        !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
    };
    let good = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name(host),
    };
    good && text.len() <= REGISTRY_BYTES_MAX
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// The distribution specification's name: words of lowercase letters and digits, between them
/// `.`, `_`, `__` or dashes, in components between slashes.
fn is_repository(text: &str) -> bool {
    let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let component = |text: &str| {
        let bytes = text.as_bytes();
        let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        bytes.first().is_some_and(word)
            && bytes.last().is_some_and(word)
            && separators.filter(|text| !text.is_empty()).all(|text| {
                matches!(text, "." | "_" | "__") || text.bytes().all(|byte| byte == b'-')
            })
    };
    text.len() <= REPOSITORY_BYTES_MAX && text.split('/').all(component)
}

fn is_remote_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= TAG_BYTES_MAX
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(id) => id.fmt(f),
            Self::Tag(tag) => tag.fmt(f),
            Self::Remote(remote) => remote.fmt(f),
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::ImageId => "what follows im- is not 1 to 64 characters of A-Z a-z 0-9 _ -",
            Self::Tag => {
                "a tag has words of A-Z a-z 0-9 with one of - . _ : @ + / between two of them, \
                 at most 128 characters"
            }
            Self::Registry => "it names no registry",
            Self::Repository => "it names no repository, which is in lowercase",
            Self::Digest => "what follows @ is no digest, which is sha256: and 64 digits 0-9 a-f",
        })
    }
}

impl std::error::Error for ReferenceError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_a_reference() {
        let digest = Digest::of(b"");
        let long = "x".repeat(128);
        for text in [
            "im-0aZ_-",
            "tag",
            "v1.2",
            "team/app:v1",
            "a@b+c_d-e",
            long.as_str(),
            "oci://localhost/a",
            "oci://localhost:5000/a/b-c__d.e--f:Tag_1.2-3",
            "oci://[::1]:5000/a",
            "oci://[::1]/a",
            "oci://registry.example/a:tag",
            &format!("oci://registry.example/a@{digest}"),
            &format!("oci://registry.example/a:tag@{digest}"),
        ] {
            let parsed = Reference::parse(text).map(|reference| reference.to_string());
            assert_eq!(parsed.as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_is_none() {
        use ReferenceError as E;
        let long = "x".repeat(129);
        let long_repository = format!("oci://r/{}", "x".repeat(256));
        for (text, error) in [
            ("", E::Empty),
            ("im-", E::ImageId),
            ("im-a.b", E::ImageId),
            (&long, E::Tag),
            ("../x", E::Tag),
            (".", E::Tag),
            ("a//b", E::Tag),
            ("a..b", E::Tag),
            ("a b", E::Tag),
            ("é", E::Tag),
            ("-a", E::Tag),
            ("a-", E::Tag),
            ("http://a/b", E::Tag),
            ("oci://", E::Repository),
            ("oci://host", E::Repository),
            ("oci://host/", E::Repository),
            ("oci://host/A", E::Repository),
            ("oci://host/a//b", E::Repository),
            ("oci://host/a___b", E::Repository),
            ("oci://host/a-.b", E::Repository),
            ("oci://host/../b", E::Repository),
            (&long_repository, E::Repository),
            ("oci:///a", E::Registry),
            ("oci://user@host/a", E::Registry),
            ("oci://host:0/a", E::Registry),
            ("oci://host:65536/a", E::Registry),
            ("oci://host:/a", E::Registry),
            ("oci://[::g]/a", E::Registry),
            ("oci://host/a:", E::Tag),
            ("oci://host/a:-t", E::Tag),
            ("oci://host/a@sha256:12", E::Digest),
            ("oci://host/a:t:u", E::Tag),
        ] {
            assert_eq!(Reference::parse(text), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_is_what_it_says(text in "(oci://)?[a-zA-Z0-9/:@.\\[\\]é-]{0,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(reference.to_string(), text);
            }
        }
    }
}
