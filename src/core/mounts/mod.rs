//! Which path an image may be mounted at, and what a mount is while it is made and taken away.
//!
//! Paths here were resolved: no links, no `..`. One image is mounted at one path; mounts may lie within
//! one another, the inner one made later and taken away earlier.

mod journal;
mod place;

pub use journal::{Action, Journal, Step, Way};
pub use place::{BadPath, MountPath, NoPlace, judge_place};

use std::path::{Path, PathBuf};

/// What is known of one mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known<'a> {
    /// Where it is.
    pub path: &'a Path,
    /// What names its image; empty for an empty directory.
    pub image: &'a str,
}

/// What a request to mount comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is in its way.
    New,
    /// The same image is mounted there.
    Same,
    /// Another image is mounted there.
    Other(String),
    /// An image is mounted beneath it, at this path: it would be hidden, and could not be unmounted.
    Covers(PathBuf),
}

/// What a request to unmount comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parting {
    /// It may go.
    Free,
    /// No image is mounted at exactly this path.
    NotMounted,
    /// An image is mounted beneath it, at this path.
    Holds(PathBuf),
}

/// Judges a request to mount among the mounts that there are.
pub fn judge_mount<'a>(known: impl Iterator<Item = Known<'a>>, wanted: Known<'_>) -> Verdict {
    let mut verdict = Verdict::New;
    for one in known {
        if one.path == wanted.path {
            return match one.image == wanted.image {
                true => Verdict::Same,
                false => Verdict::Other(one.image.to_string()),
            };
        }
        if one.path.starts_with(wanted.path) {
            verdict = Verdict::Covers(one.path.into());
        }
    }
    verdict
}

/// Judges a request to unmount among the mounts that there are.
pub fn judge_unmount<'a>(known: impl Iterator<Item = Known<'a>>, path: &Path) -> Parting {
    let (mut found, mut inner) = (false, None);
    for one in known {
        if one.path == path {
            found = true;
        } else if one.path.starts_with(path) {
            inner = Some(one.path);
        }
    }
    match (found, inner) {
        (false, _) => Parting::NotMounted,
        (true, Some(inner)) => Parting::Holds(inner.into()),
        (true, None) => Parting::Free,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> impl Iterator<Item = Known<'static>> {
        [("/work", "im-a"), ("/work/in/deep", ""), ("/other", "im-b")]
            .into_iter()
            .map(|(path, image)| Known { path: Path::new(path), image })
    }

    #[test]
    fn one_image_at_one_path() {
        let cases = [
            ("/new", "im-a", Verdict::New),
            ("/work/inn", "im-a", Verdict::New),
            ("/work/in/deep/er", "im-a", Verdict::New),
            ("/workshop", "im-a", Verdict::New),
            ("/work", "im-a", Verdict::Same),
            ("/work/in/deep", "", Verdict::Same),
            ("/work", "im-b", Verdict::Other("im-a".into())),
            ("/work", "", Verdict::Other("im-a".into())),
            ("/work/in", "im-a", Verdict::Covers("/work/in/deep".into())),
        ];
        for (path, image, expected) in cases {
            let wanted = Known { path: Path::new(path), image };
            assert_eq!(judge_mount(known(), wanted), expected, "{path} {image}");
        }
    }

    #[test]
    fn only_exact_mount_points_go_and_inner_ones_first() {
        let cases = [
            ("/work", Parting::Holds("/work/in/deep".into())),
            ("/work/in", Parting::NotMounted),
            ("/work/in/deep", Parting::Free),
            ("/other", Parting::Free),
            ("/", Parting::NotMounted),
        ];
        for (path, expected) in cases {
            assert_eq!(judge_unmount(known(), Path::new(path)), expected, "{path}");
        }
    }
}
