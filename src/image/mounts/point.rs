//! Moments between two changes of the disk, at which a test may kill the process.

/// Such a moment; nothing happens outside tests.
#[cfg(not(test))]
pub(super) fn point() {}

#[cfg(test)]
pub(super) use counted::{LEFT, point};

#[cfg(test)]
mod counted {
    use std::sync::atomic::{AtomicI64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    /// How many such moments pass before the process is killed; never, if negative.
    pub(in crate::image::mounts) static LEFT: AtomicI64 = AtomicI64::new(-1);

    pub(in crate::image::mounts) fn point() {
        if LEFT.load(Ordering::SeqCst) >= 0 && LEFT.fetch_sub(1, Ordering::SeqCst) == 0 {
            kill_process(getpid(), Signal::KILL).unwrap();
            loop {
                std::thread::park();
            }
        }
    }
}
