//! Collects mistakes: each method takes one flag's text and returns its value, or notes what is
//! wrong and returns a placeholder that never gets out, because [`Check::done`] then fails.

use std::{
    ffi::OsString,
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    core::{limits::KEY_FILE_BYTES_MAX, units},
    doors::address::Address,
};

#[derive(Default)]
pub(super) struct Check {
    mistakes: Vec<String>,
    notices: Vec<String>,
}

impl Check {
    pub(super) fn mistake(&mut self, line: String) {
        self.mistakes.push(line);
    }

    pub(super) fn notice(&mut self, line: String) {
        self.notices.push(line);
    }

    pub(super) fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// The configuration, if nothing was wrong.
    pub(super) fn done<T>(self, config: T) -> Result<T, Vec<String>> {
        if self.mistakes.is_empty() { Ok(config) } else { Err(self.mistakes) }
    }

    pub(super) fn listen(&mut self, texts: &[String], hosts: &[u8]) -> Vec<Address> {
        let mut addresses: Vec<Address> = Vec::new();
        for text in texts {
            match Address::parse(text, hosts) {
                Ok(address) if is_fixed(&address) && addresses.contains(&address) => {
                    self.mistake(format!("--listen {text} is given twice"));
                }
                Ok(address) => addresses.push(address),
                Err(error) => self.mistake(format!("--listen {text:?} {error}")),
            }
        }
        addresses
    }

    /// A text that may be absent but not empty. An empty variable counts as absent: container
    /// tools often cannot unset one.
    pub(super) fn given(&mut self, flag: &str, text: Option<String>) -> Option<String> {
        let text = text.filter(|text| !text.is_empty())?;
        if text.contains('\0') {
            self.mistake(format!("{flag} has a NUL byte"));
        }
        Some(text)
    }

    /// The bytes of a key, token or certificate file.
    pub(super) fn file(&mut self, flag: &str, path: &Path) -> Option<Vec<u8>> {
        let read = fs::File::open(path).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(KEY_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        match read {
            Ok(bytes) if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > KEY_FILE_BYTES_MAX => {
                let error = format!("has more than {KEY_FILE_BYTES_MAX} bytes");
                self.bad_file(flag, path, &error);
            }
            Ok(bytes) => return Some(bytes),
            Err(error) => self.bad_file(flag, path, &error),
        }
        None
    }

    /// What `parse` makes of the file of this flag, if the flag is given.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &mut self,
        flag: &str,
        path: &Option<OsString>,
        parse: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Option<T> {
        let path = given_path(path)?;
        match parse(&self.file(flag, &path)?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.bad_file(flag, &path, &error);
                None
            }
        }
    }

    fn bad_file(&mut self, flag: &str, path: &Path, error: &dyn std::fmt::Display) {
        self.mistake(format!("{flag} {}: {error}", path.display()));
    }

    pub(super) fn absolute(&mut self, flag: &str, text: OsString) -> PathBuf {
        let path = PathBuf::from(text);
        if !path.is_absolute() {
            self.mistake(format!("{flag} {:?} is not an absolute path", path.display()));
        }
        path
    }

    pub(super) fn size(&mut self, flag: &str, text: &str) -> u64 {
        match units::size(text) {
            Ok(0) => self.mistake(format!("{flag} must not be 0")),
            Ok(bytes) => return bytes,
            Err(error) => self.mistake(format!("{flag} {text:?} {error}")),
        }
        0
    }

    pub(super) fn duration(&mut self, flag: &str, text: &str) -> Duration {
        units::duration(text).unwrap_or_else(|error| {
            self.mistake(format!("{flag} {text:?} {error}"));
            Duration::ZERO
        })
    }

    pub(super) fn count(&mut self, flag: &str, text: &str, least: usize) -> usize {
        match text.trim().parse() {
            Ok(count) if count >= least => return count,
            Ok(_) => self.mistake(format!("{flag} must be at least {least}")),
            Err(_) => self.mistake(format!("{flag} {text:?} is not a whole number")),
        }
        least
    }

    pub(super) fn choice<T: Copy>(&mut self, flag: &str, text: &str, known: &[(&str, T)]) -> T {
        if let Some((_, value)) = known.iter().find(|(name, _)| *name == text) {
            return *value;
        }
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        self.mistake(format!("{flag} {text:?} is none of {}", names.join(", ")));
        known[0].1
    }
}

/// A path that may be absent; an empty variable counts as absent.
pub(super) fn given_path(text: &Option<OsString>) -> Option<PathBuf> {
    text.as_ref().filter(|text| !text.is_empty()).map(PathBuf::from)
}

/// Whether two listeners at this address would collide.
fn is_fixed(address: &Address) -> bool {
    match address {
        Address::Tcp(socket) => socket.port() != 0,
        Address::Unix(_) => true,
    }
}
