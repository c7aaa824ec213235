//! Where images are, and what they are called there, as an operator or a caller writes it.

use std::fmt;

use super::{Digest, ImageId, Reference, ReferenceError, Remote as InRegistry};
use crate::core::limits::{BUCKET_PREFIX_BYTES_MAX, REGISTRY_BYTES_MAX};

/// A place for images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// `oci://registry[:port]/repository`, or `oci+http://…` without TLS.
    Registry(RegistryPlace),
    /// `s3://bucket[/prefix]`.
    Bucket(BucketPlace),
}

/// A repository in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryPlace {
    /// Host and, perhaps, port.
    pub registry: String,
    /// The path within the registry.
    pub repository: String,
    /// How it is spoken to.
    pub transport: Transport,
}

/// How a registry is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In TLS.
    Tls,
    /// In TLS, or without where the other side has none, but then never with a password: it is on this
    /// machine, where anybody may listen.
    Loopback,
    /// Without TLS: the operator wrote so.
    Plain,
}

/// A part of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketPlace {
    /// The bucket.
    pub bucket: String,
    /// Without slashes at its ends; empty for all of the bucket.
    pub prefix: String,
}

/// What an image is called at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// An image of ours. In a registry its id is a tag; whatever has it is never overwritten.
    Image(ImageId),
    /// A registry's tag.
    Tag(RemoteTag),
    /// Whatever its manifest, or its index, hashes to.
    Digest(Digest),
}

/// A tag as registries have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteTag(String);

/// Why a text is no [`Location`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocationError {
    /// It begins with no scheme that is known.
    Scheme,
    /// What follows `oci://` is no repository in a registry.
    Registry(ReferenceError),
    /// It has a tag or a digest, which belong to one image.
    Tagged,
    /// What follows `s3://` is no name of a bucket.
    Bucket,
    /// What follows the bucket is no prefix: words of letters, digits and `-_.`, between slashes.
    Prefix,
}

const PLAIN: &str = "oci+http://";
const TLS: &str = "oci://";
const S3: &str = "s3://";

impl Location {
    /// Takes a location as an operator wrote it.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        if let Some(rest) = text.strip_prefix(S3) {
            return BucketPlace::parse(rest).map(Self::Bucket);
        }
        let (location, name) = Self::of_image(text)?;
        match name {
            None => Ok(location),
            Some(_) => Err(LocationError::Tagged),
        }
    }

    /// Takes one image in a registry as a caller wrote it: where it is and, if it says so, what it is
    /// called. A digest says more than a tag, which is then left out.
    pub fn of_image(text: &str) -> Result<(Self, Option<Name>), LocationError> {
        let (rest, plain) = match (text.strip_prefix(PLAIN), text.strip_prefix(TLS)) {
            (Some(rest), _) => (rest, true),
            (None, Some(rest)) => (rest, false),
            (None, None) => return Err(LocationError::Scheme),
        };
        let remote = match Reference::parse(&format!("{TLS}{rest}")) {
            Ok(Reference::Remote(remote)) => remote,
            Ok(_) => return Err(LocationError::Scheme),
            Err(error) => return Err(LocationError::Registry(error)),
        };
        let name = Name::of(&remote);
        let transport = match plain {
            true => Transport::Plain,
            false if is_loopback(&remote.registry) => Transport::Loopback,
            false => Transport::Tls,
        };
        let InRegistry { registry, repository, .. } = remote;
        Ok((Self::Registry(RegistryPlace { registry, repository, transport }), name))
    }
}

impl RegistryPlace {
    /// Whom to connect to. Docker's own registry is called otherwise than where it is.
    pub fn host(&self) -> &str {
        match self.registry.as_str() {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            other => other,
        }
    }
}

impl Name {
    fn of(remote: &InRegistry) -> Option<Self> {
        match (&remote.digest, &remote.tag) {
            (Some(digest), _) => Some(Self::Digest(*digest)),
            (None, Some(tag)) => Some(match ImageId::parse(tag) {
                Ok(id) => Self::Image(id),
                Err(_) => Self::Tag(RemoteTag(tag.clone())),
            }),
            (None, None) => None,
        }
    }
}

impl RemoteTag {
    /// What a registry takes for the tag if nobody says one.
    pub fn latest() -> Self {
        Self("latest".into())
    }

    /// Takes a tag as a caller wrote it.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        match Reference::parse(&format!("{TLS}registry/repository:{text}")) {
            Ok(Reference::Remote(InRegistry { tag: Some(tag), digest: None, .. })) => Ok(Self(tag)),
            _ => Err(ReferenceError::Tag),
        }
    }
}

impl BucketPlace {
    fn parse(text: &str) -> Result<Self, LocationError> {
        let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let good = (3..=63).contains(&bucket.len())
            && bucket.bytes().all(|b| letter(b) || matches!(b, b'.' | b'-'))
            && bucket.bytes().next().is_some_and(letter)
            && bucket.bytes().last().is_some_and(letter)
            && !bucket.contains("..");
        if !good {
            return Err(LocationError::Bucket);
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let word = |word: &str| {
            !matches!(word, "" | "." | "..")
                && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        let good = prefix.is_empty() || prefix.split('/').all(word);
        match good && prefix.len() <= BUCKET_PREFIX_BYTES_MAX {
            true => Ok(Self { bucket: bucket.into(), prefix: prefix.into() }),
            false => Err(LocationError::Prefix),
        }
    }
}

/// Whether a registry is on this machine by what it is called, whatever names stand for.
fn is_loopback(registry: &str) -> bool {
    debug_assert!(registry.len() <= REGISTRY_BYTES_MAX);
    let host = match registry.rsplit_once(':') {
        Some((host, _)) if !registry.ends_with(']') => host,
        _ => registry,
    };
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(place) => place.fmt(f),
            Self::Bucket(place) => place.fmt(f),
        }
    }
}

impl fmt::Display for RegistryPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            Transport::Tls | Transport::Loopback => TLS,
            Transport::Plain => PLAIN,
        };
        write!(f, "{scheme}{}/{}", self.registry, self.repository)
    }
}

impl fmt::Display for BucketPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix.as_str() {
            "" => write!(f, "{S3}{}", self.bucket),
            prefix => write!(f, "{S3}{}/{prefix}", self.bucket),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(id) => id.fmt(f),
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl fmt::Display for RemoteTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for LocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => f.write_str("it begins with none of oci://, oci+http://, s3://"),
            Self::Registry(error) => error.fmt(f),
            Self::Tagged => f.write_str("it has a tag or a digest; a place for images has none"),
            Self::Bucket => f.write_str(
                "a bucket's name has 3 to 63 characters of a-z 0-9 . - and begins and ends with a \
                 letter or digit",
            ),
            Self::Prefix => f.write_str(
                "the prefix in a bucket has words of A-Z a-z 0-9 - _ . between slashes, at most \
                 512 characters",
            ),
        }
    }
}

impl std::error::Error for LocationError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_location() {
        for (text, transport) in [
            ("oci://registry.example/team/images", Transport::Tls),
            ("oci://127.0.0.1.example:5000/a", Transport::Tls),
            ("oci://localhost:5000/a", Transport::Loopback),
            ("oci://127.0.0.1:5000/a", Transport::Loopback),
            ("oci://[::1]/a", Transport::Loopback),
            ("oci+http://registry.example/a", Transport::Plain),
        ] {
            let location = Location::parse(text).unwrap();
            assert_eq!(location.to_string(), text);
            let Location::Registry(place) = location else { panic!("{text}") };
            assert_eq!(place.transport, transport, "{text}");
        }
        for text in ["s3://abc", "s3://a.b-c/images", "s3://bucket/a/b_c/d.e"] {
            assert_eq!(Location::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Location::parse("s3://abc/").unwrap().to_string(), "s3://abc");
    }

    #[test]
    fn what_is_none() {
        use LocationError as E;
        let long = format!("s3://abc/{}", "x".repeat(BUCKET_PREFIX_BYTES_MAX + 1));
        for (text, error) in [
            ("", E::Scheme),
            ("http://a/b", E::Scheme),
            ("oci+https://a/b", E::Scheme),
            ("oci://a", E::Registry(ReferenceError::Repository)),
            ("oci://user:secret@a/b", E::Registry(ReferenceError::Registry)),
            ("oci://a/b:tag", E::Tagged),
            ("s3://", E::Bucket),
            ("s3://ab", E::Bucket),
            ("s3://Abc", E::Bucket),
            ("s3://a..b", E::Bucket),
            ("s3://key:secret@bucket", E::Bucket),
            ("s3://abc/../x", E::Prefix),
            ("s3://abc//x", E::Prefix),
            ("s3://abc/x?y", E::Prefix),
            (&long, E::Prefix),
        ] {
            assert_eq!(Location::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn an_image_has_a_name_where_it_is() {
        let digest = Digest::of(b"");
        let name = |rest: &str| Location::of_image(&format!("oci://r/a{rest}")).unwrap().1;
        assert_eq!(name(""), None);
        assert_eq!(name(":v1"), Some(Name::Tag(RemoteTag("v1".into()))));
        assert_eq!(name(":im-x"), Some(Name::Image(ImageId::parse("im-x").unwrap())));
        assert_eq!(name(&format!(":v1@{digest}")), Some(Name::Digest(digest)));
        assert_eq!(RemoteTag::parse("v1"), Ok(RemoteTag("v1".into())));
        for bad in ["", "a/b", "a@b", "..", "a:b", &format!("a@{digest}")] {
            assert_eq!(RemoteTag::parse(bad), Err(ReferenceError::Tag), "{bad:?}");
        }
    }
}
