//! The descriptors that this process was started with.

use std::{
    fs, io,
    os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd},
};

use rustix::io::{FdFlags, fcntl_setfd};

/// The number of a descriptor.
pub fn number(fd: &OwnedFd) -> i32 {
    fd.as_raw_fd()
}

/// Lets a descriptor live as long as the process.
pub fn keep(fd: OwnedFd) {
    // It is given away on purpose: nothing closes it.
    let _ = fd.into_raw_fd();
}

/// Marks every descriptor above 2 to be closed on exec. Call before there are threads.
pub fn close_others_on_exec() -> io::Result<()> {
    let numbers: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in numbers {
        // SAFETY: the number was an open descriptor a moment ago; the only one that has been
        // closed since is the directory just read, and a closed one gives EBADF.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        // The directory that was read is among them and is gone.
        let _ = fcntl_setfd(fd, FdFlags::CLOEXEC);
    }
    Ok(())
}
