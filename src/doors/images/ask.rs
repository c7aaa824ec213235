//! What requests about images say, as values that are valid. Both doors ask here, so that they
//! refuse alike.

use std::{fmt::Display, time::SystemTime};

use tonic::Status;

use crate::{
    core::{
        failure::Kind,
        ids::ExecId,
        image::{Reference, Remote, Tag, Ttl},
        mounts::{BadPath, MountPath},
    },
    doors::status::status,
    image::{
        crypt::Key,
        images::{Form, Packing, Subject},
    },
    wire::doorward::v1 as wire,
};

/// An image, however it is named.
pub(in crate::doors) fn reference(text: &str) -> Result<Reference, Status> {
    Reference::parse(text).map_err(|error| invalid(format_args!("image {text:?}: {error}")))
}

/// An image to mount; empty is an empty directory.
pub(in crate::doors) fn mountable(text: &str) -> Result<Option<Reference>, Status> {
    if text.is_empty() { Ok(None) } else { reference(text).map(Some) }
}

/// A place in a registry.
pub(super) fn remote(text: &str) -> Result<Remote, Status> {
    match reference(text)? {
        Reference::Remote(remote) => Ok(remote),
        Reference::Image(_) | Reference::Tag(_) => Err(invalid(format_args!(
            "{text:?} is no place in a registry: oci://registry/repository"
        ))),
    }
}

/// Where something is mounted.
pub(in crate::doors) fn mount_path(path: &[u8]) -> Result<Vec<u8>, Status> {
    MountPath::parse(path).map_err(invalid)?;
    Ok(path.to_vec())
}

/// A directory that becomes an image: absolute, and not all there is.
pub(in crate::doors) fn directory(path: &[u8]) -> Result<Subject, Status> {
    match MountPath::parse(path) {
        Ok(_) => Ok(Subject::Directory(path.to_vec())),
        Err(BadPath::Root) => Err(invalid(
            "the root directory is no directory to snapshot; the whole file system is a request \
             of its own",
        )),
        Err(error) => Err(invalid(error)),
    }
}

/// A key, if there is one. No refusal repeats it.
pub(in crate::doors) fn key(bytes: Option<&[u8]>) -> Result<Option<Key>, Status> {
    let parsed = bytes.map(|bytes| Key::parse(bytes).map_err(invalid));
    parsed.transpose()
}

/// The same, where empty is none.
pub(super) fn key_or_none(bytes: &[u8]) -> Result<Option<Key>, Status> {
    key(Some(bytes).filter(|bytes| !bytes.is_empty()))
}

/// How long an image is kept.
pub(in crate::doors) fn ttl(seconds: Option<i64>) -> Result<Ttl, Status> {
    Ttl::parse(seconds, SystemTime::now()).map_err(invalid)
}

/// A tag, if there is one.
pub(super) fn tag(text: &str) -> Result<Option<Tag>, Status> {
    let parsed = (!text.is_empty())
        .then(|| Tag::parse(text).map_err(|error| invalid(format_args!("tag {text:?}: {error}"))));
    parsed.transpose()
}

/// What repeats of a snapshot have in common, if there may be any. It is written as ids of execs are.
pub(in crate::doors) fn snapshot_id(text: String) -> Result<Option<String>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    match ExecId::parse(&text) {
        Ok(_) => Ok(Some(text)),
        Err(_) => Err(invalid(format_args!(
            "snapshot_id {text:?} is not 1 to 128 characters of A-Z a-z 0-9 . _ -"
        ))),
    }
}

/// How a layer is compressed, if somebody says so.
pub(super) fn packing(compression: i32) -> Result<Option<Packing>, Status> {
    match wire::Compression::try_from(compression) {
        Ok(wire::Compression::Unspecified) => Ok(None),
        Ok(wire::Compression::Zstd) => Ok(Some(Packing::Zstd)),
        Ok(wire::Compression::Gzip) => Ok(Some(Packing::Gzip)),
        Ok(wire::Compression::None) => Ok(Some(Packing::Plain)),
        Err(_) => Err(invalid(format_args!("compression {compression} is none that is known"))),
    }
}

/// The form of an archive.
pub(super) fn form(format: i32) -> Result<Form, Status> {
    match wire::ArchiveFormat::try_from(format) {
        Ok(wire::ArchiveFormat::Unspecified | wire::ArchiveFormat::Oci) => Ok(Form::Oci),
        Ok(wire::ArchiveFormat::Docker) => Ok(Form::Docker),
        Err(_) => Err(invalid(format_args!("format {format} is none that is known"))),
    }
}

/// A request that can never be carried out.
pub(in crate::doors) fn invalid(message: impl Display) -> Status {
    status(Kind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::core::limits::MOUNT_PATH_BYTES_MAX;

    #[test]
    fn directories() {
        for good in [&b"/a"[..], b"/a/", b"//a", b"/./a", b"/a/..", b"/...", b"/\xff"] {
            assert_eq!(directory(good).unwrap(), Subject::Directory(good.to_vec()));
        }
        let long = [&b"/"[..], &[b'x'; MOUNT_PATH_BYTES_MAX]].concat();
        for bad in [&b""[..], b"a", b"./a", b"/", b"//", b"/.", b"/..", b"/a\0", &long] {
            assert_eq!(directory(bad).unwrap_err().code(), Code::InvalidArgument, "{bad:?}");
        }
    }

    #[test]
    fn a_key_is_refused_without_being_told() {
        assert!(key(None).unwrap().is_none() && key_or_none(b"").unwrap().is_none());
        assert!(key(Some(b"")).is_err());
        for (length, good) in [(15, false), (16, true), (512, true), (513, false)] {
            match key(Some(&vec![b'k'; length])) {
                Ok(key) => assert!(good && key.is_some()),
                Err(refused) => {
                    assert!(!good && !refused.message().contains("kk"), "{refused:?}");
                    assert_eq!(refused.code(), Code::InvalidArgument);
                }
            }
        }
    }

    #[test]
    fn names_of_images() {
        assert!(mountable("").unwrap().is_none());
        assert!(matches!(mountable("im-a").unwrap(), Some(Reference::Image(_))));
        assert!(matches!(mountable("oci://r/a").unwrap(), Some(Reference::Remote(_))));
        assert!(reference("").is_err() && reference("im-").is_err() && reference("a b").is_err());
        assert!(remote("oci://r/a:b").is_ok() && remote("im-a").is_err() && remote("a").is_err());
        assert!(snapshot_id(String::new()).unwrap().is_none());
        assert!(snapshot_id("a/b".into()).is_err() && snapshot_id("x".repeat(129)).is_err());
        assert!(snapshot_id("x".repeat(128)).unwrap().is_some());
    }
}
