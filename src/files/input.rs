//! The bytes of a file to be, from a client that may be gone.
//!
//! The agent closes a command's input when its client says so, and for no other reason; but the kernel
//! closes it too when the agent itself ends. That is not the end of a file.

use std::{
    io::{self, Read},
    os::fd::BorrowedFd,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, getppid},
};

use crate::{core::limits::FILE_SILENCE, os::proc};

/// An input whose end is one that was meant.
pub(super) struct Input<'a> {
    from: BorrowedFd<'a>,
    /// Who holds the other end.
    holder: Option<Pid>,
    silence: Duration,
}

impl<'a> Input<'a> {
    /// What our parent, the agent, hands on to us.
    pub(super) fn from_agent(from: BorrowedFd<'a>) -> Self {
        Self { from, holder: getppid(), silence: FILE_SILENCE }
    }

    /// Whether the other end was closed by the end of its holder. A process closes its files before it
    /// has a new parent, so that is looked at too.
    fn is_cut(&self) -> bool {
        let holder = self.holder;
        getppid() != holder || holder.and_then(proc::is_ending).unwrap_or(false)
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let seconds = i64::try_from(self.silence.as_secs()).unwrap_or(i64::MAX);
        let silence = Timespec { tv_sec: seconds, tv_nsec: self.silence.subsec_nanos().into() };
        if poll(&mut [PollFd::new(&self.from, PollFlags::IN)], Some(&silence))? == 0 {
            return Err(io::Error::other("the client is silent, the file was not written"));
        }
        match rustix::io::read(self.from, buffer)? {
            0 if self.is_cut() => {
                Err(io::Error::other("the agent ended, the file was not written"))
            }
            count => Ok(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn an_end_is_an_end_only_if_its_holder_lives() {
        let check = |holder, expected: Result<&str, &str>| {
            let (ours, theirs) = rustix::pipe::pipe().unwrap();
            rustix::io::write(&theirs, b"data").unwrap();
            drop(theirs);
            let silence = Duration::from_secs(60);
            let mut input = Input { from: ours.as_fd(), holder, silence };
            let read = io::read_to_string(&mut input).map_err(|error| error.to_string());
            match expected {
                Ok(text) => assert_eq!(read.as_deref(), Ok(text)),
                Err(words) => assert!(read.unwrap_err().contains(words)),
            }
        };
        check(getppid(), Ok("data"));
        // Somebody else has taken us over.
        check(Some(rustix::process::getpid()), Err("the agent ended"));
    }

    #[test]
    fn a_silent_client_is_gone() {
        let (ours, _theirs) = rustix::pipe::pipe().unwrap();
        let silence = Duration::from_millis(5);
        let mut input = Input { from: ours.as_fd(), holder: getppid(), silence };
        let error = input.read(&mut [0]).unwrap_err();
        assert!(error.to_string().contains("silent"), "{error}");
    }
}
