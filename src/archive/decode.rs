//! Reads an archive: entry after entry, and the data of each.
//!
//! It takes what GNU tar, libarchive, Python and Docker write: ustar, GNU's long names and numbers,
//! PAX records. What describes a member is bounded in size; what is not understood is refused and
//! not guessed. An archive that stops before its end is an error: links break, and half a tree
//! must not look like a whole one.

use std::io::{self, BufReader, Read};

use tar::{EntryType, GnuExtSparseHeader, GnuHeader, Header};

use super::{
    encode::{BLOCK, XATTR, name_of_key, padding},
    entry::{Entry, Kind, Time},
    extended::Extended,
};
use crate::core::limits::{ARCHIVE_ATTACHED_BYTES_MAX, CHUNK_BYTES};

/// Why a stream cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("read the archive: {0}")]
    Read(io::Error),
    #[error("read the archive: it stops before its end")]
    Cut,
    #[error("read the archive: what came is no tar stream{0}")]
    NoArchive(&'static str),
    #[error("read the archive: {0}")]
    Malformed(&'static str),
}

/// A member that was read, or why it has to be left out.
pub(super) enum Member {
    Entry(Entry),
    /// A kind that cannot be made here: its path, and what it is.
    Unknown(Vec<u8>, &'static str),
}

/// An archive being read. The data of an entry is read before the next one, or skipped by it.
pub(super) struct Stream<R> {
    from: BufReader<R>,
    /// Data of this entry that was not read.
    data_left: u64,
    /// Zeros behind it.
    padding: usize,
    members: u64,
}

/// What stood before a member and is about it.
#[derive(Default)]
struct Attached {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    modified: Option<Time>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    sparse: bool,
    extended: Extended,
}

impl<R: Read> Stream<R> {
    pub(super) fn new(from: R) -> Self {
        let from = BufReader::with_capacity(CHUNK_BYTES, from);
        Self { from, data_left: 0, padding: 0, members: 0 }
    }

    /// The next member; `None` at the end of the archive.
    pub(super) fn next(&mut self) -> Result<Option<Member>, StreamError> {
        let mut attached = Attached::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size().map_err(|_| bad("a size is no number"))?;
            self.members += 1;
            match header.entry_type() {
                EntryType::GNULongName => attached.path = Some(self.text(size)?),
                EntryType::GNULongLink => attached.link = Some(self.text(size)?),
                EntryType::XHeader => attached.records(&self.attached(size)?)?,
                // It holds for all that follow, and has nothing that is used here.
                EntryType::XGlobalHeader => drop(self.attached(size)?),
                kind => {
                    if kind == EntryType::GNUSparse {
                        self.skip_sparse_map(&header)?;
                    }
                    self.follows(attached.size.unwrap_or(size));
                    return attached.member(&header, self.data_left).map(Some);
                }
            }
        }
    }

    /// Data of this entry that was not read.
    pub(super) fn data_left(&self) -> u64 {
        self.data_left
    }

    /// Reads data of this entry; 0 is its end. A stream that stops within it is an error.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
        let most =
            usize::try_from(self.data_left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        let count = self.some(&mut buffer[..most])?;
        if count == 0 {
            return Err(StreamError::Cut);
        }
        self.data_left -= count as u64;
        Ok(count)
    }

    /// Takes what stands behind the end of the archive, so that its writer is not cut off.
    pub(super) fn drain(&mut self) -> Result<(), StreamError> {
        let mut buffer = vec![0; CHUNK_BYTES];
        while self.some(&mut buffer)? > 0 {}
        Ok(())
    }

    fn follows(&mut self, bytes: u64) {
        self.data_left = bytes;
        self.padding = padding(bytes);
    }

    fn skip(&mut self) -> Result<(), StreamError> {
        let mut buffer = [0; 16 * BLOCK];
        while self.read(&mut buffer)? > 0 {}
        let zeros = std::mem::take(&mut self.padding);
        self.exactly(&mut buffer[..zeros])
    }

    /// The next header; `None` for the block of zeros that ends an archive.
    fn header(&mut self) -> Result<Option<Header>, StreamError> {
        let mut header = Header::new_old();
        self.exactly(header.as_mut_bytes())?;
        let bytes = header.as_bytes();
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum =
            bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte)).sum::<u32>();
        if header.cksum().is_ok_and(|said| said == sum + 8 * u32::from(b' ')) {
            return Ok(Some(header));
        }
        Err(match (self.members, &bytes[..6]) {
            (0, [0x1f, 0x8b, ..] | [b'B', b'Z', b'h', ..] | [0xfd, b'7', b'z', ..]) => {
                StreamError::NoArchive(": it is compressed, decompress it first")
            }
            (0, _) => StreamError::NoArchive(""),
            (1.., _) => bad("the checksum of a member is wrong"),
        })
    }

    /// The blocks between the header of a sparse file and its data, which its size does not count.
    fn skip_sparse_map(&mut self, header: &Header) -> Result<(), StreamError> {
        let mut map = GnuExtSparseHeader::new();
        let mut more = header.as_gnu().is_some_and(GnuHeader::is_extended);
        while more {
            self.exactly(map.as_mut_bytes())?;
            more = map.is_extended();
        }
        Ok(())
    }

    /// The text of a GNU long name.
    fn text(&mut self, size: u64) -> Result<Vec<u8>, StreamError> {
        let mut text = self.attached(size)?;
        let end = text.iter().position(|byte| *byte == 0);
        text.truncate(end.unwrap_or(text.len()));
        Ok(text)
    }

    /// All data of a member that is about the next one.
    fn attached(&mut self, size: u64) -> Result<Vec<u8>, StreamError> {
        self.follows(size);
        let length = usize::try_from(size).ok().filter(|size| *size <= ARCHIVE_ATTACHED_BYTES_MAX);
        let mut data = vec![0; length.ok_or(bad("a name or record is longer than 1 MiB"))?];
        self.exactly(&mut data)?;
        self.data_left = 0;
        Ok(data)
    }

    fn exactly(&mut self, buffer: &mut [u8]) -> Result<(), StreamError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.some(&mut buffer[filled..])? {
                0 => return Err(StreamError::Cut),
                count => filled += count,
            }
        }
        Ok(())
    }

    fn some(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
        loop {
            match self.from.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map_err(StreamError::Read),
            }
        }
    }
}

impl Attached {
    /// Takes the records of a PAX header. Each says how long it is, so that a value may hold any byte.
    fn records(&mut self, mut data: &[u8]) -> Result<(), StreamError> {
        const BAD: StreamError = bad("a PAX record is malformed");
        while !data.is_empty() {
            let blank = data.iter().position(|byte| *byte == b' ').ok_or(BAD)?;
            let length =
                std::str::from_utf8(&data[..blank]).ok().and_then(|text| text.parse().ok());
            let length: usize = length.ok_or(BAD)?;
            let record = data.get(blank + 1..length).and_then(|all| all.strip_suffix(b"\n"));
            let record = record.ok_or(BAD)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(BAD)?;
            self.record(&record[..equals], &record[equals + 1..])?;
            data = &data[length..];
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), StreamError> {
        let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
        let id = || number().and_then(|number| u32::try_from(number).ok());
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"mtime" => self.modified = Time::from_decimal(value),
            // Another size than its sender's would make data look like members.
            b"size" => self.size = Some(number().ok_or(bad("a PAX size is no number"))?),
            b"uid" => self.uid = id(),
            b"gid" => self.gid = id(),
            _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.extended.push((name_of_key(name), value.to_vec()));
                }
            }
        }
        Ok(())
    }

    fn member(self, header: &Header, size: u64) -> Result<Member, StreamError> {
        let path = self.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let number = |number: io::Result<u64>| number.ok().and_then(|id| u32::try_from(id).ok());
        let link = || self.link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let device = || {
            let major = header.device_major().ok().flatten().unwrap_or(0);
            (major, header.device_minor().ok().flatten().unwrap_or(0))
        };
        let kind = match header.entry_type() {
            _ if self.sparse => return Ok(Member::Unknown(path, "a sparse file in GNU's way")),
            // Before POSIX, a directory was a file whose name ends so.
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::File(size),
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(link().unwrap_or_default()),
            EntryType::Link => Kind::Hardlink(link().unwrap_or_default()),
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char => Kind::CharacterDevice(device().0, device().1),
            EntryType::Block => Kind::BlockDevice(device().0, device().1),
            EntryType::GNUSparse => {
                return Ok(Member::Unknown(path, "a sparse file in GNU's way"));
            }
            _ => return Ok(Member::Unknown(path, "of a kind that is not known")),
        };
        let seconds = header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok());
        let plain = Time { seconds: seconds.unwrap_or(0), nanoseconds: 0 };
        Ok(Member::Entry(Entry {
            path,
            kind,
            mode: header.mode().map_err(|_| bad("a mode is no number"))? & 0o7777,
            uid: self.uid.or_else(|| number(header.uid())).unwrap_or(0),
            gid: self.gid.or_else(|| number(header.gid())).unwrap_or(0),
            modified: self.modified.unwrap_or(plain),
            extended: self.extended,
        }))
    }
}

const fn bad(what: &'static str) -> StreamError {
    StreamError::Malformed(what)
}
