//! `doorward cp` as a user runs it: the built binary, and an agent beside it that sees the same files.

#![allow(clippy::unwrap_used)]

mod archives;
mod forms;
mod links;
mod places;
mod support;
mod trees;
