//! Starts a program: the only place that makes a process.
//!
//! The child is made vfork-like (it borrows this process's memory and stops the calling thread
//! until it has become the program), because a plain fork copies page tables: measured 0.5 ms
//! against 1.4 ms from 10 MB, and against 40 ms from 1 GB. It runs on a stack of its own, with
//! every signal blocked, and does only prepared, async-signal-safe steps (`child`). A step that
//! fails is written into the memory both share, so no pipe is needed to report it.
//!
//! clone3(2) is used where the kernel and the seccomp profile allow it, because only it can put
//! the child into a cgroup at birth; libc's `clone` otherwise.

mod child;
mod clone;
mod places;

use std::{
    ffi::{CStr, CString},
    os::fd::{AsRawFd, BorrowedFd},
};

use rustix::{
    io::Errno,
    process::{Pid, Resource, getrlimit},
};

use super::schedule;
use crate::core::outcome::Stage;

/// This process's own program as a candidate: in a child that is about to become another program it
/// leads to what it still runs, by no path, also where the file was replaced or removed.
pub const OWN_BINARY: &CStr = c"/proc/self/exe";

/// A program to start, everything about it prepared.
pub struct Program<'a> {
    /// Its arguments, the name first.
    pub argv: &'a [CString],
    /// The paths to try in turn, as `execvp` does; see [`candidates`].
    pub candidates: &'a [CString],
    /// Its whole environment, `KEY=VALUE` each.
    pub env: &'a [&'a CStr],
    /// Where it starts.
    pub workdir: &'a CStr,
    /// Its standard input, output and error; none of them is 0, 1 or 2 of this process.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Whether its standard input becomes its controlling terminal.
    pub terminal: Terminal,
    /// The user it becomes, if not ours.
    pub identity: Option<Ids<'a>>,
    /// The limit RLIMIT_RTTIME that marks its tree; see `os::label`.
    pub label: Option<libc::rlimit>,
    /// The cgroup directory it is born into; ignored where clone3 is missing.
    pub group: Option<BorrowedFd<'a>>,
}

/// Whether a program gets a controlling terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// Its standard input is one, and becomes it.
    Controlling,
    /// It has none.
    None,
}

/// The numbers of a user.
#[derive(Debug, Clone, Copy)]
pub struct Ids<'a> {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: &'a [u32],
}

/// Which system call makes the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// clone3(2).
    Clone3,
    /// clone(2) through libc.
    Clone,
}

/// What a child must not inherit from the agent's own settings; taken before they are changed.
#[derive(Debug, Clone, Copy)]
pub struct Inheritance {
    nofile: libc::rlimit64,
    oom_reset: bool,
    close_range: bool,
    schedule_reset: bool,
    /// Signals that this process ignores: bit n-1 for number n.
    ignored: u64,
    way: Way,
}

/// A step of a start that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpawnError {
    /// The step.
    pub stage: Stage,
    /// What the kernel said.
    pub errno: Errno,
}

impl Inheritance {
    /// Remembers the limits, the oom score and the ignored signals that this process was started with.
    /// Call it before anything raises a limit; nothing may be ignored later that was not.
    pub fn take(way: Way, close_range: Option<()>) -> Self {
        let nofile = getrlimit(Resource::Nofile);
        let or_infinity = |limit: Option<u64>| limit.unwrap_or(libc::RLIM64_INFINITY);
        let oom = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
        Self {
            nofile: libc::rlimit64 {
                rlim_cur: or_infinity(nofile.current),
                rlim_max: or_infinity(nofile.maximum),
            },
            // A negative score protects the agent; a command under it would outlive the agent
            // in a shortage of memory. A positive one is the container's own and stays.
            oom_reset: oom.trim_start().starts_with('-'),
            close_range: close_range.is_some(),
            // Our threads that start commands may stand back.
            schedule_reset: schedule::is_usual(),
            ignored: child::ignored(),
            way,
        }
    }
}

/// Starts `program`. Blocks until it has become the program or failed to: the working directory
/// and the program may lie on file systems that hang.
///
/// The caller must have announced the birth to the reaper. A child that failed is a zombie that
/// the reaper takes.
pub fn spawn(program: &Program<'_>, inheritance: &Inheritance) -> Result<Pid, SpawnError> {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let argv = pointers(program.argv);
    let env: Vec<_> = program.env.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
    let candidates = pointers(program.candidates);
    let mut plan = child::Plan {
        argv: argv.as_ptr(),
        env: env.as_ptr(),
        candidates: candidates.as_ptr(),
        workdir: program.workdir.as_ptr(),
        stdio: program.stdio.map(|fd| fd.as_raw_fd()),
        shared_from: None,
        terminal: program.terminal == Terminal::Controlling,
        identity: program.identity.map(child::RawIds::from),
        label: program.label,
        nofile: inheritance.nofile,
        oom_reset: inheritance.oom_reset,
        close_range: inheritance.close_range,
        schedule_reset: inheritance.schedule_reset,
        ignored: inheritance.ignored,
        handlers: child::Handlers::Ours,
        failure: None,
    };
    let mut pid = match inheritance.close_range {
        true => places::seat(&program.stdio, |seated| {
            if let Some(places::Seated { streams, end }) = seated {
                (plan.stdio, plan.shared_from) = (streams, Some(end));
            }
            clone::vfork(inheritance.way, program.group, &mut plan)
        }),
        false => clone::vfork(inheritance.way, program.group, &mut plan),
    };
    if matches!(plan.failure, Some((Stage::Descriptors, _))) {
        // The kernel cannot give a child a table of its own: from now on each gets a copy.
        places::refuse();
        plan.stdio = program.stdio.map(|fd| fd.as_raw_fd());
        (plan.shared_from, plan.failure) = (None, None);
        pid = clone::vfork(inheritance.way, program.group, &mut plan);
    }
    if program.identity.is_some() {
        // Changing the user in a child that shares our memory resets the memory's dumpable flag
        // to fs.suid_dumpable (commit_creds in the kernel); put it back.
        seal_memory();
    }
    let pid = pid.map_err(|errno| SpawnError { stage: Stage::Clone, errno })?;
    match plan.failure {
        None => Ok(pid),
        Some((stage, errno)) => Err(SpawnError { stage, errno: Errno::from_raw_os_error(errno) }),
    }
}

/// Makes this process's memory, environment and descriptors unreadable to others of its user
/// (PR_SET_DUMPABLE 0, prctl(2)): the commands often run under the same one.
pub fn seal_memory() {
    let sealed =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    sealed.expect("PR_SET_DUMPABLE 0 has no way to fail");
}

/// The paths that a program's name stands for: itself if it has a `/`, else one in each
/// directory of `path` (execvp(3)); an empty element is the working directory.
pub fn candidates(program: &CStr, path: &[u8]) -> Vec<CString> {
    let name = program.to_bytes();
    if name.contains(&b'/') {
        return vec![program.to_owned()];
    }
    let join = |directory: &[u8]| {
        let mut full = if directory.is_empty() { b".".to_vec() } else { directory.to_vec() };
        full.push(b'/');
        full.extend_from_slice(name);
        CString::new(full).expect("a value of an environment and a name have no NUL")
    };
    path.split(|byte| *byte == b':').map(join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_in_each_directory_and_a_path_is_itself() {
        let of = |name: &CStr, path: &[u8]| candidates(name, path);
        assert_eq!(of(c"ls", b"/bin:/usr/bin"), [c"/bin/ls".into(), c"/usr/bin/ls".to_owned()]);
        assert_eq!(of(c"ls", b":/bin"), [c"./ls".into(), c"/bin/ls".to_owned()]);
        assert_eq!(of(c"./ls", b"/bin"), [c"./ls".to_owned()]);
    }
}
