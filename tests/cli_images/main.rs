//! The commands about images as a user runs them: the built binary, and a small server in place of an agent.

#![allow(clippy::unwrap_used)]

mod archives;
mod fake;
mod keeping;
mod listing;
mod making;
mod mounting;
mod moving;
mod support;
mod terminal;
mod ways;
