//! What a terminal shows, made of the output that came: pure.
//!
//! The `vt100` crate keeps cells, cursor and region, [`Modes`] what it leaves out, and what the output
//! has begun: a drawing ends with the unfinished sequence or character, so that what follows the
//! output that was fed follows the drawing too.
//!
//! A picture never asks or answers anything: queries in the output mean nothing to it, and no drawing
//! has one.

use std::num::NonZeroU16;

use vt100::{Callbacks, Parser, Screen};

use crate::core::{limits::SCREEN_TITLE_BYTES_MAX, modes::Modes, spec::WindowSize};

/// U+FE0F makes some characters wide on some terminals, not on others, and the crate fails where that
/// happens beside half of a wide one.
const WIDENER: [u8; 3] = [0xef, 0xb8, 0x8f];

/// Both screens of a terminal.
pub struct Picture {
    terminal: Parser<Told>,
    modes: Modes,
    size: WindowSize,
    began: Began,
    /// Output that `terminal` is still to get: the first bytes of a character.
    fed: Vec<u8>,
}

/// With which output it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Began {
    /// With the first.
    First,
    /// In the midst of some, so that what came before is missing.
    Later,
    /// Likewise, and nothing was taken yet: it may be the rest of a sequence or character.
    Cut,
}

/// What the terminal tells besides what it shows.
#[derive(Default)]
struct Told {
    title: Vec<u8>,
    /// Rows that left the first screen at its top.
    gone: usize,
}

/// The crate's own way to say it.
type OnOtherScreen = bool;

impl Callbacks for Told {
    fn set_window_title(&mut self, _: &mut Screen, title: &[u8]) {
        let fits = title.len() <= SCREEN_TITLE_BYTES_MAX;
        let harmless = std::str::from_utf8(title).is_ok_and(|t| !t.chars().any(char::is_control));
        if fits && harmless {
            self.title = title.to_vec();
        }
    }

    fn on_scroll(&mut self, _: vt100::capture::RowContents<'_>, on_other: OnOtherScreen) {
        self.gone += usize::from(!on_other);
    }
}

impl Picture {
    /// A cleared terminal, for output from its first byte on.
    pub fn new(size: WindowSize) -> Self {
        Self {
            terminal: parser(size, Told::default()),
            modes: Modes::default(),
            size,
            began: Began::First,
            fed: Vec::new(),
        }
    }

    /// A cleared terminal, for output that begins in the midst of something.
    pub fn cut(size: WindowSize) -> Self {
        Self { began: Began::Cut, ..Self::new(size) }
    }

    /// The terminal's size.
    pub fn size(&self) -> WindowSize {
        self.size
    }

    /// Whether all is known that the terminal shows: output was taken from the first byte on, or at
    /// least every row came since.
    pub fn is_whole(&self) -> bool {
        match self.began {
            Began::First => true,
            Began::Later => self.terminal.callbacks().gone >= usize::from(self.size.rows()),
            Began::Cut => false,
        }
    }

    /// Takes the output that comes next.
    pub fn feed(&mut self, mut output: &[u8]) {
        if self.began == Began::Cut {
            // Controls stand in no character, and in sequences almost never.
            let Some(at) = output.iter().position(u8::is_ascii_control) else { return };
            output = &output[at..];
            self.began = Began::Later;
        }
        for byte in output {
            match self.modes.drawn(*byte) {
                Some(drawn) => self.fed.extend(drawn.encode_utf8(&mut [0; 4]).bytes()),
                None => self.fed.push(*byte),
            }
            self.modes.follow(std::slice::from_ref(byte));
            if self.fed.ends_with(&WIDENER) {
                self.fed.truncate(self.fed.len() - WIDENER.len());
            }
        }
        // A character is taken as a whole.
        let held = match self.modes.begun() {
            begun @ [0x80..=0xff, ..] => begun.len(),
            _ => 0,
        };
        let whole = self.fed.len() - held;
        self.terminal.process(&self.fed[..whole]);
        self.fed.drain(..whole);
        // Else a terminal that grows would have empty rows on top, for those that have left.
        self.terminal.screen_mut().clear_scrollback();
    }

    /// The terminal has this size from here on.
    pub fn resize(&mut self, size: WindowSize) {
        let (rows, columns) = both(size);
        self.terminal.set_size(rows, columns);
        self.size = size;
    }

    /// Bytes that draw it on a cleared terminal of its size.
    pub fn draw(&self) -> Vec<u8> {
        let screen = self.terminal.screen();
        let mut drawing = String::new();
        if screen.alternate_screen() {
            drawing += &self.after("\x1b[?47l").screen().contents_formatted();
            drawing += "\x1b[?1049h";
        }
        drawing += &screen.contents_formatted();
        let saved = self.after("\x1b8");
        // A terminal that has one place for both screens has the first one's there.
        if saved.screen().cursor_position() != (0, 0) {
            drawing += &saved.screen().cursor_state_formatted();
            drawing += &saved.screen().attributes_formatted();
            drawing += "\x1b7";
        }
        drawing += &self.cursor();
        drawing += &screen.attributes_formatted();
        let mut drawing = drawing.into_bytes();
        drawing.extend(self.modes.redo());
        let title = &self.terminal.callbacks().title;
        if !title.is_empty() {
            drawing.extend([b"\x1b]2;", &title[..], b"\x07"].concat());
        }
        drawing.extend_from_slice(self.modes.begun());
        drawing
    }

    /// Sets the region, if there is one, and the cursor in it.
    fn cursor(&self) -> String {
        let screen = self.terminal.screen();
        let in_region = |row: &str| {
            let probe = self.after(&format!("\x1b[?6h\x1b[{row};1H"));
            probe.screen().cursor_position().0
        };
        let (top, bottom) = (in_region("1"), in_region("65535"));
        let mut cursor = String::new();
        if (top, bottom) != (0, self.size.rows() - 1) {
            cursor += &format!("\x1b[{};{}r", top + 1, bottom + 1);
        }
        if self.modes.origin() {
            let (row, column) = screen.cursor_position();
            cursor += &format!("\x1b[?6h\x1b[{};{}H", row.saturating_sub(top) + 1, column + 1);
        } else {
            cursor += &screen.cursor_state_formatted();
        }
        cursor
    }

    /// The terminal as it would be after this.
    fn after(&self, output: &str) -> Parser {
        let mut probe = parser(WindowSize::new(1, 1), ());
        *probe.screen_mut() = self.terminal.screen().clone();
        probe.process(output.as_bytes());
        probe
    }
}

fn parser<T: Callbacks>(size: WindowSize, told: T) -> Parser<T> {
    let (rows, columns) = both(size);
    Parser::new_with_callbacks(rows, columns, 0, told)
}

/// Rows and columns, two of each at least: the crate fails where a character that becomes a wide one
/// has no room for its second half.
fn both(size: WindowSize) -> (NonZeroU16, NonZeroU16) {
    const TWO: NonZeroU16 = NonZeroU16::new(2).expect("it is not 0");
    let some = |count| NonZeroU16::new(count).map_or(TWO, |count| count.max(TWO));
    (some(size.rows()), some(size.columns()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fed(size: WindowSize, output: &str) -> Picture {
        let mut picture = Picture::new(size);
        picture.feed(output.as_bytes());
        picture
    }

    /// A terminal on which the picture was drawn.
    fn drawn(picture: &Picture) -> Picture {
        let mut other = Picture::new(picture.size());
        other.feed(&picture.draw());
        other
    }

    /// All that can be seen, and what is typed as.
    fn seen(picture: &Picture) -> (String, (u16, u16), String) {
        let screen = picture.terminal.screen();
        (screen.contents_formatted(), screen.cursor_position(), screen.input_mode_formatted())
    }

    #[test]
    fn what_is_drawn_goes_on_as_the_terminal_would() {
        let cases: [(&str, &str); 16] = [
            ("", "text"),
            ("text\r\n\x1b[31mred", " more\x1b[0m plain"),
            ("\x1b[?25l\x1b[?1h\x1b=\x1b[?1002h\x1b[?1006h\x1b[?2004h", "x\x1b[?25h"),
            ("\x1b[2;4r\x1b[3;1H", "1\n2\n3\n4"),
            ("\x1b[2;4r\x1b[?6h\x1b[2;2H", "1\n2\n3\x1b[H4"),
            ("one\x1b[3;5H\x1b[32m\x1b7\x1b[m\x1b[5;1H", "x\x1b8y"),
            ("shell $ vim\r\n\x1b[?1049h\x1b[2J\x1b[Hfile", "\x1b[?1049lback"),
            ("\x1b[1mbold\x1b[?1049h\x1b[3;3H\x1b7\x1b[H", "a\x1b8b\x1b[?1049lc"),
            ("\x1b(0lqqk\r\nx", "  x\x1b(B x"),
            ("\x1b)0\x0e", "lqk\x0flqk"),
            ("twelve chars", "wrapped"),
            ("exactly ten", "more"),
            ("text \x1b[3", "1mred"),
            ("text \x1b]2;half a ti", "tle\x07more"),
            ("e\u{301}\u{4e2d}\u{6587}", "\u{4e2d}"),
            ("\x1b[5;10H\x1b[41m\x1b[1J", "\x1b[Kx"),
        ];
        for (before, after) in cases {
            let mut terminal = fed(WindowSize::new(5, 10), before);
            let mut other = drawn(&terminal);
            assert_eq!(seen(&terminal), seen(&other), "{before:?}");
            for picture in [&mut terminal, &mut other] {
                picture.feed(after.as_bytes());
            }
            assert_eq!(seen(&terminal), seen(&other), "{before:?}, then {after:?}");
        }
    }

    #[test]
    fn output_may_be_cut_anywhere() {
        let output = "a\x1b[31m\u{20ac}b\x1b]2;title\x07\x1b(0q\x1b(B\x1b[?1049h\x1b[2;3H\u{4e2d}";
        let whole = fed(WindowSize::new(5, 10), output);
        for at in 0..=output.len() {
            let (before, after) = output.as_bytes().split_at(at);
            let mut picture = Picture::new(WindowSize::new(5, 10));
            picture.feed(before);
            let mut other = drawn(&picture);
            for picture in [&mut picture, &mut other] {
                picture.feed(after);
                assert_eq!(seen(picture), seen(&whole), "cut at {at}");
                assert_eq!(picture.terminal.callbacks().title, b"title", "cut at {at}");
            }
        }
    }

    #[test]
    fn queries_and_harmful_titles_are_not_drawn() {
        let output = "\x1b[6n\x1b[c\x1b[>c\x1b[5n\x1b]11;?\x07\x1bP+q544e\x1b\\\x1b[?1$p\x1b[18t\
                      \x1b]2;\u{9b}6n\x07text";
        let drawing = String::from_utf8(fed(WindowSize::new(5, 10), output).draw()).unwrap();
        for query in ["n", "c", "?\x07", "\x1bP", "$p", "18t", "\u{9b}", "]2;"] {
            assert!(!drawing.contains(query), "{query:?} in {drawing:?}");
        }
        assert!(drawing.contains("text"));
    }

    #[test]
    fn one_that_begins_later_says_so_until_every_row_came() {
        let size = WindowSize::new(3, 20);
        let mut picture = Picture::cut(size);
        // The rest of a character and of a sequence.
        picture.feed(b"\x82\xac;31mlost");
        assert!(!picture.is_whole());
        picture.feed(b" too\r\none\r\ntwo\r\nthree\r\n");
        assert!(!picture.is_whole());
        assert_eq!(picture.terminal.screen().contents(), "two\nthree");
        picture.feed(b"four\r\nfive");
        assert!(picture.is_whole());
        assert!(Picture::new(size).is_whole());
    }

    #[test]
    fn a_terminal_that_grows_gets_its_rows_below() {
        let mut picture = fed(WindowSize::new(3, 10), "1\r\n2\r\n3\r\n4\r\n5");
        picture.resize(WindowSize::new(5, 20));
        assert_eq!(picture.terminal.screen().contents(), "3\n4\n5");
        picture.resize(WindowSize::new(2, 4));
        assert_eq!(picture.terminal.screen().contents(), "4\n5");
        assert_eq!(seen(&picture), seen(&drawn(&picture)));
    }

    /// Pieces of output that do something, with hostile numbers among them.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let number = prop_oneof![0..12u32, Just(255), Just(65535), Just(99999)];
        let numbers = proptest::collection::vec(number, 0..4);
        let finals = proptest::sample::select(b"@ABCDEFGHJKLMPSTXbdfghlmnqrstu`".to_vec());
        let marks = proptest::sample::select(vec!["", "?", ">", "!", " "]);
        let sequence = (marks, numbers, finals).prop_map(|(mark, numbers, last)| {
            let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
            // Repeating is tested where it is bounded.
            let last = if last == b'b' { b'a' } else { last };
            format!("\x1b[{mark}{}{}", numbers.join(";"), char::from(last)).into_bytes()
        });
        let modes = proptest::sample::select(vec![1, 6, 7, 25, 47, 1000, 1047, 1049, 2004]);
        let mode = (modes, any::<bool>()).prop_map(|(mode, on)| {
            format!("\x1b[?{mode}{}", if on { 'h' } else { 'l' }).into_bytes()
        });
        let text =
            "[ -~]{0,12}|[\u{e9}\u{4e2d}\u{301}\u{fe0f}\u{2764}\u{200d}\r\n\t\x08\x0e\x0f]{1,6}";
        let escapes = proptest::sample::select(b"78=>McDEHZ".to_vec());
        prop_oneof![
            text.prop_map(String::into_bytes),
            sequence,
            mode,
            escapes.prop_map(|escape| vec![0x1b, escape]),
            proptest::collection::vec(any::<u8>(), 0..8),
        ]
    }

    proptest! {
        #[test]
        fn nothing_harms_a_picture(
            steps in proptest::collection::vec((piece(), proptest::option::of((1..9u32, 1..9u32))), 0..60)
        ) {
            let mut picture = Picture::new(WindowSize::new(4, 7));
            for (output, size) in steps {
                picture.feed(&output);
                if let Some((rows, columns)) = size {
                    picture.resize(WindowSize::new(rows, columns));
                }
                prop_assert!(picture.draw().len() < 20_000);
            }
        }
    }
}
