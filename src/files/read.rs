//! A file to an output.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use super::failure::Failure;
use crate::core::limits::CHUNK_BYTES;

/// Writes all of a file to `to`, if it has at most `limit` bytes. The size of some files (of /proc, pipes,
/// devices) is known only once they were read: then the failure comes when some went out.
pub(super) fn read(path: &Path, to: &mut File, limit: u64) -> Result<(), Failure> {
    let mut file = File::open(path)?;
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(Failure::is_directory());
    }
    if found.len() > limit {
        return Err(Failure::too_large(limit));
    }
    pour(&mut file, to, limit)
}

/// Moves all that comes, if it is at most `limit` bytes. By pieces that a pipe takes at once and that
/// stay in a processor's cache: the kernel's own ways (sendfile, splice) cost nearly twice the time.
pub(super) fn pour(from: &mut dyn Read, to: &mut File, limit: u64) -> Result<(), Failure> {
    let mut piece = vec![0; CHUNK_BYTES];
    let mut left = limit;
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        left = left.checked_sub(count as u64).ok_or_else(|| Failure::too_large(limit))?;
        to.write_all(&piece[..count])?;
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Seek};

    use super::*;
    use crate::files::failure::Kind;

    fn check(path: &Path, limit: u64, expected: Result<&[u8], Kind>) {
        let mut to = tempfile::tempfile().unwrap();
        let done = read(path, &mut to, limit).map_err(|failure| failure.kind);
        let mut written = Vec::new();
        to.rewind().unwrap();
        to.read_to_end(&mut written).unwrap();
        assert_eq!(done.map(|()| &written[..]), expected, "{path:?} {limit}");
    }

    #[test]
    fn up_to_the_limit_and_not_beyond() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        fs::write(&path, "12345").unwrap();
        check(&path, 5, Ok(b"12345"));
        check(&path, 4, Err(Kind::FileTooLarge));
        fs::write(&path, "").unwrap();
        check(&path, 0, Ok(b""));
        // The size says 0.
        let version = fs::read("/proc/version").unwrap();
        check(Path::new("/proc/version"), 1 << 20, Ok(&version));
        check(Path::new("/proc/version"), 7, Err(Kind::FileTooLarge));
        check(place.path(), 5, Err(Kind::IsDirectory));
        check(&place.path().join("none"), 5, Err(Kind::NotFound));
    }
}
