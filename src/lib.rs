//! Doorward: the agent inside a sandbox container.
//!
//! The layers, each using only the ones above it in this list (`tests/tidy.rs` holds them to it):
//!
//! - [`wire`] is the contract: generated types and how their bytes become values.
//! - [`core`] decides: no clock, no task, no descriptor, no I/O.
//! - [`os`] speaks to the kernel; the only unsafe code.
//! - [`archive`] packs and unpacks files.
//! - [`files`] serves the file API of public clients, one process a call.
//! - [`exec`] runs execs: pumps, spools, readers, input.
//! - [`image`] keeps directories as images: the store, what an image consists of, how a directory becomes a
//!   layer, layers a directory again, images in use, registries and buckets, and the engine that joins them for
//!   the doors.
//! - [`doors`] speak to clients: one file or folder a protocol.
//! - [`agent`] puts it together: configuration, PID 1 duties, shutdown order.
//! - [`client`] is the library that others link; [`cli`] the command for people. Both stand on
//!   the other side of the wire and use only [`core`] and the wire types, and [`cli`] the archives.

#![deny(clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::unwrap_used))]
// What only images need stays where it is, and the linker leaves it out.
#![cfg_attr(not(feature = "images"), allow(dead_code, unused_imports))]

pub mod agent;
pub mod archive;
pub mod cli;
pub mod client;
pub mod core;
pub mod doors;
pub mod exec;
pub mod files;
pub mod image;
pub mod os;
pub mod wire;
