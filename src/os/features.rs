//! What this kernel lets us do, found out once at start.
//!
//! Sandboxes differ: gVisor has no pidfd, Docker's older seccomp profiles have no clone3, and
//! /sys/fs/cgroup is read-only in most containers. Each fallback is chosen here, so that the rest
//! asks instead of trying; and `DOORWARD_DISABLE` forces each one, so that tests take every way.

use std::{fmt, os::fd::AsFd, path::Path, ptr};

use rustix::{
    fs::{CWD, MemfdFlags, Mode, OFlags, ResolveFlags},
    io::Errno,
    process::{PidfdFlags, Signal, WaitId, WaitIdOptions},
};

use super::{cgroup, mount};

/// What the kernel offers, and why something is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// clone3(2).
    pub clone3: Feature,
    /// pidfd_open(2), pidfd_send_signal(2) and waitid(2) on a pidfd, all three.
    pub pidfd: Feature,
    /// A writable cgroup v2 of our own, with cgroup.kill.
    pub cgroup: Feature,
    /// memfd_create(2).
    pub memfd: Feature,
    /// close_range(2).
    pub close_range: Feature,
    /// openat2(2) with RESOLVE_BENEATH.
    pub openat2: Feature,
    /// The right to show directories elsewhere (mount(2)), and to take that away.
    pub mount: Feature,
    /// Overlay file systems. Whether one can keep its changes in a certain directory is found out there.
    pub overlay: Feature,
}

/// One thing that a kernel may offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feature {
    /// It is there.
    Have,
    /// It is not, for this reason.
    Missing(String),
}

/// A name in `DOORWARD_DISABLE` that names no feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFeature(pub String);

impl Features {
    /// Tries each feature that `disabled` (names with commas between them) does not name.
    pub fn probe(disabled: &str) -> Result<Self, UnknownFeature> {
        let mut features = Self::none("disabled by DOORWARD_DISABLE");
        let mut wanted = [true; NAMES.len()];
        for name in disabled.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match NAMES.iter().position(|known| *known == name) {
                Some(index) => wanted[index] = false,
                None => return Err(UnknownFeature(name.to_string())),
            }
        }
        let probes: [fn() -> Feature; NAMES.len()] =
            [clone3, pidfd, cgroup::probe, memfd, close_range, openat2, mount, overlay];
        for ((feature, probe), wanted) in features.each_mut().into_iter().zip(probes).zip(wanted) {
            if wanted {
                *feature = probe();
            }
        }
        Ok(features)
    }

    /// No feature at all, each missing for this reason.
    pub fn none(reason: &str) -> Self {
        let missing = || Feature::Missing(reason.to_string());
        Self {
            clone3: missing(),
            pidfd: missing(),
            cgroup: missing(),
            memfd: missing(),
            close_range: missing(),
            openat2: missing(),
            mount: missing(),
            overlay: missing(),
        }
    }

    /// Each feature with its name, in the order of `DOORWARD_DISABLE`'s documentation.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &Feature)> {
        let all = [
            &self.clone3,
            &self.pidfd,
            &self.cgroup,
            &self.memfd,
            &self.close_range,
            &self.openat2,
            &self.mount,
            &self.overlay,
        ];
        NAMES.into_iter().zip(all)
    }

    fn each_mut(&mut self) -> [&mut Feature; NAMES.len()] {
        [
            &mut self.clone3,
            &mut self.pidfd,
            &mut self.cgroup,
            &mut self.memfd,
            &mut self.close_range,
            &mut self.openat2,
            &mut self.mount,
            &mut self.overlay,
        ]
    }
}

impl Feature {
    /// Whether it is there.
    pub fn is_there(&self) -> bool {
        match self {
            Self::Have => true,
            Self::Missing(_) => false,
        }
    }

    /// What the answer of a trial call means.
    fn of<T>(answer: Result<T, Errno>) -> Self {
        match answer {
            Ok(_) => Self::Have,
            Err(errno) => Self::Missing(errno.to_string()),
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Have => f.write_str("yes"),
            Self::Missing(reason) => write!(f, "no ({reason})"),
        }
    }
}

impl fmt::Display for UnknownFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no feature, known are {}", self.0, NAMES.join(", "))
    }
}

impl std::error::Error for UnknownFeature {}

const NAMES: [&str; 8] =
    ["clone3", "pidfd", "cgroup", "memfd", "close_range", "openat2", "mount", "overlay"];

fn clone3() -> Feature {
    // SAFETY: a size of 0 is refused with EINVAL before the (null) arguments are looked at; no
    // process can come of it.
    let answer = unsafe { libc::syscall(libc::SYS_clone3, ptr::null::<libc::clone_args>(), 0) };
    refused_with_einval(answer)
}

fn close_range() -> Feature {
    // SAFETY: no descriptor has the number u32::MAX, so nothing can be closed.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, 0) };
    refused_with_einval(answer)
}

/// A call that exists and accepts nothing like this says EINVAL, or that all is well.
fn refused_with_einval(answer: libc::c_long) -> Feature {
    if answer >= 0 {
        return Feature::Have;
    }
    let error = std::io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINVAL) => Feature::Have,
        Some(_) | None => Feature::Missing(error.to_string()),
    }
}

fn pidfd() -> Feature {
    let own = match rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()) {
        Ok(own) => own,
        Err(errno) => return Feature::Missing(errno.to_string()),
    };
    // SIGCONT to a process that runs is nothing.
    if let Err(errno) = rustix::process::pidfd_send_signal(&own, Signal::CONT) {
        return Feature::Missing(format!("pidfd_send_signal: {errno}"));
    }
    // We are no child of ours: ECHILD is the answer of a kernel that knows P_PIDFD.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match rustix::process::waitid(WaitId::PidFd(own.as_fd()), options) {
        Ok(_) | Err(Errno::CHILD) => Feature::Have,
        Err(errno) => Feature::Missing(format!("waitid on a pidfd: {errno}")),
    }
}

fn memfd() -> Feature {
    Feature::of(rustix::fs::memfd_create(c"doorward-probe", MemfdFlags::CLOEXEC))
}

fn openat2() -> Feature {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Feature::of(rustix::fs::openat2(CWD, c".", flags, Mode::empty(), ResolveFlags::BENEATH))
}

fn mount() -> Feature {
    anywhere(mount::try_bind)
}

fn overlay() -> Feature {
    anywhere(mount::try_overlay_in_memory)
}

/// Tries in the first directory for passing things that lets us.
fn anywhere(trial: impl Fn(&Path) -> Feature) -> Feature {
    let places = [std::env::temp_dir(), "/run".into(), "/dev/shm".into()];
    let tried = places.map(|place| trial(&place));
    let found = tried.iter().find(|feature| feature.is_there()).cloned();
    let [first, ..] = tried;
    found.unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_disabled_is_missing_and_the_rest_is_probed() {
        let all = Features::probe("").unwrap();
        let names: Vec<_> = all.each().map(|(name, _)| name).collect();
        assert_eq!(names, NAMES);
        for name in NAMES {
            let without = Features::probe(&format!(" {name} ,")).unwrap();
            for ((known, feature), (_, before)) in without.each().zip(all.each()) {
                if known == name {
                    assert_eq!(feature.to_string(), "no (disabled by DOORWARD_DISABLE)");
                } else {
                    assert_eq!(feature, before, "{known}");
                }
            }
        }
        assert_eq!(
            Features::probe(&NAMES.join(",")),
            Ok(Features::none("disabled by DOORWARD_DISABLE"))
        );
    }

    #[test]
    fn an_unknown_name_is_refused() {
        let error = Features::probe("pidfd,vfork").unwrap_err();
        assert_eq!(error, UnknownFeature("vfork".into()));
        assert!(error.to_string().contains("clone3, pidfd"), "{error}");
    }
}
