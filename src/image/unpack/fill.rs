//! Puts data into a new file, each piece where it belongs.

use std::os::fd::AsFd;

use rustix::{
    fs::ftruncate,
    io::{Errno, Result, pwrite},
};

use crate::archive::entry::Sparse;

/// A file that is being filled.
pub(super) struct Filling<'a, F> {
    file: F,
    /// Where the next byte goes.
    offset: u64,
    /// What is left of the extent there; all there is for a file without holes.
    left: u64,
    /// The ones behind it.
    ahead: std::slice::Iter<'a, (u64, u64)>,
    size: Option<u64>,
}

impl<'a, F: AsFd> Filling<'a, F> {
    pub(super) fn new(file: F, sparse: Option<&'a Sparse>) -> Self {
        match sparse {
            None => Self { file, offset: 0, left: u64::MAX, ahead: [].iter(), size: None },
            Some(Sparse { size, extents }) => {
                Self { file, offset: 0, left: 0, ahead: extents.iter(), size: Some(*size) }
            }
        }
    }

    /// Adds data.
    pub(super) fn add(&mut self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            if self.left == 0 {
                // The extents hold exactly the data that there is.
                (self.offset, self.left) = *self.ahead.next().ok_or(Errno::FBIG)?;
            }
            let most = usize::try_from(self.left).map_or(data.len(), |left| left.min(data.len()));
            match pwrite(&self.file, &data[..most], self.offset) {
                Ok(0) => return Err(Errno::IO),
                Ok(count) => {
                    self.offset += count as u64;
                    self.left -= count as u64;
                    data = &data[count..];
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Gives a file with holes its size.
    pub(super) fn finish(self) -> Result<F> {
        if let Some(size) = self.size {
            ftruncate(&self.file, size)?;
        }
        Ok(self.file)
    }
}
