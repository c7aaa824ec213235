//! Makes a process that borrows our memory until it has become another program.

use std::{
    cell::Cell,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use rustix::{io::Errno, process::Pid};

use super::{
    Way,
    child::{self, Handlers, Plan},
};

/// Stack of a child, in bytes: its steps need a few KiB, unoptimized ones some more.
const STACK_BYTES: usize = 64 << 10;
/// clone3's flag that takes a cgroup directory (linux/sched.h); the libc crate's type is too narrow.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// clone3's flag that gives the child no handler of ours (Linux 5.5; clone(2)).
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

thread_local! {
    /// The stack of this thread's next child: the last one is done with it when it is born.
    static STACK: Cell<Vec<u128>> = const { Cell::new(Vec::new()) };
}

/// Runs `plan` in a new process and returns its pid once it has become the program or ended.
pub(super) fn vfork(
    way: Way,
    group: Option<BorrowedFd<'_>>,
    plan: &mut Plan,
) -> Result<Pid, Errno> {
    let mut stack = STACK.take();
    // Nothing once, and nothing new afterwards: to make and give back so much each time costs more
    // than the rest of our part of a start.
    stack.reserve_exact(STACK_BYTES / 16);
    let mask = block_signals();
    let pid = match way {
        Way::Clone3 => {
            plan.handlers = Handlers::Cleared;
            match clone3(group, &mut stack, plan) {
                // Linux 5.3 and 5.4 have clone3 and not this flag.
                Err(Errno::INVAL) => {
                    plan.handlers = Handlers::Ours;
                    clone3(group, &mut stack, plan)
                }
                made => made,
            }
        }
        Way::Clone => clone(&mut stack, plan),
    };
    restore_signals(&mask);
    STACK.set(stack);
    pid
}

fn clone(stack: &mut Vec<u128>, plan: &mut Plan) -> Result<Pid, Errno> {
    extern "C" fn enter(plan: *mut libc::c_void) -> libc::c_int {
        child::run(plan.cast())
    }
    let top = stack.as_mut_ptr().wrapping_add(stack.capacity());
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | table(plan) | libc::SIGCHLD;
    // SAFETY: `top` is the 16-byte aligned end of memory that outlives the child's use of it
    // (CLONE_VFORK stops this thread until the child has left); `enter` runs prepared,
    // async-signal-safe steps over `plan`, which lives as long; all signals are blocked.
    let pid = unsafe { libc::clone(enter, top.cast(), flags, ptr::from_mut(plan).cast()) };
    if pid < 0 { Err(last_errno()) } else { Ok(Pid::from_raw(pid).expect("clone returns a pid")) }
}

#[cfg(not(target_arch = "x86_64"))]
fn clone3(
    _group: Option<BorrowedFd<'_>>,
    stack: &mut Vec<u128>,
    plan: &mut Plan,
) -> Result<Pid, Errno> {
    plan.handlers = Handlers::Ours;
    clone(stack, plan)
}

#[cfg(target_arch = "x86_64")]
fn clone3(
    group: Option<BorrowedFd<'_>>,
    stack: &mut Vec<u128>,
    plan: &mut Plan,
) -> Result<Pid, Errno> {
    /// The kernel's `struct clone_args`, version 2 (clone(2)).
    #[repr(C)]
    #[derive(Default)]
    struct Args {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    let into = if group.is_some() { CLONE_INTO_CGROUP } else { 0 };
    let clear = match plan.handlers {
        Handlers::Cleared => CLONE_CLEAR_SIGHAND,
        Handlers::Ours => 0,
    };
    let args = Args {
        flags: (libc::CLONE_VM | libc::CLONE_VFORK | table(plan)) as u64 | into | clear,
        exit_signal: libc::SIGCHLD as u64,
        stack: stack.as_mut_ptr() as u64,
        stack_size: (stack.capacity() * 16) as u64,
        cgroup: group.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..Args::default()
    };
    let result: i64;
    // SAFETY: the kernel starts the child at the instruction after `syscall` with rax = 0 and
    // rsp at the end of `stack`, 16-byte aligned; it calls `child::run`, which never returns,
    // with `plan` in its first argument. The parent, stopped until then (CLONE_VFORK), goes on
    // at the label with its own stack untouched. `stack` and `plan` outlive the child's use.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &args,
            in("rsi") size_of::<Args>(),
            in("r12") child::run as *const (),
            in("r13") ptr::from_mut(plan),
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    match i32::try_from(result) {
        Ok(pid) if pid > 0 => Ok(Pid::from_raw(pid).expect("clone3 returns a pid")),
        Ok(errno) => Err(Errno::from_raw_os_error(-errno)),
        Err(_) => Err(Errno::INVAL),
    }
}

/// The flag with which the child shares our table of descriptors, if it is to take its own from there.
fn table(plan: &Plan) -> libc::c_int {
    if plan.shared_from.is_some() { libc::CLONE_FILES } else { 0 }
}

/// Blocks every signal in this thread: a handler must not run in a child that shares our memory.
fn block_signals() -> libc::sigset_t {
    let mut all = empty_set();
    let mut before = empty_set();
    // SAFETY: `all` is a signal set of ours to be filled.
    unsafe { libc::sigfillset(&mut all) };
    // SAFETY: both point to signal sets that live through the call.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before) };
    before
}

fn restore_signals(mask: &libc::sigset_t) {
    // SAFETY: `mask` is a set that `block_signals` filled; no old set is asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, ptr::null_mut()) };
}

fn empty_set() -> libc::sigset_t {
    // SAFETY: a signal set is plain bits, of which all zeros is the empty set.
    unsafe { std::mem::zeroed() }
}

fn last_errno() -> Errno {
    Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}
