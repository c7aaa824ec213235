//! The commands about execs as a user runs them: the built binary, and an agent beside it.

#![allow(clippy::unwrap_used)]

mod agent;
mod endings;
mod listing;
mod logs;
mod support;
mod top;
mod ways;
