//! What runs execs: one task owns one exec.
//!
//! A [`birth`] makes the process, the exec's own task (`run`) sees it to its end, and everybody
//! else watches its [`handle`]. A [`store`] holds the [`spool`]s, one a stream; a [`pump`] moves
//! a pipe or terminal into its spool, a [`reader`] reads it from any offset, and [`input`] is
//! written by offset. A terminal's [`screen`] is kept once somebody attached. The [`engine`] is the
//! table of all of it.

mod audit;
pub mod birth;
pub mod changes;
mod disk;
pub mod engine;
pub mod facts;
pub mod handle;
pub mod input;
mod kept;
mod linger;
pub mod measure;
pub mod orders;
pub mod pump;
pub mod reader;
mod room;
mod run;
pub mod screen;
pub mod seats;
pub mod secrets;
pub mod spool;
pub mod store;
mod tail;
mod terminal;

#[cfg(test)]
mod spool_tests;
