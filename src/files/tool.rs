//! The process of one call.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write, stderr, stdin, stdout},
    os::{fd::AsFd, unix::ffi::OsStrExt},
};

use super::{
    change::{self, Parents, Within},
    entry,
    failure::{Failure, Kind},
    input::Input,
    read::read,
    request::Request,
    watch::watch,
    write::write,
};
use crate::core::limits::FILE_BYTES_MAX;

/// Does what the only argument says; returns the exit code. A failure is told on standard error.
pub fn run(arguments: impl Iterator<Item = OsString>) -> u8 {
    match call(arguments) {
        Ok(()) => 0,
        Err(failure) => {
            let said = serde_json::to_string(&failure).expect("text and numbers are JSON");
            // If nobody takes it, the exit code tells.
            let _ = writeln!(stderr(), "{said}");
            1
        }
    }
}

fn call(mut arguments: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    let (Some(argument), None) = (arguments.next(), arguments.next()) else {
        return Err(Failure::new(Kind::Io, "expected one argument, a command as JSON"));
    };
    let mut output = output()?;
    match Request::parse(argument.as_bytes())? {
        Request::WriteFile { path } => {
            let input = stdin();
            write(&path, &mut Input::from_agent(input.as_fd()), FILE_BYTES_MAX)
        }
        Request::ReadFile { path } => read(&path, &mut output, FILE_BYTES_MAX),
        Request::ListFiles { path } => entry::list(&path, output),
        Request::Stat { path } => entry::show(&path, output),
        Request::MakeDirectory { path, parents } => {
            change::make(&path, if parents { Parents::Made } else { Parents::Required })
        }
        Request::Remove { path, recursive } => {
            change::remove(&path, if recursive { Within::Removed } else { Within::Refused })
        }
        Request::Watch(request) => watch(&request, stdin().as_fd(), &mut output),
    }
}

/// Standard output, without the buffer that text has.
fn output() -> io::Result<File> {
    Ok(File::from(stdout().as_fd().try_clone_to_owned()?))
}
