//! The file API of public clients: each call is one process that is told in one argument what to do.
//!
//! Clients start `/__modal/.bin/modal-sandbox-fs-tools` ([`FILE_TOOL`]) as an ordinary exec. Where the image
//! has no such file, `exec::birth` runs the agent's own binary under that name, so it needs nothing of
//! the image, and has the user, the limits and the end of any other exec. The argument is an object with one
//! key, the command (`request`); input and output are the file's bytes, or JSON; a failure is exit
//! code 1 and one JSON object on standard error (`failure`).
//!
//! A path means what it means to any other program of that user: links are followed, and there is no
//! directory that it has to stay beneath. Names that are not UTF-8 cannot be said in JSON: where they are
//! listed, what is wrong in them is shown as U+FFFD, and such a name leads to nothing.

mod change;
mod entry;
mod failure;
mod input;
mod part;
mod read;
mod request;
mod tool;
mod watch;
mod write;

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

pub use tool::run;

use crate::core::spec::FILE_TOOL;

/// Whether a process that was started under this name is to be a file tool.
pub fn is_meant(name: &OsStr) -> bool {
    name.as_bytes() == FILE_TOOL.to_bytes()
}
