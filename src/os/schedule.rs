//! How the kernel shares the processors, and signals, among our threads and what they start.

/// What a thread of the pool does first. The thread that serves is not disturbed by it, nor it by
/// what that one waits for.
pub fn join_pool() {
    stand_back();
    leave_signals();
}

/// Blocks the signals that are for the whole process in this thread. The end of a child is told to the
/// thread that made it first, which would be woken only to wake the one that reaps.
fn leave_signals() {
    // SAFETY: a signal set is plain bits, of which all zeros is the empty set.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `all` is a signal set of ours to be filled.
    unsafe { libc::sigfillset(&mut all) };
    // What a thread's own mistake raises is its own; blocked, it would end the process unsaid.
    for own in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP] {
        // SAFETY: the set is whole, and the numbers are signals.
        unsafe { libc::sigdelset(&mut all, own) };
    }
    // SAFETY: the set lives through the call; no old one is asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &all, std::ptr::null_mut()) };
}

/// Makes this thread one that works in the background (SCHED_BATCH, sched(7)): when it is woken it
/// waits until whoever runs has had its turn. What it starts begins the same way.
///
/// Each job of the pool is handed over by the thread that serves. Woken as usual, the worker takes
/// the processor from it in the middle of the next request: with 32 commands started at once this
/// costs a tenth of the rate, in changes of context. A thread that somebody gave another policy keeps it;
/// where the kernel says no, nothing changes.
fn stand_back() {
    if is_usual() {
        set(libc::SCHED_BATCH);
    }
}

/// Whether this thread is scheduled as most are. SCHED_RESET_ON_FORK would not give a child that
/// back: the kernel resets what is above it only.
pub fn is_usual() -> bool {
    // SAFETY: 0 is this thread; nothing is written.
    unsafe { libc::sched_getscheduler(0) == libc::SCHED_OTHER }
}

/// Has this thread scheduled as most are. One system call; a child may make it before its program.
pub(super) fn be_usual() {
    set(libc::SCHED_OTHER);
}

fn set(policy: i32) {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is this thread, and the parameter lives through the call.
    unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const none) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_the_pool_leaves_signals_to_the_others() {
        std::thread::spawn(|| {
            join_pool();
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
            let blocked = u64::from_str_radix(blocked.trim(), 16).unwrap();
            let has = |signal: i32| blocked >> (signal - 1) & 1 == 1;
            assert!(has(libc::SIGCHLD) && has(libc::SIGTERM) && !has(libc::SIGSEGV));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_thread_stands_back_and_comes_again() {
        std::thread::spawn(|| {
            if !is_usual() {
                println!("SKIPPED: these tests run under a policy of their own");
                return;
            }
            stand_back();
            assert!(!is_usual());
            be_usual();
            assert!(is_usual());
        })
        .join()
        .unwrap();
    }
}
