//! Drives the built binary over real sockets, one module a subject.
//!
//! `DOORWARD_DISABLE` is inherited by the agents that are started here: the same tests run a
//! second time with the kernel's newer features taken away.

#![allow(clippy::unwrap_used)]

mod support;

mod access;
mod attached;
mod command;
mod containers;
mod control_attach;
mod control_cancel;
mod control_list;
mod control_oom;
mod control_orders;
mod control_output;
mod control_screen;
mod control_watch;
mod cuts;
mod entrypoint;
mod environment;
mod escapes;
mod files;
mod gvisor;
mod input;
mod leftovers;
mod life;
mod output;
// The shell's tests use more of it.
#[allow(dead_code)]
mod proxy;
mod public;
mod refusals;
mod repeats;
mod safety;
mod shutdown;
mod spools;
mod terminal;
