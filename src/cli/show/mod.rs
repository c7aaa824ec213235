//! How answers are shown: to people as tables and sentences, to programs as JSON.
//!
//! Everything that came from an agent is made harmless before it reaches a terminal: a command
//! that is listed must not be able to write escape sequences to the person who looks.

pub(super) mod colour;
pub(super) mod human;
pub(super) mod json;
pub(super) mod table;
pub(super) mod words;

use std::{fs::File, io::stdout};

use clap::Args;

use super::{
    failure,
    streams::{own, write_whole},
};

/// For whom the answer is.
#[derive(Args, Debug, Clone, Copy)]
pub(super) struct Format {
    /// Print JSON: times as RFC 3339, durations in seconds, sizes in bytes, absent values left out
    #[arg(long)]
    pub(super) json: bool,
}

/// Writes a text to standard output, all of it.
pub(super) fn put(text: &str) -> anyhow::Result<()> {
    own(stdout())
        .and_then(|to| write_whole(&mut File::from(to), text.as_bytes()))
        .map_err(failure::output)
}
