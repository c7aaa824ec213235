//! Writes a large file so that blocks of zeros take no room: whether the source had holes there, a tar
//! stream does not say, and nobody who reads the file can tell.

use std::os::fd::AsFd;

use rustix::{
    fs::ftruncate,
    io::{Errno, Result, pwrite},
};

/// What is left out if all of it is zero: the block of most file systems. It need not be this one's.
const HOLE_BYTES: usize = 4 << 10;
const ZEROS: [u8; HOLE_BYTES] = [0; HOLE_BYTES];

/// A fresh file that is written from its first byte on.
pub(super) struct Holes<F> {
    file: F,
    /// One past the last byte that was taken.
    end: u64,
}

impl<F: AsFd> Holes<F> {
    pub(super) fn new(file: F) -> Self {
        Self { file, end: 0 }
    }

    /// Takes the next bytes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let zeros = self.blocks(bytes, |block| block == &ZEROS[..block.len()]);
            self.end += zeros as u64;
            bytes = &bytes[zeros..];
            let data = self.blocks(bytes, |block| block != &ZEROS[..block.len()]);
            self.put(&bytes[..data])?;
            bytes = &bytes[data..];
        }
        Ok(())
    }

    /// Gives the file its length, and back.
    pub(super) fn finish(self) -> Result<F> {
        ftruncate(&self.file, self.end)?;
        Ok(self.file)
    }

    /// How many of the first bytes are blocks, or what came of one, that `are` so.
    fn blocks(&self, bytes: &[u8], are: impl Fn(&[u8]) -> bool) -> usize {
        let block = HOLE_BYTES as u64;
        let mut count = 0;
        while count < bytes.len() {
            let to_edge = block - (self.end + count as u64) % block;
            let rest = &bytes[count..];
            let length = usize::try_from(to_edge).map_or(rest.len(), |most| most.min(rest.len()));
            if !are(&rest[..length]) {
                break;
            }
            count += length;
        }
        count
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match pwrite(&self.file, bytes, self.end) {
                Ok(0) => return Err(Errno::IO),
                Ok(count) => {
                    self.end += count as u64;
                    bytes = &bytes[count..];
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zeros_take_no_room_but_at_the_edges_of_what_does() {
        let dir = tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/target")).unwrap();
        let path = dir.path().join("file");
        let mut holes = Holes::new(fs::File::create(&path).unwrap());
        let mut whole = vec![0; 4 << 20];
        whole[1_000_000] = 1;
        whole[2_000_000..2_100_000].fill(2);
        whole.chunks(60_000).for_each(|piece| holes.write(piece).unwrap());
        holes.finish().unwrap();
        assert!(fs::read(&path).unwrap() == whole);
        let blocks = fs::metadata(&path).unwrap().blocks();
        assert!((200..600).contains(&blocks), "{blocks} blocks of 512 bytes");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Runs of zeros and others, in pieces of any size.
        #[test]
        fn a_file_is_what_was_written(
            runs in prop::collection::vec((any::<bool>(), 1..20_000_usize), 0..12),
            piece in 1..30_000_usize,
        ) {
            let bytes: Vec<u8> =
                runs.iter().flat_map(|(zero, count)| vec![u8::from(!zero); *count]).collect();
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            let mut holes = Holes::new(fs::File::create(&path).unwrap());
            for piece in bytes.chunks(piece) {
                holes.write(piece).unwrap();
            }
            holes.finish().unwrap();
            prop_assert!(fs::read(&path).unwrap() == bytes);
        }
    }
}
