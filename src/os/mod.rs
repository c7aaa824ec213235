//! What speaks to the kernel: starting and reaping processes, terminals, signals, process trees,
//! paths beneath a directory descriptor. The only unsafe code of the crate is here.

#[allow(unsafe_code)]
pub mod cached;
pub mod cgroup;
#[allow(unsafe_code)]
pub mod descriptors;
#[allow(unsafe_code)]
pub mod features;
pub mod label;
#[allow(unsafe_code)]
pub mod memory;
pub mod mount;
#[allow(unsafe_code)]
pub mod proc;
pub mod pty;
#[allow(unsafe_code)]
pub mod ready;
#[allow(unsafe_code)]
pub mod reap;
pub mod rooted;
#[allow(unsafe_code)]
pub mod schedule;
#[allow(unsafe_code)]
pub mod signals;
#[allow(unsafe_code)]
pub mod spawn;
pub mod tree;
#[allow(unsafe_code)]
pub mod usage;
pub mod user;
pub mod work;
