//! Files without waiting: what the kernel has in memory is had at once, anything else not at all.
//!
//! A thread that may not block can look here first. To hand a read over to another one costs two
//! changes of context, which is more than the read when the bytes are in the page cache.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// Opens `name` in `directory` if nothing has to be looked up on a disk (openat2(2), RESOLVE_CACHED, Linux
/// 5.12). Any failure means: do it where one may wait.
pub fn open(directory: impl AsFd, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::CACHED | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    rustix::fs::openat2(directory, name, flags, Mode::empty(), resolve)
}

/// Reads at `offset` into the spare capacity of `into`, at most `bytes_max`, as far as the bytes are in
/// memory (preadv2(2), RWF_NOWAIT); returns how many came. 0 is the end of the file; nothing at all in memory is EAGAIN,
/// and a file system that cannot tell EOPNOTSUPP.
pub fn read(
    fd: impl AsFd,
    offset: u64,
    into: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<usize, Errno> {
    let spare = into.spare_capacity_mut();
    let piece =
        libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: spare.len().min(bytes_max) };
    let offset = i64::try_from(offset).map_err(|_| Errno::OVERFLOW)?;
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the piece is the vector's spare capacity, which nothing else uses during the call.
    let read = unsafe { libc::preadv2(fd, &raw const piece, 1, offset, libc::RWF_NOWAIT) };
    let Ok(read) = usize::try_from(read) else {
        let errno = std::io::Error::last_os_error().raw_os_error();
        return Err(Errno::from_raw_os_error(errno.unwrap_or(libc::EIO)));
    };
    let length = into.len() + read;
    // SAFETY: the kernel has written so many bytes behind those that were there.
    unsafe { into.set_len(length) };
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_just_written_is_had_at_once_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), b"0123456789").unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(dir.path(), flags, Mode::empty()).unwrap();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = match open(&directory, "file", flags) {
            Ok(fd) => fd,
            Err(errno) => return println!("SKIPPED: openat2 with RESOLVE_CACHED: {errno}"),
        };
        assert!(open(&directory, "../file", flags).is_err());
        let mut bytes = Vec::with_capacity(64);
        match read(&fd, 3, &mut bytes, 4) {
            Ok(count) => assert_eq!((count, &bytes[..]), (4, &b"3456"[..])),
            Err(errno) => return println!("SKIPPED: RWF_NOWAIT in {dir:?}: {errno}"),
        }
        assert_eq!(read(&fd, 7, &mut bytes, 64), Ok(3));
        assert_eq!(bytes, b"3456789");
        assert_eq!((read(&fd, 10, &mut bytes, 1), bytes.len()), (Ok(0), 7));
        assert!(read(&fd, u64::MAX, &mut bytes, 1).is_err());
        // Never more than there is room for.
        let mut full = Vec::with_capacity(2);
        let room = full.capacity();
        assert_eq!(read(&fd, 0, &mut full, 64), Ok(room.min(10)));
    }
}
