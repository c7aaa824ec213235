//! Files with holes: how an archive tells where their data is.
//!
//! GNU tar has four ways. The oldest has a map in the header; PAX records have it as many records (0.0) or
//! as one (0.1); the newest (1.0) has it before the data. All of them become one checked [`Sparse`].

use super::entry::Sparse;
use crate::core::limits::ARCHIVE_EXTENTS_MAX;

const TOO_MANY: &str = "a sparse file has more pieces than are taken";
const NO_NUMBER: &str = "the map of a sparse file has no numbers";

impl Sparse {
    /// A shape whose extents lie in the file one after the other and hold exactly the bytes that are
    /// stored, or what is wrong.
    pub(super) fn checked(
        size: u64,
        mut extents: Vec<(u64, u64)>,
        stored: u64,
    ) -> Result<Self, &'static str> {
        let (mut end, mut data) = (0_u64, 0_u64);
        for (offset, length) in &extents {
            if *offset < end {
                return Err("the pieces of a sparse file overlap");
            }
            end = offset.checked_add(*length).ok_or("a piece of a sparse file has no end")?;
            data += length;
        }
        if end > size || i64::try_from(size).is_err() {
            return Err("a sparse file is smaller than its pieces");
        }
        if data != stored {
            return Err("the pieces of a sparse file are not as long as its data");
        }
        // One of no length marks a hole at the end.
        extents.retain(|(_, length)| *length > 0);
        Ok(Self { size, extents })
    }
}

/// What PAX records say about a sparse file, until all of them are known.
#[derive(Default)]
pub(super) struct Records {
    pub(super) name: Option<Vec<u8>>,
    size: Option<u64>,
    major: Option<u64>,
    minor: Option<u64>,
    offsets: Vec<u64>,
    lengths: Vec<u64>,
    any: bool,
}

/// Where the map is, by the records.
pub(super) enum Said {
    Nothing,
    Records(Sparse),
    BeforeData(u64),
}

impl Records {
    /// Takes a record, by what follows `GNU.sparse.` in its key.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        self.any = true;
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"major" => self.major = Some(number(value)?),
            b"minor" => self.minor = Some(number(value)?),
            b"size" | b"realsize" => self.size = Some(number(value)?),
            b"offset" => self.offsets.push(number(value)?),
            b"numbytes" => self.lengths.push(number(value)?),
            b"map" => {
                (self.offsets, self.lengths) = Default::default();
                let fields = value.split(|byte| *byte == b',');
                for (index, field) in fields.filter(|field| !field.is_empty()).enumerate() {
                    let list = [&mut self.offsets, &mut self.lengths];
                    list.into_iter().nth(index % 2).expect("two").push(number(field)?);
                }
            }
            // How many there are is seen.
            _ => {}
        }
        if self.offsets.len() > ARCHIVE_EXTENTS_MAX { Err(TOO_MANY) } else { Ok(()) }
    }

    /// What all of them say together; the extents are not checked.
    pub(super) fn said(&mut self) -> Result<Said, &'static str> {
        if !self.any {
            return Ok(Said::Nothing);
        }
        let size = self.size.ok_or("a sparse file has no size")?;
        let extents = std::mem::take(&mut self.offsets);
        let lengths = std::mem::take(&mut self.lengths);
        match (self.major, self.minor) {
            (Some(1), Some(0) | None) => Ok(Said::BeforeData(size)),
            (None | Some(0), _) if extents.len() == lengths.len() => {
                let extents = extents.into_iter().zip(lengths).collect();
                Ok(Said::Records(Sparse { size, extents }))
            }
            (None | Some(0), _) => Err("a piece of a sparse file has no length"),
            _ => Err("a sparse file is of a kind that is not known"),
        }
    }
}

/// The numbers of a map, of which each stands on a line of its own: how many pairs, and the pairs.
#[derive(Default)]
pub(super) struct Numbers {
    all: Vec<u64>,
    /// Of the line that is being read.
    value: Option<u64>,
}

impl Numbers {
    /// Takes the next bytes; what stands behind the last number is passed over.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        for byte in bytes {
            match byte {
                _ if self.are_complete() => break,
                b'\n' => self.all.push(self.value.take().ok_or(NO_NUMBER)?),
                b'0'..=b'9' => {
                    let so_far = self.value.unwrap_or(0).checked_mul(10);
                    let value = so_far.and_then(|value| value.checked_add((byte - b'0').into()));
                    self.value = Some(value.ok_or(NO_NUMBER)?);
                }
                _ => return Err(NO_NUMBER),
            }
            if self.all.first().is_some_and(|pairs| *pairs > ARCHIVE_EXTENTS_MAX as u64) {
                return Err(TOO_MANY);
            }
        }
        Ok(())
    }

    pub(super) fn are_complete(&self) -> bool {
        self.all.first().is_some_and(|pairs| self.all.len() as u64 > 2 * pairs)
    }

    pub(super) fn extents(&self) -> Vec<(u64, u64)> {
        self.all[1..].chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
    }
}

fn number(text: &[u8]) -> Result<u64, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| NO_NUMBER)?;
    text.parse().map_err(|_| NO_NUMBER)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A size, extents, how much is stored, and whether that is a shape.
    type Case = (u64, &'static [(u64, u64)], u64, bool);

    #[test]
    fn a_shape_is_checked() {
        let cases: [Case; 11] = [
            (0, &[], 0, true),
            (10, &[], 0, true),
            (10, &[(0, 10)], 10, true),
            (10, &[(2, 3), (5, 1), (10, 0)], 4, true),
            (10, &[(2, 3), (4, 1)], 4, false),
            (10, &[(5, 1), (2, 3)], 4, false),
            (10, &[(8, 3)], 3, false),
            (10, &[(2, 3)], 4, false),
            (10, &[(2, 3)], 2, false),
            (u64::MAX, &[(u64::MAX - 1, 2)], 2, false),
            (u64::MAX, &[], 0, false),
        ];
        for (size, extents, stored, good) in cases {
            let shape = Sparse::checked(size, extents.to_vec(), stored);
            assert_eq!(shape.is_ok(), good, "{size} {extents:?} {stored}: {shape:?}");
        }
    }

    #[test]
    fn a_map_may_be_cut_into_blocks_anywhere() {
        let map = b"2\n0\n512\n1048576\n7\n\0\0\0";
        for cut in 0..map.len() {
            let mut numbers = Numbers::default();
            numbers.add(&map[..cut]).unwrap();
            numbers.add(&map[cut..]).unwrap();
            assert!(numbers.are_complete());
            assert_eq!(numbers.extents(), [(0, 512), (1_048_576, 7)]);
        }
        for bad in [&b"\n"[..], b"1\n-1\n", b"x", b"99999999999999999999\n", b"262145\n"] {
            assert!(Numbers::default().add(bad).is_err(), "{bad:?}");
        }
    }
}
