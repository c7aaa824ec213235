//! What the arguments of several commands about images mean.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Read,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser},
};

use crate::{
    cli::{
        progress::{Entries, Line, Progress},
        show::{human, table::Room},
        terminal,
    },
    core::{
        limits::{IMAGE_KEY_BYTES_MAX, IMAGE_KEY_BYTES_MIN, IMAGE_TAG_BYTES_MAX},
        units,
    },
};

/// What every such command's help says of its exit code.
pub(super) const EXIT_HELP: &str = "Exit code: 0; 1 if there is no such image or mount, or its state forbids it; 125 if the \
     agent could not be asked or could not do it.";

/// What stands in the help of commands that take their time.
pub(super) const STOPPED_HELP: &str = "128+n if signal n ended this command.";

/// What an image's entries are called.
const ENTRIES: Entries = Entries { one: "entry", many: "entries" };

/// An absolute path in the container.
#[derive(Debug, Clone)]
pub(super) struct ContainerPath(OsString);

impl ContainerPath {
    /// Reads one; a relative one would be relative to nothing that both sides know.
    pub(super) fn parser() -> impl TypedValueParser<Value = Self> {
        OsStringValueParser::new().try_map(Self::parse)
    }

    fn parse(text: OsString) -> Result<Self, String> {
        match text.as_bytes() {
            [b'/', ..] => Ok(Self(text)),
            _ => {
                Err("it is a path in the container, which has to be absolute: it begins with /"
                    .into())
            }
        }
    }

    /// As the wire has it.
    pub(super) fn bytes(&self) -> Bytes {
        self.0.clone().into_vec().into()
    }

    /// As people read it.
    pub(super) fn shown(&self) -> String {
        human::path(self.0.as_bytes())
    }
}

/// Whether a command says how far it is.
#[derive(Args, Debug, Clone, Copy)]
pub(super) struct Quiet {
    /// Say nothing but what went wrong
    #[arg(short, long)]
    quiet: bool,
}

impl Quiet {
    /// Where the command says it.
    pub(super) fn progress(self) -> Progress {
        Progress::new(if self.quiet { Line::Never } else { Line::OnTerminals }, ENTRIES)
    }
}

/// Whether a table fits the terminal.
#[derive(Args, Debug, Clone, Copy)]
pub(super) struct Width {
    /// Do not cut lines to the width of the terminal
    #[arg(long)]
    no_trunc: bool,
}

impl Width {
    /// How much of a line there is.
    pub(super) fn room(self) -> Room {
        match terminal::columns() {
            Some(columns) if !self.no_trunc => Room::Columns(columns),
            Some(_) | None => Room::Unbounded,
        }
    }
}

/// The key of a sealed image.
#[derive(Args, Debug, Clone)]
pub(super) struct KeyFile {
    /// A file whose 16 to 512 bytes, all of them, are the key that the image is sealed with
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl KeyFile {
    /// Reads it; no bytes where none was named.
    pub(super) fn read(&self) -> anyhow::Result<Bytes> {
        key(self.key_file.as_deref())
    }
}

/// Reads a key, if there is one. Never more of a file than a key may have.
pub(super) fn key(file: Option<&Path>) -> anyhow::Result<Bytes> {
    let Some(path) = file else { return Ok(Bytes::new()) };
    let what = || format!("read the key in {path:?}");
    let (mut key, max) = (Vec::new(), IMAGE_KEY_BYTES_MAX);
    let file = File::open(path).with_context(what)?;
    file.take(max as u64 + 1).read_to_end(&mut key).with_context(what)?;
    match key.len() {
        IMAGE_KEY_BYTES_MIN..=IMAGE_KEY_BYTES_MAX => Ok(key.into()),
        length if length > max => bail!("{}: it has more than {max} bytes", what()),
        length => bail!("{}: it has {length} bytes and needs {IMAGE_KEY_BYTES_MIN}", what()),
    }
}

/// How long an image is kept: `never`, or a time of whole seconds.
pub(super) fn ttl(text: &str) -> Result<i64, String> {
    if text == "never" {
        return Ok(-1);
    }
    let time = units::duration(text).map_err(|error| format!("it is not never, and {error}"))?;
    match i64::try_from(time.as_secs()) {
        Ok(seconds @ 1..) if time.subsec_nanos() == 0 => Ok(seconds),
        Ok(_) | Err(_) => Err("it has to be whole seconds, one at least, or never".into()),
    }
}

/// A tag, as the contract has it.
pub(super) fn tag(text: &str) -> Result<String, String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let good = (1..=IMAGE_TAG_BYTES_MAX).contains(&text.len())
        && text.chars().all(known)
        && !text.starts_with(['.', '-'])
        && !text.starts_with("im-");
    match good {
        true => Ok(text.to_string()),
        false => Err(format!(
            "a tag is 1 to {IMAGE_TAG_BYTES_MAX} of the characters A-Z a-z 0-9 _ . -, begins with neither . nor -, \
             and not with im-"
        )),
    }
}

/// A place in a registry.
pub(super) fn remote(text: &str) -> Result<String, String> {
    match text.strip_prefix("oci://").and_then(|rest| rest.split_once('/')) {
        Some((registry, repository)) if !registry.is_empty() && !repository.is_empty() => {
            Ok(text.to_string())
        }
        Some(_) | None => Err("it is written oci://registry/repository:tag".into()),
    }
}

/// The name of an image: an id, a tag or a digest. Which of them it is, the agent decides.
pub(super) fn image() -> impl TypedValueParser<Value = String> {
    clap::builder::NonEmptyStringValueParser::new()
}

/// Whether standard input or output was meant.
pub(super) fn is_stream(path: &OsStr) -> bool {
    path == "-"
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn times_to_keep() {
        for (text, seconds) in [("never", -1), ("30d", 30 * 86_400), ("1", 1), ("2000ms", 2)] {
            assert_eq!(ttl(text), Ok(seconds), "{text}");
        }
        for text in ["", "0", "-1", "500ms", "1500ms", "Never", "3 weeks"] {
            assert!(ttl(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tags() {
        let longest = "a".repeat(IMAGE_TAG_BYTES_MAX);
        for text in ["base", "1.2-rc_3", "_x", "im", "image-1", &longest] {
            assert_eq!(tag(text).as_deref(), Ok(text));
        }
        let longer = format!("{longest}a");
        for text in ["", ".x", "-x", "im-1", "a/b", "a:b", "\u{e4}", "a b", &longer] {
            assert!(tag(text).is_err(), "{text}");
        }
    }

    #[test]
    fn places_in_registries() {
        for text in ["oci://localhost:5000/x", "oci://a/b/c:tag@sha256:00"] {
            assert_eq!(remote(text).as_deref(), Ok(text));
        }
        for text in ["", "a/b", "oci://", "oci://a", "oci:///a", "oci://a/", "docker://a/b"] {
            assert!(remote(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_have_bounds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let with = |length: usize| {
            fs::write(&path, vec![7; length]).unwrap();
            key(Some(&path))
        };
        assert_eq!(key(None).unwrap(), "");
        assert_eq!(with(16).unwrap(), vec![7; 16]);
        assert_eq!(with(512).unwrap().len(), 512);
        let error = |length| with(length).unwrap_err().to_string();
        assert!(error(15).ends_with("/key\": it has 15 bytes and needs 16"), "{}", error(15));
        assert!(error(513).ends_with("/key\": it has more than 512 bytes"), "{}", error(513));
        assert!(key(Some(Path::new("/dev/zero"))).is_err());
        let missing = format!("{:#}", key(Some(Path::new("/nonexistent"))).unwrap_err());
        assert!(missing.starts_with("read the key in \"/nonexistent\": No such file"), "{missing}");
    }
}
