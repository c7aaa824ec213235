//! What a file or a directory is, as clients are told.

use std::{
    fs::{self, Metadata, ReadDir},
    io::{self, BufWriter, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    path::Path,
};

use serde::Serialize;

use super::failure::{Failure, Kind};
use crate::{core::limits::FILES_LISTED_MAX, os::user::Names};

/// One thing in a file system. The fields are those of the wire.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Entry {
    name: String,
    path: String,
    #[serde(rename = "type")]
    kind: &'static str,
    size: u64,
    mode: u32,
    /// The last bits of the mode, as four octal digits.
    permissions: String,
    owner: String,
    group: String,
    /// In seconds since 1970.
    modified_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    symlink_target: Option<String>,
}

/// Writes what is at `path`; a link is not followed.
pub(super) fn show(path: &Path, to: impl Write) -> Result<(), Failure> {
    let entry = Entry::of(path, &fs::symlink_metadata(path)?, &mut Names::read())?;
    finish(BufWriter::new(to), &entry)
}

/// Writes what is in the directory at `path`, sorted by name. Nothing of it is kept but the names.
pub(super) fn list(path: &Path, to: impl Write) -> Result<(), Failure> {
    if !fs::metadata(path)?.is_dir() {
        return Err(Failure::new(Kind::IsFile, "expected a directory path"));
    }
    let entries = sorted(fs::read_dir(path)?, FILES_LISTED_MAX)?;
    // What is listed is told by absolute paths.
    let path = std::path::absolute(path)?;
    let mut names = Names::read();
    let mut to = BufWriter::new(to);
    let mut before = "[";
    for entry in entries {
        let found = entry.metadata();
        let entry = found.and_then(|it| Entry::of(&path.join(entry.file_name()), &it, &mut names));
        let entry = match entry {
            // It was removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entry => entry?,
        };
        to.write_all(before.as_bytes())?;
        serde_json::to_writer(&mut to, &entry).map_err(io::Error::from)?;
        before = ",";
    }
    let end = if before == "[" { "[]" } else { "]" };
    to.write_all(end.as_bytes())?;
    Ok(to.flush()?)
}

fn sorted(directory: ReadDir, most: usize) -> Result<Vec<fs::DirEntry>, Failure> {
    let mut entries = Vec::new();
    for entry in directory {
        if entries.len() == most {
            let message = format!("the directory has more than {most} entries");
            return Err(Failure::new(Kind::Io, message));
        }
        entries.push(entry?);
    }
    entries.sort_unstable_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

fn finish(mut to: impl Write, entry: &Entry) -> Result<(), Failure> {
    serde_json::to_writer(&mut to, entry).map_err(io::Error::from)?;
    Ok(to.flush()?)
}

impl Entry {
    fn of(path: &Path, found: &Metadata, names: &mut Names) -> io::Result<Self> {
        let is_link = found.file_type().is_symlink();
        let target = if is_link { Some(fs::read_link(path)?) } else { None };
        let mode = found.permissions().mode();
        Ok(Self {
            name: name(path),
            path: path.to_string_lossy().into_owned(),
            // Pipes, sockets and devices count as files: clients know no other word.
            kind: match () {
                () if is_link => "symlink",
                () if found.is_dir() => "directory",
                () => "file",
            },
            size: found.len(),
            mode,
            permissions: format!("{:04o}", mode & 0o7777),
            owner: names.user(found.uid()),
            group: names.group(found.gid()),
            modified_time: found.mtime() as f64 + found.mtime_nsec() as f64 / 1e9,
            symlink_target: target.map(|target| target.to_string_lossy().into_owned()),
        })
    }
}

/// The last component as it is written, `..` too; the root is called `/`.
fn name(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let kept = bytes.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let bytes = &bytes[..kept];
    let start = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    match &bytes[start..] {
        b"" => "/".into(),
        name => String::from_utf8_lossy(name).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::OsStr,
        os::unix::fs::symlink,
        time::{Duration, UNIX_EPOCH},
    };

    use serde_json::{Value, json};

    use super::*;

    fn shown(path: &Path) -> Value {
        let mut to = Vec::new();
        show(path, &mut to).unwrap();
        serde_json::from_slice(&to).unwrap()
    }

    fn listed(path: &Path) -> Vec<Value> {
        let mut to = Vec::new();
        list(path, &mut to).unwrap();
        serde_json::from_slice(&to).unwrap()
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn an_entry_says_all_that_clients_read() {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join(path);
        fs::write(at("file"), "12345").unwrap();
        mode(&at("file"), 0o4751);
        let when = UNIX_EPOCH + Duration::from_millis(1_500_000_000_250);
        fs::File::options().write(true).open(at("file")).unwrap().set_modified(when).unwrap();
        let own = fs::metadata(at("file")).unwrap();
        let mut names = Names::read();
        let expected = json!({
            "name": "file", "path": at("file").to_str().unwrap(), "type": "file", "size": 5,
            "mode": 0o104_751, "permissions": "4751", "owner": names.user(own.uid()),
            "group": names.group(own.gid()), "modified_time": 1_500_000_000.25,
        });
        assert_eq!(shown(&at("file")), expected);
        assert_eq!(listed(top.path()), [expected]);
        symlink("file", at("link")).unwrap();
        let link = shown(&at("link"));
        assert_eq!(link["type"], "symlink");
        assert_eq!(link["symlink_target"], "file");
        assert_eq!(link["permissions"], "0777");
        assert_eq!(shown(top.path())["type"], "directory");
        assert_eq!(shown(Path::new("/dev/null"))["type"], "file");
    }

    #[test]
    fn a_directory_is_listed_by_name_and_through_a_link() {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join(path);
        fs::create_dir_all(at("dir/zebra/deep")).unwrap();
        fs::write(at("dir/alpha"), "").unwrap();
        fs::write(at("dir").join(OsStr::from_bytes(b"m\xff")), "").unwrap();
        symlink("nowhere", at("dir/beta")).unwrap();
        symlink("dir", at("link")).unwrap();
        let names = |entries: &[Value]| -> Vec<String> {
            entries.iter().map(|entry| entry["name"].as_str().unwrap().to_string()).collect()
        };
        let entries = listed(&at("link"));
        assert_eq!(names(&entries), ["alpha", "beta", "m\u{fffd}", "zebra"]);
        assert_eq!(entries[0]["path"], at("link/alpha").to_str().unwrap());
        assert_eq!(listed(&at("dir/zebra/deep")), Vec::<Value>::new());
    }

    #[test]
    fn what_is_not_a_directory_is_not_listed() {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join(path);
        fs::write(at("file"), "").unwrap();
        for (path, kind) in
            [("file", Kind::IsFile), ("file/in", Kind::NotDirectory), ("none", Kind::NotFound)]
        {
            assert_eq!(list(&at(path), io::sink()).unwrap_err().kind, kind, "{path}");
        }
        fs::write(at("second"), "").unwrap();
        let of = |most| sorted(fs::read_dir(top.path()).unwrap(), most);
        assert_eq!(of(2).unwrap().len(), 2);
        assert_eq!(of(1).unwrap_err().kind, Kind::Io);
    }

    #[test]
    fn names_of_paths() {
        for (path, expected) in
            [("/a/b", "b"), ("/a/b//", "b"), ("/", "/"), ("//", "/"), ("/a/..", ".."), ("a", "a")]
        {
            assert_eq!(name(Path::new(path)), expected, "{path}");
        }
    }
}
