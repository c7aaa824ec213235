//! The three streams of a child at low numbers, where it need not copy all of our descriptors to get them.
//!
//! A child that is born with a copy of our table pays for each descriptor in it twice, when it is copied and when it is
//! closed: measured 15 µs with a hundred live execs, and a millisecond with three thousand. Instead it shares our table
//! (CLONE_FILES, clone(2)) until its first step, which gives it a table of its own with the lowest numbers only
//! (close_range(2) with CLOSE_RANGE_UNSHARE). So each thread that starts programs keeps places at low numbers,
//! and puts the streams of its next child there. An end of a pipe also stays a shorter time in children of other
//! threads, and its end of file is seen sooner.

use std::{
    cell::RefCell,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{Mode, OFlags},
    io::{DupFlags, Errno, dup3, fcntl_dupfd_cloexec},
};

/// Lowest number of a place: a child's own streams are below.
const LOWEST: i32 = 3;

thread_local! {
    /// Those of this thread, from its first child on.
    static PLACES: RefCell<Option<Places>> = const { RefCell::new(None) };
}

/// Whether the kernel has said that it cannot give a child a table of its own.
static REFUSED: AtomicBool = AtomicBool::new(false);

struct Places {
    /// What stands in them while there is no child to be.
    nothing: OwnedFd,
    streams: [OwnedFd; 3],
}

/// A child's streams: where they are, and from which number on nothing of ours is theirs.
pub(super) struct Seated {
    pub(super) streams: [i32; 3],
    pub(super) end: u32,
}

/// Runs `start` with the streams in this thread's places, or with nothing where there are none.
pub(super) fn seat<T>(streams: &[BorrowedFd<'_>; 3], start: impl FnOnce(Option<Seated>) -> T) -> T {
    if REFUSED.load(Ordering::Relaxed) {
        return start(None);
    }
    PLACES.with_borrow_mut(|places| {
        if places.is_none() {
            *places = Places::make().ok();
        }
        let Some(kept) = places else { return start(None) };
        let seated = kept.put(streams).map(|()| kept.seated());
        let done = start(seated.ok());
        // A place that cannot be cleared would keep a pipe open.
        if kept.clear().is_err() {
            *places = None;
        }
        done
    })
}

/// Notes that no child can be started like this here.
pub(super) fn refuse() {
    REFUSED.store(true, Ordering::Relaxed);
}

impl Places {
    fn make() -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let nothing = rustix::fs::open("/", flags, Mode::empty())?;
        let place = || fcntl_dupfd_cloexec(&nothing, LOWEST);
        let streams = [place()?, place()?, place()?];
        Ok(Self { nothing, streams })
    }

    fn put(&mut self, streams: &[BorrowedFd<'_>; 3]) -> Result<(), Errno> {
        for (place, stream) in self.streams.iter_mut().zip(streams) {
            dup3(stream, place, DupFlags::CLOEXEC)?;
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Errno> {
        for place in &mut self.streams {
            dup3(self.nothing.as_fd(), place, DupFlags::CLOEXEC)?;
        }
        Ok(())
    }

    fn seated(&self) -> Seated {
        let streams = self.streams.each_ref().map(AsRawFd::as_raw_fd);
        let end = streams.iter().max().map_or(0, |last| last.unsigned_abs() + 1);
        Seated { streams, end }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read, pipe};

    use super::*;

    #[test]
    fn a_place_holds_a_stream_only_while_a_child_is_started() {
        let [(mut out, one), (mut err, two)]: [(PipeReader, _); 2] =
            [(); 2].map(|()| pipe().unwrap());
        let number = |fd: &dyn AsFd| fd.as_fd().as_raw_fd();
        let written = seat(&[one.as_fd(), one.as_fd(), two.as_fd()], |seated| {
            let Seated { streams, end } = seated.unwrap();
            assert!(streams.iter().all(|place| (LOWEST..end as i32).contains(place)));
            assert!(!streams.contains(&number(&one)) && !streams.contains(&number(&two)));
            // SAFETY: the places are open while this runs.
            let place = unsafe { BorrowedFd::borrow_raw(streams[2]) };
            rustix::io::write(place, b"there").unwrap()
        });
        assert_eq!(written, 5);
        drop((one, two));
        let mut read = String::new();
        // Both would wait for ever if an end were still in its place.
        out.read_to_string(&mut read).unwrap();
        err.read_to_string(&mut read).unwrap();
        assert_eq!(read, "there");
    }
}
