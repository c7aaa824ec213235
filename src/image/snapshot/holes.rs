//! Where a file has data, if it has holes.
//!
//! File systems differ in how small a hole they have, and in what they fill up by themselves. So that the
//! same file is the same entry everywhere, data begins and ends at multiples of 64 KiB, and smaller
//! holes are data.

use std::os::fd::AsFd;

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

use crate::{
    archive::entry::Sparse,
    core::limits::{SNAPSHOT_EXTENTS_MAX, SNAPSHOT_HOLE_BYTES_MIN},
};

/// The shape of a file of `size` bytes in so many blocks; `None` if it has no hole that counts, or if
/// nobody says where its holes are.
pub(super) fn find(file: impl AsFd, size: u64, blocks: u64) -> Option<Sparse> {
    if blocks.saturating_mul(512) >= size || size <= SNAPSHOT_HOLE_BYTES_MIN {
        return None;
    }
    let mut shape = Shape { size, grain: SNAPSHOT_HOLE_BYTES_MIN, extents: Vec::new() };
    let mut at = 0;
    while at < size {
        let data = match seek(&file, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => break,
            Err(_) => return None,
        };
        let hole = seek(&file, SeekFrom::Hole(data)).ok()?;
        if data >= size || hole <= data {
            break;
        }
        shape.add(data, hole);
        at = hole;
    }
    shape.sparse()
}

struct Shape {
    size: u64,
    /// Data begins and ends at multiples of this.
    grain: u64,
    /// Begin and end of each piece of data.
    extents: Vec<(u64, u64)>,
}

impl Shape {
    fn add(&mut self, begin: u64, end: u64) {
        let begin = begin - begin % self.grain;
        let end = end.checked_next_multiple_of(self.grain).unwrap_or(self.size).min(self.size);
        match self.extents.last_mut() {
            Some(last) if begin <= last.1 => last.1 = last.1.max(end),
            _ => self.extents.push((begin, end)),
        }
        if self.extents.len() > SNAPSHOT_EXTENTS_MAX {
            self.grain *= 2;
            for (begin, end) in std::mem::take(&mut self.extents) {
                self.add(begin, end);
            }
        }
    }

    fn sparse(self) -> Option<Sparse> {
        let extents: Vec<(u64, u64)> =
            self.extents.iter().map(|(begin, end)| (*begin, end - begin)).collect();
        (extents != [(0, self.size)]).then_some(Sparse { size: self.size, extents })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(size: u64, data: &[(u64, u64)]) -> Option<Vec<(u64, u64)>> {
        let mut shape = Shape { size, grain: SNAPSHOT_HOLE_BYTES_MIN, extents: Vec::new() };
        for (begin, end) in data {
            shape.add(*begin, *end);
        }
        shape.sparse().map(|sparse| sparse.extents)
    }

    #[test]
    fn data_is_rounded_and_small_holes_are_data() {
        const K: u64 = 1024;
        assert_eq!(shape(256 * K, &[(4 * K, 8 * K)]), Some(vec![(0, 64 * K)]));
        assert_eq!(shape(256 * K, &[(0, 4 * K), (60 * K, 128 * K)]), Some(vec![(0, 128 * K)]));
        assert_eq!(shape(200 * K, &[(199 * K, 200 * K)]), Some(vec![(192 * K, 8 * K)]));
        assert_eq!(shape(256 * K, &[]), Some(vec![]));
        assert_eq!(shape(100 * K, &[(0, 4 * K), (96 * K, 100 * K)]), None);
    }

    #[test]
    fn too_many_pieces_become_larger_ones() {
        let step = 2 * SNAPSHOT_HOLE_BYTES_MIN;
        let count = SNAPSHOT_EXTENTS_MAX as u64 + 1;
        let data: Vec<(u64, u64)> = (0..count).map(|n| (n * step, n * step + 1)).collect();
        let pieces = shape(count * step + (1 << 30), &data).unwrap();
        assert_eq!(pieces, [(0, count * step)]);
    }
}
