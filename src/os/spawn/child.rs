//! What the child does between its birth and the program: prepared steps, each one system call.
//!
//! It shares the parent's memory and the calling thread's thread-local storage, so nothing here
//! allocates, locks, panics or uses a library call that is more than a system call. User and
//! group are changed by raw system calls: libc's functions signal every thread, and the threads
//! are the parent's.

use super::Ids;
use crate::{core::outcome::Stage, os::schedule};

/// All that the child needs, as plain pointers and numbers; the parent keeps them alive.
pub(super) struct Plan {
    pub(super) argv: *const *const libc::c_char,
    pub(super) env: *const *const libc::c_char,
    pub(super) candidates: *const *const libc::c_char,
    pub(super) workdir: *const libc::c_char,
    pub(super) stdio: [i32; 3],
    /// The child is born into the parent's table of descriptors, and all from this number on stay the parent's.
    pub(super) shared_from: Option<u32>,
    pub(super) terminal: bool,
    pub(super) identity: Option<RawIds>,
    pub(super) label: Option<libc::rlimit>,
    pub(super) nofile: libc::rlimit64,
    pub(super) oom_reset: bool,
    pub(super) close_range: bool,
    /// Whether the thread that starts the child is scheduled otherwise than the agent was started.
    pub(super) schedule_reset: bool,
    /// Signals that the agent ignores: bit n-1 for number n.
    pub(super) ignored: u64,
    /// Whose handlers the child was born with.
    pub(super) handlers: Handlers,
    /// Written by the child, read by the parent once the child is gone from its memory.
    pub(super) failure: Option<(Stage, i32)>,
}

/// The handlers of signals that a child is born with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handlers {
    /// The kernel took them away; what was ignored is ignored.
    Cleared,
    /// The agent's.
    Ours,
}

#[derive(Clone, Copy)]
pub(super) struct RawIds {
    uid: u32,
    gid: u32,
    groups: *const u32,
    groups_len: usize,
}

impl From<Ids<'_>> for RawIds {
    fn from(ids: Ids<'_>) -> Self {
        let Ids { uid, gid, groups } = ids;
        Self { uid, gid, groups: groups.as_ptr(), groups_len: groups.len() }
    }
}

/// One step: what it does, or the errno of what failed.
type Step = fn(&Plan) -> Result<(), i32>;

/// Takes the steps of `plan`; ends the child if one fails.
pub(super) extern "C" fn run(plan: *mut Plan) -> ! {
    // SAFETY: the parent passes a plan that it keeps alive and does not touch while it is
    // stopped, which is as long as this function runs.
    let plan = unsafe { &mut *plan };
    let stages: [(Stage, Step); 7] = [
        // Before anything else: until then what is changed in the table is changed for the parent.
        (Stage::Descriptors, own_table),
        (Stage::Session, session),
        (Stage::Redirect, redirect),
        (Stage::Session, terminal),
        (Stage::Limits, limits),
        (Stage::Identity, identity),
        (Stage::Workdir, workdir),
    ];
    for (stage, step) in stages {
        if let Err(errno) = step(plan) {
            plan.failure = Some((stage, errno));
            leave();
        }
    }
    close_rest(plan);
    reset_signals(plan);
    plan.failure = Some((Stage::Exec, execute(plan)));
    leave()
}

fn leave() -> ! {
    // SAFETY: `_exit` takes any number; it runs no handlers of the parent.
    unsafe { libc::_exit(127) }
}

/// Turns a system call's return value into its errno.
fn check(result: libc::c_long) -> Result<(), i32> {
    if result >= 0 {
        return Ok(());
    }
    // SAFETY: no arguments; the location belongs to the borrowed thread, which is stopped.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: libc's location is valid for as long as the thread is.
    Err(unsafe { *errno })
}

/// Takes a table of descriptors of its own, without what is the parent's only.
fn own_table(plan: &Plan) -> Result<(), i32> {
    let Some(from) = plan.shared_from else { return Ok(()) };
    // SAFETY: plain numbers; the kernel makes the new table before it closes anything in it.
    check(unsafe {
        libc::syscall(libc::SYS_close_range, from, u32::MAX, libc::CLOSE_RANGE_UNSHARE)
    })
}

fn session(_: &Plan) -> Result<(), i32> {
    // SAFETY: no arguments.
    check(unsafe { libc::setsid() }.into())?;
    // SAFETY: any mask is valid. 022 is what a login gives; the agent's own is stricter.
    unsafe { libc::umask(0o022) };
    Ok(())
}

fn redirect(plan: &Plan) -> Result<(), i32> {
    for (target, source) in (0..).zip(plan.stdio) {
        // SAFETY: plain numbers; the sources are above 2, so no target overwrites one, and
        // dup2 clears close-on-exec on the target.
        check(unsafe { libc::dup2(source, target) }.into())?;
    }
    Ok(())
}

fn terminal(plan: &Plan) -> Result<(), i32> {
    if !plan.terminal {
        return Ok(());
    }
    // SAFETY: TIOCSCTTY takes a number.
    check(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) }.into())
}

fn limits(plan: &Plan) -> Result<(), i32> {
    // SAFETY: the limit lives through the call.
    check(unsafe { libc::setrlimit64(libc::RLIMIT_NOFILE, &plan.nofile) }.into())?;
    if let Some(label) = plan.label {
        // SAFETY: as above. A refusal only costs the label; other traces of the tree remain.
        unsafe { libc::setrlimit(libc::RLIMIT_RTTIME, &label) };
    }
    if plan.oom_reset {
        reset_oom_score();
    }
    if plan.schedule_reset {
        schedule::be_usual();
    }
    Ok(())
}

/// Sets this process's oom score adjustment to 0; raising it needs no privilege. The kernel
/// leaves the parent's alone for a vfork child.
fn reset_oom_score() {
    let flags = libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: a constant, NUL-terminated path.
    let fd = unsafe { libc::open(c"/proc/self/oom_score_adj".as_ptr(), flags) };
    if fd >= 0 {
        // SAFETY: the descriptor was just opened; the buffer is one constant byte.
        unsafe { libc::write(fd, b"0".as_ptr().cast(), 1) };
        // SAFETY: the descriptor is ours and used no more.
        unsafe { libc::close(fd) };
    }
}

fn identity(plan: &Plan) -> Result<(), i32> {
    let Some(ids) = plan.identity else { return Ok(()) };
    let RawIds { uid, gid, groups, groups_len } = ids;
    // SAFETY: `groups` points to `groups_len` numbers that the parent keeps alive.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups_len, groups) })?;
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

/// After the change of user: a directory that only the user may enter is entered as the user.
fn workdir(plan: &Plan) -> Result<(), i32> {
    // SAFETY: the parent keeps the NUL-terminated path alive.
    check(unsafe { libc::chdir(plan.workdir) }.into())
}

/// Every descriptor of the agent is close-on-exec from birth and inherited ones are marked at
/// its start; this is the second belt, where the kernel has it.
fn close_rest(plan: &Plan) {
    if plan.close_range {
        // SAFETY: plain numbers; the child's descriptor table is its own, by birth or by `own_table`.
        unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    }
}

/// Sets every disposition to its default and unblocks all signals. Rust ignores SIGPIPE, and an
/// agent started with `&` from a shell ignores SIGINT and SIGQUIT: execve(2) would keep both. A
/// handler would run in our parent's memory, once signals are unblocked.
///
/// Where the kernel took the handlers away, only what was ignored is left to do: two of the 64 calls.
fn reset_signals(plan: &Plan) {
    let chosen = match plan.handlers {
        Handlers::Cleared => plan.ignored,
        Handlers::Ours => u64::MAX,
    };
    for signal in 1..=64u64 {
        if chosen >> (signal - 1) & 1 == 1 {
            set_default(signal);
        }
    }
    let none = 0u64;
    // SAFETY: `none` is the kernel's 64-bit signal set and lives through the call.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null::<u64>(),
            8usize,
        )
    };
}

fn set_default(signal: u64) {
    let default = KernelAction::default();
    // SAFETY: `default` lives through the call; signals that cannot be set are refused. The
    // handler table is the child's own (no CLONE_SIGHAND).
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            &raw const default,
            std::ptr::null::<KernelAction>(),
            8usize,
        )
    };
}

/// The signals that this process ignores: bit n-1 for number n.
pub(super) fn ignored() -> u64 {
    let is_ignored = |signal: &u64| {
        let mut now = KernelAction::default();
        // SAFETY: the action is ours to be filled and lives through the call; nothing is set.
        let asked = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                *signal,
                std::ptr::null::<KernelAction>(),
                &raw mut now,
                8usize,
            )
        };
        asked == 0 && now.handler == libc::SIG_IGN as u64
    };
    (1..=64u64).filter(is_ignored).map(|signal| 1 << (signal - 1)).sum()
}

/// The kernel's own `struct sigaction`. All zeros is the default.
#[repr(C)]
#[derive(Default)]
struct KernelAction {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

/// Becomes the first candidate that can be executed; returns the errno that says most, as
/// execvp(3) does: "permission denied" of one directory wins over "not found" in the others.
fn execute(plan: &Plan) -> i32 {
    let mut denied = false;
    let mut candidate = plan.candidates;
    loop {
        // SAFETY: `candidate` walks a null-terminated array that the parent keeps alive.
        let path = unsafe { *candidate };
        if path.is_null() {
            return if denied { libc::EACCES } else { libc::ENOENT };
        }
        // SAFETY: the arrays and their strings are NUL-terminated and kept alive.
        let errno = match check(unsafe { libc::execve(path, plan.argv, plan.env) }.into()) {
            Ok(()) => 0,
            Err(errno) => errno,
        };
        match errno {
            libc::EACCES => denied = true,
            libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
            other => return other,
        }
        candidate = candidate.wrapping_add(1);
    }
}
