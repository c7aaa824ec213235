//! Reads an archive: entry after entry, and the data of each.
//!
//! It takes what GNU tar, libarchive, Python, Go and Docker write: ustar, GNU's long names, numbers and
//! sparse files, PAX records. What describes a member is bounded in size; what is not understood is
//! refused and not guessed. An archive that stops before its end is an error: links break, and half a
//! tree must not look like a whole one.

use std::io::{self, BufRead, BufReader, Read};

use tar::{EntryType, GnuExtSparseHeader, Header};

use super::{
    attached::Attached,
    encode::{BLOCK, padding},
    entry::{Entry, Sparse},
    sparse::Numbers,
};
use crate::core::limits::{ARCHIVE_ATTACHED_BYTES_MAX, ARCHIVE_EXTENTS_MAX, CHUNK_BYTES};

/// Why a stream cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
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
pub(crate) enum Member {
    Entry(Entry),
    /// A kind that cannot be made here: its path, and what it is.
    Unknown(Vec<u8>, &'static str),
}

/// An archive being read. The data of an entry is read before the next one, or skipped by it.
pub(crate) struct Stream<R> {
    from: R,
    /// Data of this entry that was not read.
    data_left: u64,
    /// Zeros behind it.
    padding: usize,
    members: u64,
}

/// Where the map of a sparse file stands.
pub(super) enum Map {
    /// The file has none: it is not sparse.
    Nowhere,
    /// In its header, and in blocks behind that: the oldest way.
    Header,
    /// In its PAX records.
    Records(Sparse),
    /// Before its data; this is the file's size.
    Data(u64),
}

impl<R: Read> Stream<BufReader<R>> {
    pub(crate) fn new(from: R) -> Self {
        Self::over(BufReader::with_capacity(CHUNK_BYTES, from))
    }
}

impl<R: BufRead> Stream<R> {
    /// Reads from something that has its own buffer.
    pub(crate) fn over(from: R) -> Self {
        Self { from, data_left: 0, padding: 0, members: 0 }
    }

    /// The next member; `None` at the end of the archive.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, StreamError> {
        let mut attached = Attached::default();
        let mut room = ARCHIVE_ATTACHED_BYTES_MAX;
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size().ok().filter(|size| *size <= SIZE_MAX);
            let size = size.ok_or(bad("a size is no number"))?;
            self.members += 1;
            match header.entry_type() {
                EntryType::GNULongName => attached.path = Some(self.text(size, &mut room)?),
                EntryType::GNULongLink => attached.link = Some(self.text(size, &mut room)?),
                EntryType::XHeader => attached.records(&self.attached(size, &mut room)?)?,
                // It holds for all that follow, and has nothing that is used here.
                EntryType::XGlobalHeader => drop(self.attached(size, &mut room)?),
                kind => {
                    let size = if has_data(kind) { attached.size.unwrap_or(size) } else { 0 };
                    let map = attached.map(kind)?;
                    let sparse = self.sparse(map, &header, size)?;
                    return attached.member(&header, self.data_left, sparse).map(Some);
                }
            }
        }
    }

    /// Data of this entry that was not read.
    pub(crate) fn data_left(&self) -> u64 {
        self.data_left
    }

    /// Reads data of this entry; 0 is its end. A stream that stops within it is an error.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
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

    /// Data of this entry as it lies in the buffer, to be taken with [`Stream::consume`]; none is its
    /// end.
    pub(crate) fn data(&mut self) -> Result<&[u8], StreamError> {
        if self.data_left == 0 {
            return Ok(&[]);
        }
        loop {
            match self.from.fill_buf() {
                Ok([]) => return Err(StreamError::Cut),
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StreamError::Read(error)),
            }
        }
        let there = self.from.fill_buf().map_err(StreamError::Read)?;
        let most = usize::try_from(self.data_left).unwrap_or(usize::MAX);
        Ok(&there[..there.len().min(most)])
    }

    /// Takes so many bytes of what [`Stream::data`] gave.
    pub(crate) fn consume(&mut self, count: usize) {
        self.from.consume(count);
        self.data_left -= count as u64;
    }

    /// Takes what stands behind the end of the archive, so that its writer is not cut off.
    pub(crate) fn drain(&mut self) -> Result<(), StreamError> {
        let mut buffer = vec![0; CHUNK_BYTES];
        while self.some(&mut buffer)? > 0 {}
        Ok(())
    }

    fn follows(&mut self, bytes: u64) {
        self.data_left = bytes;
        self.padding = padding(bytes);
    }

    fn skip(&mut self) -> Result<(), StreamError> {
        while self.data_left > 0 {
            let count = self.data()?.len();
            self.consume(count);
        }
        let mut zeros = [0; BLOCK];
        let padding = std::mem::take(&mut self.padding);
        self.exactly(&mut zeros[..padding])
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

    /// What is told of the holes of a file with `stored` bytes, whose data is next afterwards.
    fn sparse(
        &mut self,
        map: Map,
        header: &Header,
        stored: u64,
    ) -> Result<Option<Sparse>, StreamError> {
        let (size, extents) = match map {
            Map::Nowhere => {
                self.follows(stored);
                return Ok(None);
            }
            Map::Records(Sparse { size, extents }) => {
                self.follows(stored);
                (size, extents)
            }
            Map::Header => {
                // Its blocks are not counted by the size.
                let map = self.old_map(header)?;
                self.follows(stored);
                map
            }
            Map::Data(size) => {
                self.follows(stored);
                (size, self.map_before_data()?)
            }
        };
        Sparse::checked(size, extents, self.data_left).map(Some).map_err(bad)
    }

    /// The map that begins in the header: the file's size, and its extents.
    fn old_map(&mut self, header: &Header) -> Result<(u64, Vec<(u64, u64)>), StreamError> {
        const BAD: StreamError = bad("the map of a sparse file is malformed");
        let gnu = header.as_gnu().ok_or(BAD)?;
        let size = gnu.real_size().map_err(|_| BAD)?;
        let mut extents = Vec::new();
        let mut add = |all: &[tar::GnuSparseHeader]| {
            for one in all.iter().filter(|one| !one.is_empty()) {
                let offset = one.offset().map_err(|_| BAD)?;
                extents.push((offset, one.length().map_err(|_| BAD)?));
            }
            if extents.len() > ARCHIVE_EXTENTS_MAX { Err(BAD) } else { Ok(()) }
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut map = GnuExtSparseHeader::new();
            self.exactly(map.as_mut_bytes())?;
            add(&map.sparse)?;
            more = map.is_extended();
        }
        Ok((size, extents))
    }

    /// The map that stands before the data and is counted with it: how many extents, then offset
    /// and length of each, one number a line; zeros to the end of the block.
    fn map_before_data(&mut self) -> Result<Vec<(u64, u64)>, StreamError> {
        let mut numbers = Numbers::default();
        let mut block = [0; BLOCK];
        while !numbers.are_complete() {
            let mut filled = 0;
            while filled < BLOCK {
                match self.read(&mut block[filled..])? {
                    0 => return Err(bad("the map of a sparse file has no end")),
                    count => filled += count,
                }
            }
            numbers.add(&block).map_err(bad)?;
        }
        Ok(numbers.extents())
    }

    /// The text of a GNU long name.
    fn text(&mut self, size: u64, room: &mut usize) -> Result<Vec<u8>, StreamError> {
        let mut text = self.attached(size, room)?;
        let end = text.iter().position(|byte| *byte == 0);
        text.truncate(end.unwrap_or(text.len()));
        Ok(text)
    }

    /// All data of a member that is about the next one, for which there is so much room left.
    fn attached(&mut self, size: u64, room: &mut usize) -> Result<Vec<u8>, StreamError> {
        self.follows(size);
        let length = usize::try_from(size).ok().filter(|size| size <= room);
        let length = length.ok_or(bad("a name or record is longer than 1 MiB"))?;
        *room -= length;
        let mut data = vec![0; length];
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

/// The largest size of a member, in bytes: what a file can have. Larger ones are negative numbers.
const SIZE_MAX: u64 = i64::MAX as u64;

/// Whether data follows the header of such a member. For the others a size says nothing: some writers
/// repeat that of the file which a link leads to.
fn has_data(kind: EntryType) -> bool {
    use EntryType::{Block, Char, Directory, Fifo, Link, Symlink};
    ![Link, Symlink, Char, Block, Directory, Fifo].contains(&kind)
}

pub(super) const fn bad(what: &'static str) -> StreamError {
    StreamError::Malformed(what)
}
