//! Images as clients see them: the built binary over a real socket, snapshots, mounts, and what comes of
//! them when the agent is killed.
//!
//! As root everything is mounted in a mount namespace of the test's own.

#![allow(clippy::unwrap_used)]

#[path = "../agent/support/mod.rs"]
#[allow(dead_code, unused_imports)]
mod support;

#[path = "../servers/mod.rs"]
#[allow(dead_code)]
mod servers;

mod archives;
mod begin;
mod commands;
mod filesystem;
mod gate;
mod keeping;
mod killed;
mod registries;
mod rooted;
mod router;
mod service;
mod shared;
mod shared_killed;
mod tools;
mod world;
