//! Colours: on terminals only, and not where NO_COLOR (<https://no-color.org>) or a dumb terminal
//! asks for none.

use std::{env, io::stdout};

use rustix::termios::isatty;

/// What a piece of text is, rather than how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Tone {
    /// Nothing special.
    Plain,
    /// A heading or a name.
    Strong,
    /// All is well.
    Good,
    /// Something to look at.
    Doubtful,
    /// It went wrong.
    Bad,
    /// Of less interest.
    Faint,
}

/// Whether what is written has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Paint {
    /// It has.
    Colours,
    /// It has none.
    Plain,
}

impl Paint {
    /// As standard output takes it.
    pub(in crate::cli) fn for_stdout() -> Self {
        let told_off = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        match isatty(stdout()) && !told_off && !dumb {
            true => Self::Colours,
            false => Self::Plain,
        }
    }

    /// The text in its tone.
    pub(in crate::cli) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_string(),
            Tone::Strong => "1",
            Tone::Good => "32",
            Tone::Doubtful => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
        };
        match self {
            Self::Colours if !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Colours | Self::Plain => text.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_a_colour_or_nothing() {
        assert_eq!(Paint::Colours.paint(Tone::Bad, "no"), "\x1b[31mno\x1b[0m");
        assert_eq!(Paint::Plain.paint(Tone::Bad, "no"), "no");
        assert_eq!(Paint::Colours.paint(Tone::Plain, "x"), "x");
        assert_eq!(Paint::Colours.paint(Tone::Strong, ""), "");
    }
}
