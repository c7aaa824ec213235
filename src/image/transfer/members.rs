//! The members of a tar archive that holds an image: files with plain names, and links between them.
//!
//! Nothing here becomes a path. Of the extensions only those are read that such archives have: long
//! names and sizes beyond eight gigabytes.

use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};

use super::TransferError;
use crate::core::limits::ARCHIVE_ATTACHED_BYTES_MAX;

/// An archive that is being read.
pub(super) struct Members<R> {
    inner: R,
    /// Bytes of the member's data that were not read.
    left: u64,
    /// Bytes behind them up to a whole block.
    padding: u64,
}

/// What comes next in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// Its path, without `.` and `..`.
    pub(super) name: String,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file; its data is what [`Members`] reads now.
    File,
    /// Another name for the member that is called so.
    Link(String),
    /// A directory, or what such an archive does not have.
    Other,
}

const BLOCK: u64 = 512;

/// What members before it say of one.
#[derive(Default)]
struct Said {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl<R: Read> Members<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, left: 0, padding: 0 }
    }

    /// What it reads from.
    pub(super) fn into_inner(self) -> R {
        self.inner
    }

    /// Goes on to the next member, past what was not read of the last one.
    pub(super) fn next(&mut self) -> Result<Option<Member>, TransferError> {
        let mut said = Said::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size().map_err(|error| strange(&error.to_string()))?;
            self.expect(size)?;
            match header.entry_type() {
                EntryType::XHeader => said.pax(&self.attached(size)?)?,
                EntryType::GNULongName => said.name = Some(text(&self.attached(size)?)?),
                EntryType::GNULongLink => said.link = Some(text(&self.attached(size)?)?),
                EntryType::XGlobalHeader => {}
                _ => return self.member(&header, said).map(Some),
            }
        }
    }

    fn member(&mut self, header: &Header, said: Said) -> Result<Member, TransferError> {
        if let Some(size) = said.size {
            self.expect(size)?;
        }
        let name = match said.name {
            Some(name) => name,
            None => text(&header.path_bytes())?,
        };
        let link = |said: Option<String>| match said {
            Some(link) => Ok(link),
            None => text(&header.link_name_bytes().unwrap_or_default()),
        };
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Link => Kind::Link(plain("", &link(said.link)?)),
            EntryType::Symlink => Kind::Link(plain(parent(&name), &link(said.link)?)),
            _ => Kind::Other,
        };
        Ok(Member { name: plain("", &name), kind })
    }

    /// The next header; `None` at the end.
    fn header(&mut self) -> Result<Option<Header>, TransferError> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < block.len() {
            match self.inner.read(&mut block[filled..]) {
                // Some writers leave the end out.
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(cut()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TransferError::Read(error)),
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum = block.iter().enumerate().map(|(at, byte)| match at {
            148..156 => u32::from(b' '),
            _ => u32::from(*byte),
        });
        let sum: u32 = sum.sum();
        match header.cksum() {
            Ok(said) if said == sum => Ok(Some(header)),
            _ => Err(strange("it is no tar archive, or damaged")),
        }
    }

    fn expect(&mut self, size: u64) -> Result<(), TransferError> {
        let whole = size.checked_next_multiple_of(BLOCK);
        let whole =
            whole.ok_or_else(|| strange("a member says that it is larger than it can be"))?;
        (self.left, self.padding) = (size, whole - size);
        Ok(())
    }

    /// The data of a member that says something about the next one.
    fn attached(&mut self, size: u64) -> Result<Vec<u8>, TransferError> {
        if size > ARCHIVE_ATTACHED_BYTES_MAX as u64 {
            return Err(strange("a name is longer than a mebibyte"));
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(TransferError::Read)?;
        Ok(bytes)
    }

    fn skip(&mut self) -> Result<(), TransferError> {
        let behind = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut (&mut self.inner).take(behind), &mut io::sink());
        if skipped.map_err(TransferError::Read)? < behind {
            return Err(cut());
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&mut self.inner).take(self.left).read(buffer)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

impl Said {
    fn pax(&mut self, records: &[u8]) -> Result<(), TransferError> {
        for record in PaxExtensions::new(records) {
            let record = record.map_err(|error| strange(&error.to_string()))?;
            let value = || text(record.value_bytes());
            match record.key_bytes() {
                b"path" => self.name = Some(value()?),
                b"linkpath" => self.link = Some(value()?),
                b"size" => {
                    let size = value()?.parse().map_err(|_| strange("a size is no number"))?;
                    self.size = Some(size);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A path from the archive's top, by its letters.
fn plain(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let directory = if path.starts_with('/') { "" } else { directory };
    for part in directory.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn text(bytes: &[u8]) -> Result<String, TransferError> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| strange("a name is not UTF-8"))?;
    Ok(text.to_owned())
}

fn strange(what: &str) -> TransferError {
    TransferError::Archive { what: what.to_owned() }
}

fn cut() -> TransferError {
    TransferError::Read(io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_within_the_archive() {
        for (directory, path, whole) in [
            ("", "./a//b/", "a/b"),
            ("", "/a", "a"),
            ("a", "../b/layer.tar", "b/layer.tar"),
            ("a", "../../../b", "b"),
            ("a", "/b", "b"),
            ("", "", ""),
        ] {
            assert_eq!(plain(directory, path), whole, "{directory:?} {path:?}");
        }
    }
}
