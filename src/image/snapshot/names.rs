//! The names in a directory, sorted.

use std::{ffi::CString, mem::MaybeUninit, os::fd::AsFd};

use rustix::{
    fs::{FileType, RawDir},
    io::Errno,
};

use crate::core::limits::CHUNK_BYTES;

/// A name, and what the directory says that it is; some file systems do not say.
pub(super) struct Name {
    pub(super) name: CString,
    pub(super) kind: FileType,
}

/// Lists an open directory. The names are sorted by their bytes, whatever order the file system has.
pub(super) fn sorted(
    directory: impl AsFd,
    scratch: &mut Vec<MaybeUninit<u8>>,
) -> Result<Vec<Name>, Errno> {
    scratch.resize(CHUNK_BYTES, MaybeUninit::uninit());
    let mut names = Vec::new();
    let mut entries = RawDir::new(directory, &mut scratch[..]);
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Err(Errno::INTR) => continue,
            entry => entry?,
        };
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(Name { name: entry.file_name().to_owned(), kind: entry.file_type() });
        }
    }
    names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(names)
}
