//! What a program has switched on in its terminal: the other screen, the mouse, a hidden cursor and
//! their like. They can be switched off in a terminal that is left while the program goes on, and
//! on in another one that shows it.
//!
//! It follows the output as a terminal does, sequence by sequence, but keeps only modes. It also
//! knows whether the output stands in the middle of a sequence: who writes something in between
//! must repeat what was begun ([`Modes::aside`]).

use std::collections::BTreeSet;

use super::limits::{TERMINAL_KEYBOARDS_MAX, TERMINAL_SEQUENCE_BYTES_MAX};

const ESC: u8 = 0x1b;
/// CAN and SUB end any sequence.
const BREAKS: [u8; 2] = [0x18, 0x1a];

/// Private modes (CSI ? n h) that are off in a terminal that nobody has touched: cursor keys of
/// applications, reverse video, origin, the kinds of mouse report, focus reports, bracketed
/// paste, held-back updates, colour reports.
const OFF: [u16; 16] =
    [1, 5, 6, 9, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 2004, 2026, 2031];
/// Those that are on: lines wrap, the cursor is seen.
const ON: [u16; 2] = [7, 25];
/// Those that change to the other screen.
const SCREENS: [u16; 3] = [47, 1047, 1049];
/// What a terminal that nobody has touched means by the characters of G0 and G1: ASCII.
const ASCII: u8 = b'B';
/// What makes some of them lines and corners.
const LINES: u8 = b'0';
/// The lines and corners that take the place of ` to ~.
const DRAWN: [char; 31] = [
    '\u{25c6}', '\u{2592}', '\u{2409}', '\u{240c}', '\u{240d}', '\u{240a}', '\u{b0}', '\u{b1}',
    '\u{2424}', '\u{240b}', '\u{2518}', '\u{2510}', '\u{250c}', '\u{2514}', '\u{253c}', '\u{23ba}',
    '\u{23bb}', '\u{2500}', '\u{23bc}', '\u{23bd}', '\u{251c}', '\u{2524}', '\u{2534}', '\u{252c}',
    '\u{2502}', '\u{2264}', '\u{2265}', '\u{3c0}', '\u{2260}', '\u{a3}', '\u{b7}',
];

/// The modes of a terminal, as far as output has changed them.
#[derive(Debug, Clone, Default)]
pub struct Modes {
    place: Place,
    /// The sequence that has begun, up to a bound.
    begun: Vec<u8>,
    /// Of [`OFF`], those that are on; of [`ON`], those that are off; of [`SCREENS`], the one used.
    changed: BTreeSet<u16>,
    /// ESC = : the keypad of applications.
    keypad: bool,
    /// CSI 4 h.
    insert: bool,
    /// CSI n ; m r.
    region: bool,
    characters: Characters,
    /// CSI n SP q.
    cursor_shape: u16,
    /// CSI > 4 ; n m (xterm's modifyOtherKeys).
    other_keys: u16,
    /// The settings of CSI > n u that were not popped yet (kitty's protocol), up to a bound.
    keyboards: Vec<u16>,
}

/// Which characters are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Characters {
    /// ESC ( and ESC ) name what G0 and G1 are.
    sets: [u8; 2],
    /// SI and SO say which of them is used.
    used: usize,
}

impl Default for Characters {
    fn default() -> Self {
        Self { sets: [ASCII; 2], used: 0 }
    }
}

/// Where in a sequence the output stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Ground,
    /// A character with so many bytes to come.
    Character(u8),
    /// ESC and perhaps intermediates.
    Escape,
    /// CSI.
    Control,
    /// A title or the like, up to BEL or ST.
    Text,
    /// ESC within one: ST, or the next sequence.
    TextEscape,
}

impl Modes {
    /// Follows the next piece of output.
    pub fn follow(&mut self, output: &[u8]) {
        for byte in output {
            self.byte(*byte);
        }
    }

    /// What the next byte shows if it is not the character that it is in ASCII.
    pub fn drawn(&self, byte: u8) -> Option<char> {
        let lines = self.characters.sets[self.characters.used] == LINES;
        match (self.place, byte) {
            (Place::Ground, b'`'..=b'~') if lines => Some(DRAWN[usize::from(byte - b'`')]),
            (_, _) => None,
        }
    }

    /// Whether rows are counted from the top of the region (DECOM).
    pub fn origin(&self) -> bool {
        self.changed.contains(&6)
    }

    /// The sequence or character that has begun, as far as it came, but for what is beyond the bound.
    pub fn begun(&self) -> &[u8] {
        &self.begun
    }

    /// Whether the other screen is shown: a program has all of the terminal.
    pub fn full_screen(&self) -> bool {
        SCREENS.iter().any(|mode| self.changed.contains(mode))
    }

    /// `ours` as it can be written where the output stands: a sequence that it had begun, nearly always
    /// none, is broken off before and begun again behind.
    pub fn aside(&self, ours: &str) -> Vec<u8> {
        match self.place {
            Place::Ground => ours.into(),
            // A character that was cut shows as one that nobody knows; nothing can be done about it.
            Place::Character(_) => [ours.as_bytes(), &self.begun].concat(),
            Place::Escape | Place::Control | Place::Text | Place::TextEscape => {
                [&BREAKS[..1], ours.as_bytes(), &self.begun].concat()
            }
        }
    }

    /// What undoes all of it; from here on nothing counts as changed.
    pub fn undo(&mut self) -> Vec<u8> {
        let mut undo = Vec::new();
        if self.place != Place::Ground {
            undo.push(BREAKS[0]);
        }
        // They belong to the screen that is shown.
        if !self.keyboards.is_empty() {
            undo.extend(format!("\x1b[<{}u", self.keyboards.len()).bytes());
        }
        for mode in SCREENS.iter().chain(&OFF).filter(|mode| self.changed.contains(mode)) {
            undo.extend(format!("\x1b[?{mode}l").bytes());
        }
        for mode in ON.iter().filter(|mode| self.changed.contains(mode)) {
            undo.extend(format!("\x1b[?{mode}h").bytes());
        }
        let switches: [(bool, &[u8]); 6] = [
            (self.other_keys != 0, b"\x1b[>4m"),
            (self.keypad, b"\x1b>"),
            (self.insert, b"\x1b[4l"),
            // Setting it moves the cursor.
            (self.region, b"\x1b7\x1b[r\x1b8"),
            (self.characters != Characters::default(), b"\x0f\x1b(B\x1b)B"),
            (self.cursor_shape != 0, b"\x1b[0 q"),
        ];
        for (_, sequence) in switches.iter().filter(|(on, _)| *on) {
            undo.extend_from_slice(sequence);
        }
        undo.extend_from_slice(b"\x1b[0m");
        *self = Self::default();
        undo
    }

    /// What switches it on in a terminal that nobody has touched, but for the other screen, the region
    /// and the origin: those belong to what is drawn.
    pub fn redo(&self) -> Vec<u8> {
        let mut redo = Vec::new();
        for mode in OFF.iter().filter(|mode| **mode != 6 && self.changed.contains(mode)) {
            redo.extend(format!("\x1b[?{mode}h").bytes());
        }
        for mode in ON.iter().filter(|mode| self.changed.contains(mode)) {
            redo.extend(format!("\x1b[?{mode}l").bytes());
        }
        for keyboard in &self.keyboards {
            redo.extend(format!("\x1b[>{keyboard}u").bytes());
        }
        if self.other_keys != 0 {
            redo.extend(format!("\x1b[>4;{}m", self.other_keys).bytes());
        }
        if self.cursor_shape != 0 {
            redo.extend(format!("\x1b[{} q", self.cursor_shape).bytes());
        }
        let Characters { sets: [first, second], used } = self.characters;
        let switches: [(bool, &[u8]); 5] = [
            (self.keypad, b"\x1b="),
            (self.insert, b"\x1b[4h"),
            (first != ASCII, &[ESC, b'(', first]),
            (second != ASCII, &[ESC, b')', second]),
            (used == 1, b"\x0e"),
        ];
        for (_, sequence) in switches.iter().filter(|(on, _)| *on) {
            redo.extend_from_slice(sequence);
        }
        redo
    }

    fn byte(&mut self, byte: u8) {
        match (self.place, byte) {
            (Place::Ground, 0x20..=0x7e) => {}
            (_, ESC) if self.place == Place::Text => self.go_on(Place::TextEscape, byte),
            (_, ESC) => self.begin(Place::Escape, byte),
            (_, byte) if BREAKS.contains(&byte) => self.end(),
            (Place::Ground, 0x0e) => self.characters.used = 1,
            (Place::Ground, 0x0f) => self.characters.used = 0,
            (Place::Ground, 0xc2..=0xdf) => self.begin(Place::Character(1), byte),
            (Place::Ground, 0xe0..=0xef) => self.begin(Place::Character(2), byte),
            (Place::Ground, 0xf0..=0xf4) => self.begin(Place::Character(3), byte),
            (Place::Ground, _) => {}
            (Place::Character(more @ 2..), 0x80..=0xbf) => {
                self.go_on(Place::Character(more - 1), byte);
            }
            (Place::Character(_), 0x80..=0xbf) => self.end(),
            (Place::Character(_), _) => {
                self.end();
                self.byte(byte);
            }
            (Place::Escape, b'[') => self.go_on(Place::Control, byte),
            (Place::Escape, b']' | b'P' | b'X' | b'^' | b'_') => self.go_on(Place::Text, byte),
            (Place::Escape, 0x30..=0x7e) => {
                self.begun.push(byte);
                self.escape();
                self.end();
            }
            (Place::Control, 0x40..=0x7e) => {
                self.begun.push(byte);
                self.control();
                self.end();
            }
            (Place::Text, 0x07) | (Place::TextEscape, b'\\') => self.end(),
            (Place::TextEscape, _) => {
                self.begin(Place::Escape, ESC);
                self.byte(byte);
            }
            (Place::Escape | Place::Control | Place::Text, _) => self.go_on(self.place, byte),
        }
    }

    fn begin(&mut self, place: Place, byte: u8) {
        self.begun.clear();
        self.go_on(place, byte);
    }

    fn go_on(&mut self, place: Place, byte: u8) {
        self.place = place;
        // What is longer is a title or a picture; cut, it is not repeated well, and nothing else.
        if self.begun.len() < TERMINAL_SEQUENCE_BYTES_MAX {
            self.begun.push(byte);
        }
    }

    fn end(&mut self) {
        self.place = Place::Ground;
        self.begun.clear();
    }

    /// `begun` is ESC, intermediates and a final byte.
    fn escape(&mut self) {
        match &self.begun[1..] {
            b"=" => self.keypad = true,
            b">" => self.keypad = false,
            b"c" => *self = Self::default(),
            [b'(', set] => self.characters.sets[0] = *set,
            [b')', set] => self.characters.sets[1] = *set,
            _ => {}
        }
    }

    /// `begun` is CSI, parameters and a final byte.
    fn control(&mut self) {
        let sequence = std::mem::take(&mut self.begun);
        let Some((last, parameters)) = sequence[2..].split_last() else { return };
        match (parameters, last) {
            ([b'?', modes @ ..], b'h' | b'l') => {
                for mode in numbers(modes) {
                    self.private(mode, *last);
                }
            }
            (b"4", b'h' | b'l') => self.insert = *last == b'h',
            (b"!", b'p') => self.soft_reset(),
            ([] | [b'0'..=b'9' | b';', ..], b'r') => self.region = !parameters.is_empty(),
            ([shape @ .., b' '], b'q') => self.cursor_shape = numbers(shape).next().unwrap_or(0),
            ([b'>', keys @ ..], b'm') => {
                let mut keys = numbers(keys);
                if keys.next() == Some(4) {
                    self.other_keys = keys.next().unwrap_or(0);
                }
            }
            ([b'>', keyboard @ ..], b'u') if self.keyboards.len() < TERMINAL_KEYBOARDS_MAX => {
                self.keyboards.push(numbers(keyboard).next().unwrap_or(0));
            }
            ([b'<', count @ ..], b'u') => {
                let count = usize::from(numbers(count).next().unwrap_or(1).max(1));
                self.keyboards.truncate(self.keyboards.len().saturating_sub(count));
            }
            (_, _) => {}
        }
    }

    /// Sets (`h`) or resets (`l`) a private mode.
    fn private(&mut self, mode: u16, order: u8) {
        let changed = (order == b'h') != ON.contains(&mode);
        if SCREENS.contains(&mode) {
            // There is one other screen, whichever number it was asked for by.
            self.changed.retain(|mode| !SCREENS.contains(mode));
        } else if !OFF.contains(&mode) && !ON.contains(&mode) {
            return;
        }
        match changed {
            true => self.changed.insert(mode),
            false => self.changed.remove(&mode),
        };
    }

    /// DECSTR: what it leaves alone is the screen, the mouse and reports.
    fn soft_reset(&mut self) {
        self.changed.retain(|mode| ![1, 6, 7, 25].contains(mode));
        self.keypad = false;
        self.insert = false;
        self.region = false;
        self.characters = Characters::default();
    }
}

/// The parameters of a control sequence; what is no number, or empty, is 0.
fn numbers(parameters: &[u8]) -> impl Iterator<Item = u16> {
    parameters
        .split(|byte| *byte == b';')
        .map(|number| std::str::from_utf8(number).ok().and_then(|n| n.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What undoes `output`, without the end that is always there.
    fn undone(output: &str) -> String {
        let mut modes = Modes::default();
        modes.follow(output.as_bytes());
        let undo = String::from_utf8(modes.undo()).unwrap();
        assert_eq!(modes.undo(), b"\x1b[0m", "undone once");
        undo.strip_suffix("\x1b[0m").unwrap().to_string()
    }

    #[test]
    fn what_was_switched_on_is_switched_off() {
        let cases = [
            ("plain \u{e4} text\r\n\x1b[31mred\x1b[0m\x1b[2J\x1b[5;7H", ""),
            ("\x1b[?1049h", "\x1b[?1049l"),
            ("\x1b[?1049h\x1b[?1049l", ""),
            ("\x1b[?47h\x1b[?1047l", ""),
            ("\x1b[?25l", "\x1b[?25h"),
            ("\x1b[?25l\x1b[?25h\x1b[?7h", ""),
            ("\x1b[?1000;1006h\x1b[?2004h", "\x1b[?1000l\x1b[?1006l\x1b[?2004l"),
            ("\x1b[?1h\x1b=", "\x1b[?1l\x1b>"),
            ("\x1b[?1h\x1b=\x1b[?1l\x1b>", ""),
            ("\x1b[?12h\x1b[?9999h", ""),
            ("\x1b[4h", "\x1b[4l"),
            ("\x1b[2;20r", "\x1b7\x1b[r\x1b8"),
            ("\x1b[2;20r\x1b[r", ""),
            ("\x1b[?2004r", ""),
            ("\x1b(0lqk", "\x0f\x1b(B\x1b)B"),
            ("\x1b(0lqk\x1b(B", ""),
            ("\x1b[5 q", "\x1b[0 q"),
            ("\x1b[5 q\x1b[ q", ""),
            ("\x1b[>4;2m", "\x1b[>4m"),
            ("\x1b[>4;2m\x1b[>4;m", ""),
            ("\x1b[>1u\x1b[>5u\x1b[>1u\x1b[<u", "\x1b[<2u"),
            ("\x1b[>1u\x1b[<9u", ""),
            ("\x1b[?1049h\x1b[?1002h\x1b[?25l\x1bc", ""),
            ("\x1b[?25l\x1b[?1h\x1b[?1000h\x1b[!p", "\x1b[?1000l"),
        ];
        for (output, expected) in cases {
            assert_eq!(undone(output), expected, "{output:?}");
        }
    }

    #[test]
    fn what_was_switched_on_can_be_switched_on_elsewhere() {
        let cases = [
            ("text\r\n\x1b[31mred\x1b[?1049h\x1b[2;20r\x1b[?6h", ""),
            (
                "\x1b[?1000;1006h\x1b[?2004h\x1b[?1h\x1b=",
                "\x1b[?1h\x1b[?1000h\x1b[?1006h\x1b[?2004h\x1b=",
            ),
            ("\x1b[?25l\x1b[?7l\x1b[4h", "\x1b[?7l\x1b[?25l\x1b[4h"),
            ("\x1b[>1u\x1b[>5u\x1b[<u\x1b[>4;2m\x1b[5 q", "\x1b[>1u\x1b[>4;2m\x1b[5 q"),
            ("\x1b(0\x1b)A\x0e", "\x1b(0\x1b)A\x0e"),
            ("\x1b(0\x0e\x1b(B\x0f", ""),
        ];
        for (output, expected) in cases {
            let mut modes = Modes::default();
            modes.follow(output.as_bytes());
            let redo = modes.redo();
            assert_eq!(String::from_utf8(redo.clone()).unwrap(), expected, "{output:?}");
            let mut other = Modes::default();
            other.follow(&redo);
            assert_eq!(other.redo(), redo, "{output:?}");
        }
    }

    #[test]
    fn lines_and_corners_are_drawn_only_where_they_are_meant() {
        let cases = [
            ("", None),
            ("\x1b(0", Some('\u{2500}')),
            ("\x1b(0\x1b[", None),
            ("\x1b(0\x1b(B", None),
            ("\x1b)0", None),
            ("\x1b)0\x0e", Some('\u{2500}')),
            ("\x1b)0\x0e\x0f", None),
            ("\x1b(0\x1b]0;", None),
        ];
        for (output, expected) in cases {
            let mut modes = Modes::default();
            modes.follow(output.as_bytes());
            assert_eq!(modes.drawn(b'q'), expected, "{output:?}");
            assert_eq!(modes.drawn(b'A'), None, "{output:?}");
        }
    }

    #[test]
    fn titles_and_broken_sequences_hide_nothing_and_show_nothing() {
        let cases = [
            ("\x1b]0;[?1049h\x07", ""),
            ("\x1b]0;title\x1b\\\x1b[?25l", "\x1b[?25h"),
            ("\x1bP+q[?25l\x1b\\", ""),
            ("\x1b]0;never ended\x1b[?25l", "\x1b[?25h"),
            ("\x1b[?10\x1b[?25l", "\x1b[?25h"),
            ("\x1b[?25\x18l", ""),
            ("\u{e4}\x1b[?25l", "\x1b[?25h"),
        ];
        for (output, expected) in cases {
            assert_eq!(undone(output), expected, "{output:?}");
        }
        // A character that was cut.
        let mut modes = Modes::default();
        modes.follow(b"\xc3\x1b[?25l");
        assert_eq!(modes.undo(), b"\x1b[?25h\x1b[0m");
        assert_eq!(undone("\x1b[?1049h\x1b[?2"), "\x18\x1b[?1049l");
    }

    #[test]
    fn what_was_begun_is_repeated_behind_our_own() {
        let cases: [(&[u8], &[u8]); 8] = [
            (b"text", b"ours"),
            (b"text\x1b", b"\x18ours\x1b"),
            (b"text\x1b[?10", b"\x18ours\x1b[?10"),
            (b"text\x1b[31m", b"ours"),
            (b"\x1b]0;half a ti", b"\x18ours\x1b]0;half a ti"),
            (b"\x1b]0;title\x1b", b"\x18ours\x1b]0;title\x1b"),
            ("\u{20ac}".as_bytes(), b"ours"),
            (&"\u{20ac}".as_bytes()[..2], b"ours\xe2\x82"),
        ];
        for (output, expected) in cases {
            let mut modes = Modes::default();
            modes.follow(output);
            assert_eq!(modes.aside("ours"), expected, "{output:?}");
        }
        let mut modes = Modes::default();
        modes.follow(b"\x1b]");
        modes.follow(&[b'x'; 3 * TERMINAL_SEQUENCE_BYTES_MAX]);
        assert_eq!(modes.aside("").len(), 1 + TERMINAL_SEQUENCE_BYTES_MAX);
    }

    #[test]
    fn a_program_that_has_all_of_the_terminal_is_known() {
        let mut modes = Modes::default();
        modes.follow(b"\x1b[?1049h");
        assert!(modes.full_screen());
        modes.follow(b"\x1b[?1049l");
        assert!(!modes.full_screen());
    }
}
