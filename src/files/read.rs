//! A file to an output.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::failure::Failure;

/// Writes all of a file to `to`, if it has at most `limit` bytes. The size of some files (of /proc, pipes,
/// devices) is known only once they were read: then the failure comes after `limit` bytes.
pub(super) fn read(path: &Path, to: &mut File, limit: u64) -> Result<(), Failure> {
    let mut file = File::open(path)?;
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(Failure::is_directory());
    }
    if found.len() > limit {
        return Err(Failure::too_large(limit));
    }
    io::copy(&mut (&file).take(limit), to)?;
    match file.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(Failure::too_large(limit)),
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
