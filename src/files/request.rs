//! What a call asks for: `{"COMMAND": {…}}`, the tool's only argument.
//!
//! Fields that we do not know are passed over: by contract they are only ever added, with defaults that
//! leave everything as it was.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::failure::{Failure, Kind};

/// One call. The names are those of the wire.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) enum Request {
    /// Standard input becomes the file.
    WriteFile { path: PathBuf },
    /// The file goes to standard output.
    ReadFile { path: PathBuf },
    /// What is in a directory, as a JSON array.
    ListFiles { path: PathBuf },
    /// What something is, as a JSON object.
    Stat { path: PathBuf },
    /// A directory is made.
    MakeDirectory {
        path: PathBuf,
        /// Those above it too, and it may be there.
        #[serde(default = "yes")]
        parents: bool,
    },
    /// A file or a directory is removed.
    Remove {
        path: PathBuf,
        /// With all that is in it.
        #[serde(default)]
        recursive: bool,
    },
    /// Changes are told, a JSON object a line, until the input ends.
    Watch(WatchRequest),
}

/// What is watched.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct WatchRequest {
    pub(super) path: PathBuf,
    /// Also in the directories beneath.
    #[serde(default)]
    pub(super) recursive: bool,
    /// Which types of events are told; all of them if absent.
    #[serde(default)]
    pub(super) filter: Option<Vec<String>>,
    /// For how long; for ever if absent.
    #[serde(default)]
    timeout_secs: Option<f64>,
}

fn yes() -> bool {
    true
}

impl Request {
    /// Takes the argument.
    pub(super) fn parse(argument: &[u8]) -> Result<Self, Failure> {
        let request: Self = serde_json::from_slice(argument)
            .map_err(|error| Failure::new(Kind::Io, format!("read the command: {error}")))?;
        if request.path().as_os_str().is_empty() {
            return Err(Failure::new(Kind::NotFound, "the path is empty"));
        }
        Ok(request)
    }

    fn path(&self) -> &Path {
        match self {
            Self::WriteFile { path }
            | Self::ReadFile { path }
            | Self::ListFiles { path }
            | Self::Stat { path }
            | Self::MakeDirectory { path, .. }
            | Self::Remove { path, .. }
            | Self::Watch(WatchRequest { path, .. }) => path,
        }
    }
}

impl WatchRequest {
    /// How long it lasts; `None` is for ever, and so is what no clock can count.
    pub(super) fn lasts(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.timeout_secs?.max(0.0)).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(argument: &str, expected: Request) {
        assert_eq!(Request::parse(argument.as_bytes()), Ok(expected), "{argument}");
    }

    #[test]
    fn what_clients_send_and_may_send_one_day() {
        let path = || PathBuf::from("/a b");
        check(r#"{"WriteFile": {"path": "/a b"}}"#, Request::WriteFile { path: path() });
        check(
            r#"{"ReadFile":{"path":"/a b","newer":{"x":1}}}"#,
            Request::ReadFile { path: path() },
        );
        check(r#"{"ListFiles":{"path":"/a b"}}"#, Request::ListFiles { path: path() });
        check(r#"{"Stat":{"path":"\u002fa b"}}"#, Request::Stat { path: path() });
        for (text, parents) in [("", true), (r#","parents":false"#, false)] {
            let argument = format!(r#"{{"MakeDirectory":{{"path":"/a b"{text}}}}}"#);
            check(&argument, Request::MakeDirectory { path: path(), parents });
        }
        for (text, recursive) in [("", false), (r#","recursive":true"#, true)] {
            let argument = format!(r#"{{"Remove":{{"path":"/a b"{text}}}}}"#);
            check(&argument, Request::Remove { path: path(), recursive });
        }
        let watch = |recursive, filter, timeout_secs| {
            Request::Watch(WatchRequest { path: path(), recursive, filter, timeout_secs })
        };
        check(r#"{"Watch":{"path":"/a b"}}"#, watch(false, None, None));
        check(
            r#"{"Watch":{"path":"/a b","recursive":true,"filter":null,"timeout_secs":null}}"#,
            watch(true, None, None),
        );
        check(
            r#"{"Watch":{"path":"/a b","filter":["Create"],"timeout_secs":60}}"#,
            watch(false, Some(vec!["Create".into()]), Some(60.0)),
        );
    }

    #[test]
    fn how_long_a_watch_lasts() {
        let lasts = |timeout_secs| {
            WatchRequest { path: "/".into(), recursive: false, filter: None, timeout_secs }.lasts()
        };
        assert_eq!(lasts(None), None);
        assert_eq!(lasts(Some(1.5)), Some(Duration::from_millis(1500)));
        assert_eq!(lasts(Some(-1.0)), Some(Duration::ZERO));
        assert_eq!(lasts(Some(1e300)), None);
    }

    #[test]
    fn what_is_no_call_is_said() {
        let cases = [
            ("", Kind::Io, "EOF"),
            ("{}", Kind::Io, "expected value"),
            (r#"{"Chmod":{"path":"/a"}}"#, Kind::Io, "Chmod"),
            (r#"{"Stat":{}}"#, Kind::Io, "path"),
            (r#"{"Stat":{"path":7}}"#, Kind::Io, "7"),
            (r#"{"Stat":{"path":""}}"#, Kind::NotFound, "empty"),
        ];
        for (argument, kind, words) in cases {
            let failure = Request::parse(argument.as_bytes()).unwrap_err();
            assert_eq!(failure.kind, kind, "{argument}");
            let text = serde_json::to_string(&failure).unwrap();
            assert!(text.contains(words), "{argument}: {text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_in_an_argument_makes_us_panic(bytes: Vec<u8>, text in r#"[{}":,a-zA-Z0-9.\[\] -]{0,60}"#) {
            let _ = Request::parse(&bytes);
            let _ = Request::parse(format!(r#"{{"Watch":{{"path":"/",{text}}}}}"#).as_bytes());
            let timeout = format!(r#"{{"Watch":{{"path":"/","timeout_secs":{text}}}}}"#);
            if let Ok(Request::Watch(watch)) = Request::parse(timeout.as_bytes()) {
                watch.lasts();
            }
        }
    }
}
