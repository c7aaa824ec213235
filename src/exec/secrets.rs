//! Named secrets: environment variables kept in files that the operator provides.
//!
//! A secret `ID` is, in this order, the file `ID.env` (see [`envfile`]), the file `ID.json` (an
//! object of strings), or the directory `ID` with a file a key, as Kubernetes mounts them. It is
//! read at each start, so that a rotated secret is used from the next start on; nothing of it is
//! kept. What goes wrong is told without a byte of a value.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str,
    sync::Arc,
};

use crate::{
    core::{
        envfile,
        limits::{SECRET_FILE_BYTES_MAX, SECRET_KEYS_MAX},
        outcome::{Stage, StartFailure},
        spec::{EnvVar, SecretId},
    },
    os::{features::Features, rooted::Root},
};

/// Where secrets are found.
#[derive(Debug, Clone)]
pub struct Secrets {
    directory: Option<PathBuf>,
    features: Arc<Features>,
}

/// Why a secret cannot be had; inside, for its text.
struct Trouble {
    reason: String,
    errno: Option<i32>,
}

impl Secrets {
    /// Takes the directory that holds them; fails if it cannot be opened. Without one, every
    /// secret is unknown.
    pub fn open(directory: Option<PathBuf>, features: Arc<Features>) -> io::Result<Self> {
        if let Some(directory) = &directory {
            Root::open(directory, &features)?;
        }
        Ok(Self { directory, features })
    }

    /// Reads the variables of a secret as they are at this moment. Blocks on the file system.
    pub fn lookup(&self, id: &SecretId) -> Result<Vec<EnvVar>, StartFailure> {
        self.read(id).map_err(|trouble| StartFailure {
            stage: Stage::Secret,
            value: id.as_str().to_string(),
            reason: trouble.reason,
            errno: trouble.errno,
        })
    }

    fn read(&self, id: &SecretId) -> Result<Vec<EnvVar>, Trouble> {
        let Some(directory) = &self.directory else {
            return Err(Trouble::said("no such secret (there is no secrets directory)"));
        };
        // Opened anew each time: the directory itself may have been replaced.
        let root = Root::open(directory, &self.features)
            .map_err(|error| Trouble::io("open the secrets directory", &error))?;
        let id = id.as_str();
        let forms = [read_env_file, read_json, read_directory];
        for read in forms {
            if let Some(variables) = read(&root, id)? {
                return Ok(variables);
            }
        }
        Err(Trouble::said("no such secret"))
    }
}

fn read_env_file(root: &Root, id: &str) -> Result<Option<Vec<EnvVar>>, Trouble> {
    let name = format!("{id}.env");
    let Some(bytes) = read_file(root, Path::new(&name), &name)? else { return Ok(None) };
    envfile::parse(&bytes).map(Some).map_err(|error| Trouble::said(format!("{name}: {error}")))
}

fn read_json(root: &Root, id: &str) -> Result<Option<Vec<EnvVar>>, Trouble> {
    let name = format!("{id}.json");
    let Some(bytes) = read_file(root, Path::new(&name), &name)? else { return Ok(None) };
    // The parser's own text can quote what it found, so only the place is told.
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&bytes)
        .map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Trouble::said(format!("{name}: no JSON object at line {line} column {column}"))
        })?;
    let variable = |(key, value): (&String, &serde_json::Value)| {
        let value = value.as_str();
        let value = value.ok_or_else(|| format!("{name}: value of {key:?} is no string"))?;
        EnvVar::parse(key, value).map_err(|error| format!("{name}: {error}"))
    };
    object.iter().map(variable).collect::<Result<_, _>>().map(Some).map_err(Trouble::said)
}

/// Reads a file a key. A file's contents are the value as they are, less one newline at the end.
/// Names that begin with a dot are Kubernetes' own; other names that can be no key (`tls.crt`)
/// are passed over with a warning, for the directory may serve other programs too.
fn read_directory(root: &Root, id: &str) -> Result<Option<Vec<EnvVar>>, Trouble> {
    let directory = match root.directory(Path::new(id)) {
        Ok(directory) => directory,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(Trouble::io(id, &error)),
    };
    let names = directory.names(SECRET_KEYS_MAX).map_err(|error| Trouble::io(id, &error))?;
    let mut variables = Vec::new();
    for name in names {
        let name = name.to_string_lossy();
        let shown = format!("{id}/{name}");
        if name.starts_with('.') {
            continue;
        }
        if let Err(error) = EnvVar::parse(&name, "") {
            tracing::warn!(%error, "ignoring secret file {shown}");
            continue;
        }
        // Read beneath the secrets directory as a whole: links may lead to a neighbour.
        let Some(bytes) = read_file(root, Path::new(&shown), &shown)? else { continue };
        let refused = |reason: &str| Trouble::said(format!("{shown}: {reason}"));
        let value = str::from_utf8(&bytes).map_err(|_| refused("value is not UTF-8"))?;
        let variable = EnvVar::parse(&name, value.strip_suffix('\n').unwrap_or(value));
        variables.push(variable.map_err(|error| refused(&error.to_string()))?);
    }
    Ok(Some(variables))
}

/// Reads a file if there is one.
fn read_file(root: &Root, path: &Path, shown: &str) -> Result<Option<Vec<u8>>, Trouble> {
    match root.read(path, SECRET_FILE_BYTES_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(Trouble::io(shown, &error)),
    }
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

impl Trouble {
    fn said(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), errno: None }
    }

    fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        let errno = error.raw_os_error();
        let reason = match errno {
            // What `Root` says of a way out; the errno's own text speaks of links across devices.
            Some(libc::EXDEV) => format!("{what}: it leads out of the directory of secrets"),
            Some(_) | None => format!("{what}: {error}"),
        };
        Self { reason, errno }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::core::failure::Kind;

    fn check(directory: &Path, id: &str, expected: Result<&[(&str, &str)], &str>) {
        for features in [Features::probe("").unwrap(), Features::none("test")] {
            let secrets = Secrets::open(Some(directory.into()), Arc::new(features)).unwrap();
            let found = secrets.lookup(&SecretId::parse(id).unwrap());
            match (&found, expected) {
                (Ok(found), Ok(expected)) => {
                    let found: Vec<_> = found.iter().map(|v| (v.key(), v.value())).collect();
                    assert_eq!(found, expected, "{id}");
                }
                (Err(failure), Err(text)) => {
                    assert!(failure.to_string().contains(text), "{failure}");
                    assert!(!failure.to_string().contains("hidden"), "{failure}");
                    assert_eq!((failure.stage, failure.kind()), (Stage::Secret, Kind::Refused));
                    assert_eq!(failure.value, id);
                }
                (found, expected) => panic!("{id}: {found:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn the_three_forms() {
        let top = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| fs::write(top.path().join(path), text).unwrap();
        write("dotenv.env", "# x\nexport A='1 2'\nB=3\n");
        write("object.json", r#"{"B": "2", "A": "1\n", "B": "3"}"#);
        fs::create_dir_all(top.path().join("mounted/..2024_x")).unwrap();
        write("mounted/..2024_x/KEY", "value\n\n");
        write("mounted/..2024_x/OTHER", "x");
        symlink("..2024_x", top.path().join("mounted/..data")).unwrap();
        symlink("..data/KEY", top.path().join("mounted/KEY")).unwrap();
        symlink("..data/OTHER", top.path().join("mounted/OTHER")).unwrap();
        symlink("nowhere", top.path().join("mounted/DANGLING")).unwrap();

        check(top.path(), "dotenv", Ok(&[("A", "1 2"), ("B", "3")]));
        check(top.path(), "object", Ok(&[("A", "1\n"), ("B", "3")]));
        check(top.path(), "mounted", Ok(&[("KEY", "value\n"), ("OTHER", "x")]));

        // Rotation, as Kubernetes does it.
        fs::create_dir(top.path().join("mounted/..2025_y")).unwrap();
        write("mounted/..2025_y/KEY", "newer");
        symlink("..2025_y", top.path().join("mounted/..tmp")).unwrap();
        fs::rename(top.path().join("mounted/..tmp"), top.path().join("mounted/..data")).unwrap();
        check(top.path(), "mounted", Ok(&[("KEY", "newer")]));
    }

    #[test]
    fn what_is_refused() {
        let top = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &[u8]| fs::write(top.path().join(path), text).unwrap();
        write("line.env", b"A=1\nhidden\n");
        write("list.json", b"[\"hidden\"]");
        write("broken.json", b"{\"A\": hidden}");
        write("number.json", b"{\"A\": 7}");
        write("key.json", b"{\"A-B\": \"hidden\"}");
        write("plain", b"hidden");
        fs::create_dir(top.path().join("keys")).unwrap();
        write("keys/a-b", b"hidden");
        fs::create_dir(top.path().join("bytes")).unwrap();
        write("bytes/A", b"hidden\xff");
        symlink("/etc/passwd", top.path().join("outside.env")).unwrap();
        let edge = |bytes: usize| [b"A=".as_slice(), &vec![b'x'; bytes - 2]].concat();
        let limit = usize::try_from(SECRET_FILE_BYTES_MAX).unwrap();
        write("edge.env", &edge(limit));
        write("beyond.env", &edge(limit + 1));

        check(top.path(), "missing", Err("look up secret \"missing\": no such secret"));
        check(top.path(), "line", Err("line.env: line 2: no '='"));
        check(top.path(), "list", Err("list.json: no JSON object at line 1"));
        check(top.path(), "broken", Err("broken.json: no JSON object at line 1"));
        check(top.path(), "number", Err("number.json: value of \"A\" is no string"));
        check(top.path(), "key", Err("key.json: environment key \"A-B\""));
        check(top.path(), "plain", Err("plain: Not a directory"));
        check(top.path(), "keys", Ok(&[]));
        check(top.path(), "bytes", Err("bytes/A: value is not UTF-8"));
        check(top.path(), "outside", Err("outside.env: it leads out of the directory"));
        check(top.path(), "beyond", Err("beyond.env: File too large"));
        check(top.path(), "edge", Ok(&[("A", &"x".repeat(limit - 2))]));
    }

    #[test]
    fn without_a_directory_there_are_none() {
        let features = Arc::new(Features::none("test"));
        let secrets = Secrets::open(None, features.clone()).unwrap();
        let failure = secrets.lookup(&SecretId::parse("a").unwrap()).unwrap_err();
        assert!(failure.to_string().contains("no such secret"), "{failure}");
        assert!(Secrets::open(Some("/nowhere".into()), features).is_err());
    }
}
