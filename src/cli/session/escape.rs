//! The keys of a person, with the escapes picked out of them: pure, so that every way to type one
//! can be tested.
//!
//! An escape is the escape character and one more, right after a line's end or as the very first
//! keys, as in ssh. The escape character twice is itself; before any other key it is nothing
//! special, and both are input. Within a bracketed paste there are no escapes: what is pasted was
//! not typed.
//!
//! ```text
//!            line's end            escape character            one of  . d ? w r
//!   Within ─────────────▶ LineStart ───────────────▶ Pending ──────────────────▶ LineStart
//!      ▲                      │                         │
//!      └──── any other key ───┴──────── any other ──────┘
//! ```

use std::str::FromStr;

use bytes::{Bytes, BytesMut};

/// What a terminal puts before pasted text, where the program asked for it (DEC mode 2004).
const PASTE_BEGIN: &[u8] = b"\x1b[200~";
/// What it puts behind it.
const PASTE_END: &[u8] = b"\x1b[201~";

/// Which key begins an escape, if one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EscapeKey(Option<u8>);

/// What a person asks of us, not of the exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escape {
    /// `.`: end the exec and leave.
    End,
    /// `d`: leave, and the exec goes on.
    Leave,
    /// `w`: write again, after another terminal took over.
    Write,
    /// `r`: draw the screen again.
    Redraw,
    /// `?`: say which escapes there are.
    Help,
}

/// A piece of what was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// For the exec; at least one byte.
    Input(Bytes),
    /// For us.
    Escape(Escape),
}

/// Takes keys as they come and tells input from escapes.
pub(super) struct Escapes {
    key: EscapeKey,
    state: State,
    paste: Paste,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The next key is a line's first.
    LineStart,
    /// It is not.
    Within,
    /// The escape character came, and is not passed on yet.
    Pending,
}

/// Whether text is being pasted, and how much of the next marker was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paste {
    Outside { seen: usize },
    Inside { seen: usize },
}

impl EscapeKey {
    /// No key: everything that is typed is input.
    pub(super) const NONE: Self = Self(None);

    /// The character that begins an escape.
    pub(super) fn character(self) -> Option<char> {
        self.0.map(char::from)
    }
}

impl FromStr for EscapeKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.as_bytes() {
            b"none" => Ok(Self(None)),
            [byte] if Escape::of(*byte).is_some() => {
                Err(format!("{text} is what follows the escape character"))
            }
            [byte] if byte.is_ascii_graphic() => Ok(Self(Some(*byte))),
            _ => Err("it is neither one visible ASCII character nor \"none\"".into()),
        }
    }
}

impl Escape {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            b'.' => Some(Self::End),
            b'd' => Some(Self::Leave),
            b'w' => Some(Self::Write),
            b'r' => Some(Self::Redraw),
            b'?' => Some(Self::Help),
            _ => None,
        }
    }
}

impl Escapes {
    pub(super) fn new(key: EscapeKey) -> Self {
        Self { key, state: State::LineStart, paste: Paste::Outside { seen: 0 } }
    }

    /// Splits the next keys; nothing of them is lost but escapes, and an escape character that the next
    /// call decides about.
    pub(super) fn take(&mut self, keys: &[u8]) -> Vec<Typed> {
        let (mut typed, mut input) = (Vec::new(), BytesMut::with_capacity(keys.len() + 1));
        for byte in keys {
            let Some(escape) = self.key(*byte, &mut input) else { continue };
            if !input.is_empty() {
                typed.push(Typed::Input(input.split().freeze()));
            }
            typed.push(Typed::Escape(escape));
        }
        if !input.is_empty() {
            typed.push(Typed::Input(input.freeze()));
        }
        typed
    }

    /// Takes one key: it goes to `input`, or is kept, or completes an escape.
    fn key(&mut self, byte: u8, input: &mut BytesMut) -> Option<Escape> {
        let begins = self.key.0 == Some(byte);
        let typed = matches!(self.paste, Paste::Outside { .. });
        match self.state {
            State::LineStart if begins && typed => {
                self.state = State::Pending;
                return None;
            }
            State::Pending => {
                if let Some(escape) = Escape::of(byte) {
                    self.state = State::LineStart;
                    return Some(escape);
                }
                if !begins {
                    input.extend(self.key.0);
                }
            }
            State::LineStart | State::Within => {}
        }
        input.extend([byte]);
        self.paste = self.paste.after(byte);
        self.state = match byte {
            b'\r' | b'\n' => State::LineStart,
            _ => State::Within,
        };
        None
    }
}

impl Paste {
    fn after(self, byte: u8) -> Self {
        let (marker, seen) = match self {
            Self::Outside { seen } => (PASTE_BEGIN, seen),
            Self::Inside { seen } => (PASTE_END, seen),
        };
        // Only a marker's first byte can begin it anew: it stands nowhere else in it.
        let seen = match byte {
            _ if byte == marker[seen] => seen + 1,
            _ => usize::from(byte == marker[0]),
        };
        match self {
            Self::Outside { .. } if seen == marker.len() => Self::Inside { seen: 0 },
            Self::Outside { .. } => Self::Outside { seen },
            Self::Inside { .. } if seen == marker.len() => Self::Outside { seen: 0 },
            Self::Inside { .. } => Self::Inside { seen },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes of `keys`: input as it is, each escape as `<its name>`.
    fn shown(key: &str, pieces: &[&str]) -> String {
        let mut escapes = Escapes::new(key.parse().unwrap());
        let typed = pieces.iter().flat_map(|piece| escapes.take(piece.as_bytes()));
        let shown = typed.map(|typed| match typed {
            Typed::Input(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Typed::Escape(escape) => format!("<{escape:?}>"),
        });
        shown.collect()
    }

    #[test]
    fn an_escape_is_one_after_a_lines_end_only() {
        let cases = [
            ("~.", "<End>"),
            ("~d", "<Leave>"),
            ("~?~d", "<Help><Leave>"),
            ("ls\r~.", "ls\r<End>"),
            ("ls\n~w", "ls\n<Write>"),
            ("\r\r~r~?x", "\r\r<Redraw><Help>x"),
            ("a~.", "a~."),
            (" ~.", " ~."),
            ("cp a ~d\r", "cp a ~d\r"),
            ("~/bin\r", "~/bin\r"),
            ("~\r~.", "~\r<End>"),
            ("~~", "~"),
            ("~~.", "~."),
            ("~~~.", "~~."),
            ("~~\r~.", "~\r<End>"),
            ("~\x7f~.", "~\x7f~."),
            ("~D~.", "~D~."),
        ];
        for (keys, expected) in cases {
            assert_eq!(shown("~", &[keys]), expected, "{keys:?}");
        }
    }

    #[test]
    fn keys_may_come_one_by_one() {
        assert_eq!(shown("~", &["ls\r", "~", "."]), "ls\r<End>");
        assert_eq!(shown("~", &["~", "~", "."]), "~.");
        assert_eq!(shown("~", &["\r", "~"]), "\r");
    }

    #[test]
    fn another_character_or_none_can_begin_one() {
        assert_eq!(shown("%", &["~.\r%.%%.~d"]), "~.\r<End>%.~d");
        assert_eq!(shown("none", &["~.\r~d~~"]), "~.\r~d~~");
        for wrong in ["", "~~", ".", "d", "?", "w", "r", "\r", " ", "\u{e4}", "None"] {
            assert!(wrong.parse::<EscapeKey>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_pasted_was_not_typed() {
        let paste = "\x1b[200~a\r~.\r~~~\r\x1b[201~";
        assert_eq!(shown("~", &[paste, "\r~."]), format!("{paste}\r<End>"));
        let (begin, rest) = paste.split_at(4);
        assert_eq!(shown("~", &[begin, rest, "\r~d"]), format!("{paste}\r<Leave>"));
        // Half a marker is none.
        assert_eq!(shown("~", &["\x1b[20\x1b[200\r~."]), "\x1b[20\x1b[200\r<End>");
        assert_eq!(shown("~", &["\x1b\x1b[200~\r~."]), "\x1b\x1b[200~\r~.");
    }

    proptest! {
        #[test]
        fn without_an_escape_character_everything_is_input(keys in "[~.d?\r\na]{0,40}") {
            prop_assert_eq!(shown("none", &[&keys]), keys);
        }

        #[test]
        fn cuts_do_not_matter(keys in "([~.d?wr\r\na]|\u{1b}\\[20[01]~){0,40}", at in 0usize..60) {
            let at = at.min(keys.len());
            let (one, two) = keys.split_at(at);
            prop_assert_eq!(shown("~", &[one, two]), shown("~", &[&keys]));
        }
    }
}
