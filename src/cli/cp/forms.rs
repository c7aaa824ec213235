//! The forms of `doorward cp`: what its paths mean.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, Metadata},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

use crate::archive::{Layout, Source};

/// A copy, as it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Into the container.
    In {
        /// What of ours.
        from: Input,
        /// Where to in the container.
        to: PathBuf,
    },
    /// Out of the container.
    Out {
        /// What in the container.
        from: Vec<Source>,
        /// Where to.
        to: Output,
    },
}

/// What is copied in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// The archive on standard input.
    Archive,
    /// These files.
    Files(Vec<Source>),
}

/// Where to a copy goes out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// An archive on standard output.
    Archive,
    /// Files here.
    Files(PathBuf),
}

/// Why paths are no copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoForm {
    /// No path is in the container.
    AllHere,
    /// All paths are in the container.
    AllThere,
    /// Sources are on both sides.
    Mixed,
    /// An archive is one source among others.
    ArchiveAmongOthers,
}

/// One path.
enum Place {
    Stream,
    Here(PathBuf),
    There(PathBuf),
}

impl Form {
    /// Reads sources and a destination: `:PATH` is in the container, `-` an archive, all else is here.
    pub(super) fn parse(sources: Vec<OsString>, to: OsString) -> Result<Self, NoForm> {
        let count = sources.len();
        let (mut here, mut there, mut stream) = (Vec::new(), Vec::new(), false);
        for source in sources {
            match Place::parse(source) {
                Place::Stream => stream = true,
                Place::Here(path) => here.push(Source::parse(path)),
                Place::There(path) => there.push(Source::parse(path)),
            }
        }
        if stream && count > 1 {
            return Err(NoForm::ArchiveAmongOthers);
        }
        match (Place::parse(to), there.is_empty()) {
            (Place::There(to), true) if stream => Ok(Self::In { from: Input::Archive, to }),
            (Place::There(to), true) => Ok(Self::In { from: Input::Files(here), to }),
            (Place::There(_), false) if here.is_empty() => Err(NoForm::AllThere),
            (_, true) => Err(NoForm::AllHere),
            (_, false) if !here.is_empty() => Err(NoForm::Mixed),
            (Place::Stream, false) => Ok(Self::Out { from: there, to: Output::Archive }),
            (Place::Here(to), false) => Ok(Self::Out { from: there, to: Output::Files(to) }),
            (Place::There(_), false) => Err(NoForm::Mixed),
        }
    }
}

impl Input {
    /// What the archive of it has at its top.
    pub(super) fn layout(&self) -> Layout {
        match self {
            Self::Archive => Layout::Many,
            Self::Files(sources) => layout(sources),
        }
    }

    /// Bytes of data in it, if that can be seen at once: it is nothing but files.
    pub(super) fn bytes(&self) -> Option<u64> {
        match self {
            Self::Archive => None,
            Self::Files(sources) => {
                let found = sources.iter().map(|source| fs::symlink_metadata(&source.path).ok());
                let sizes =
                    found.map(|found| found.filter(Metadata::is_file).map(|file| file.len()));
                sizes.sum()
            }
        }
    }
}

/// What an archive of these has at its top.
pub(super) fn layout(sources: &[Source]) -> Layout {
    match sources {
        [one] => one.layout(),
        _ => Layout::Many,
    }
}

impl Place {
    fn parse(text: OsString) -> Self {
        let bytes = text.as_bytes();
        match bytes.strip_prefix(b":") {
            // As with ssh: no path is where one arrives.
            Some(b"") => Self::There(".".into()),
            Some(path) => Self::There(OsString::from_vec(path.to_vec()).into()),
            None if bytes == b"-" => Self::Stream,
            None => Self::Here(text.into()),
        }
    }
}

impl fmt::Display for NoForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AllHere => "copy: no path is in the container: write :PATH for one that is",
            Self::AllThere => "copy within the container: run cp in it instead",
            Self::Mixed => "copy: some sources are in the container and some are not",
            Self::ArchiveAmongOthers => "copy: an archive (-) can only be the one source",
        })
    }
}

impl std::error::Error for NoForm {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Form, NoForm> {
        let (to, sources) = words.split_last().unwrap();
        Form::parse(sources.iter().map(OsString::from).collect(), to.into())
    }

    #[test]
    fn paths_say_which_way_a_copy_goes() {
        let source = |path: &str| Source::parse(path.into());
        let cases = [
            (
                &["a", ":/b"][..],
                Form::In { from: Input::Files(vec![source("a")]), to: "/b".into() },
            ),
            (
                &["a", "b/.", ":c/"],
                Form::In { from: Input::Files(vec![source("a"), source("b/.")]), to: "c/".into() },
            ),
            (&["-", ":"], Form::In { from: Input::Archive, to: ".".into() }),
            (&[":/a", "b"], Form::Out { from: vec![source("/a")], to: Output::Files("b".into()) }),
            (&[":a:b", "-"], Form::Out { from: vec![source("a:b")], to: Output::Archive }),
            (
                &["./:a", ":b"],
                Form::In { from: Input::Files(vec![source("./:a")]), to: "b".into() },
            ),
        ];
        for (words, form) in cases {
            assert_eq!(parse(words), Ok(form), "{words:?}");
        }
    }

    #[test]
    fn other_paths_are_refused() {
        let cases = [
            (&["a", "b"][..], NoForm::AllHere),
            (&["-", "b"], NoForm::AllHere),
            (&["-", "-"], NoForm::AllHere),
            (&[":a", ":b"], NoForm::AllThere),
            (&["a", ":b", "c"], NoForm::Mixed),
            (&["a", ":b", ":c"], NoForm::Mixed),
            (&["-", "a", ":b"], NoForm::ArchiveAmongOthers),
        ];
        for (words, why) in cases {
            assert_eq!(parse(words), Err(why), "{words:?}");
        }
    }
}
