//! What stands before a member and is about it: GNU's long names and PAX records.

use std::io;

use tar::{EntryType, Header};

use super::{
    decode::{Map, Member, StreamError, bad},
    encode::{XATTR, name_of_key},
    entry::{Entry, Extended, Kind, Sparse, Time},
    sparse::{Records, Said},
};

/// What stood before a member.
#[derive(Default)]
pub(super) struct Attached {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    modified: Option<Time>,
    pub(super) size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    xattrs: Extended,
    sparse: Records,
}

/// What the records of a sparse file begin with.
const SPARSE: &[u8] = b"GNU.sparse.";

impl Attached {
    /// Takes the records of a PAX header. Each says how long it is, so that a value may hold any byte.
    pub(super) fn records(&mut self, mut data: &[u8]) -> Result<(), StreamError> {
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
        // No value takes an earlier one back.
        let text = || Some(value.to_vec()).filter(|text| !text.is_empty());
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            b"mtime" => self.modified = Time::from_decimal(value),
            // Another size than its sender's would make data look like members.
            b"size" => {
                let size = number().filter(|size| i64::try_from(*size).is_ok());
                self.size = Some(size.ok_or(bad("a PAX size is no number"))?);
            }
            b"uid" => self.uid = id(),
            b"gid" => self.gid = id(),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattrs.push((name_of_key(name), value.to_vec()));
                } else if let Some(rest) = key.strip_prefix(SPARSE) {
                    self.sparse.add(rest, value).map_err(bad)?;
                }
            }
        }
        Ok(())
    }

    /// Where the map of a member of this kind is, if it is a sparse file.
    pub(super) fn map(&mut self, kind: EntryType) -> Result<Map, StreamError> {
        if kind == EntryType::GNUSparse {
            return Ok(Map::Header);
        }
        if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
            return Ok(Map::Nowhere);
        }
        Ok(match self.sparse.said().map_err(bad)? {
            Said::Nothing => Map::Nowhere,
            Said::Records(sparse) => Map::Records(sparse),
            Said::BeforeData(size) => Map::Data(size),
        })
    }

    /// The member with this header, and so many bytes of data before it.
    pub(super) fn member(
        self,
        header: &Header,
        stored: u64,
        sparse: Option<Sparse>,
    ) -> Result<Member, StreamError> {
        let path = self.sparse.name.or(self.path);
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let number = |number: io::Result<u64>| number.ok().and_then(|id| u32::try_from(id).ok());
        let link = || self.link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let device = || {
            let major = header.device_major().ok().flatten().unwrap_or(0);
            (major, header.device_minor().ok().flatten().unwrap_or(0))
        };
        let kind = match header.entry_type() {
            EntryType::GNUSparse => Kind::File(stored),
            // Before POSIX, a directory was a file whose name ends so.
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::File(stored),
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(link().unwrap_or_default()),
            EntryType::Link => Kind::Hardlink(link().unwrap_or_default()),
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char => Kind::CharacterDevice(device().0, device().1),
            EntryType::Block => Kind::BlockDevice(device().0, device().1),
            _ => return Ok(Member::Unknown(path, "of a kind that is not known")),
        };
        let plain = Time { seconds: seconds(header), nanoseconds: 0 };
        Ok(Member::Entry(Entry {
            path,
            kind,
            mode: header.mode().map_err(|_| bad("a mode is no number"))? & 0o7777,
            uid: self.uid.or_else(|| number(header.uid())).unwrap_or(0),
            gid: self.gid.or_else(|| number(header.gid())).unwrap_or(0),
            modified: self.modified.unwrap_or(plain),
            xattrs: sorted(self.xattrs),
            sparse,
        }))
    }
}

/// By name; of several values the last one holds.
fn sorted(mut xattrs: Extended) -> Extended {
    xattrs.reverse();
    xattrs.sort_by(|one, other| one.0.cmp(&other.0));
    xattrs.dedup_by(|later, first| later.0 == first.0);
    xattrs
}

/// The time of change in a header, which in base 256 may lie before the epoch.
fn seconds(header: &Header) -> i64 {
    let [first, .., a, b, c, d, e, f, g, h] = header.as_old().mtime;
    if first == 0xff {
        return i64::from_be_bytes([a, b, c, d, e, f, g, h]);
    }
    let seconds = header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok());
    seconds.unwrap_or(0)
}
