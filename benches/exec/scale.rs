//! How much of everything, and which groups of figures: what stands on the command line of a bench.

/// How much of everything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Quick,
    Full,
}

impl Scale {
    pub(crate) fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// Figures that belong together.
pub(crate) type Group = fn(Scale);

/// Takes the groups that were named, or all of them.
pub(crate) fn take(groups: &[(&str, Group)]) {
    let mut scale = Scale::Full;
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => scale = Scale::Quick,
            // What cargo itself adds.
            "--bench" => {}
            group => wanted.push(group.to_string()),
        }
    }
    for (name, run) in groups {
        if wanted.is_empty() || wanted.iter().any(|group| group == name) {
            run(scale);
        }
    }
}
