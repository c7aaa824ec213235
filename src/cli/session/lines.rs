//! Lines of ours on a terminal that shows the screen of somebody else's program.

use crate::core::spec::WindowSize;

/// Saves the cursor with all that belongs to it, and gives it what plain text needs: no
/// attributes, no characters for drawing, no origin within a region.
const ASIDE: &str = "\x1b7\x1b[?6l\x0f\x1b(B\x1b[0m";
/// Goes back to what was saved.
const BACK: &str = "\x1b8";

/// Writes `text` as a line of its own above the one that the cursor is in, which moves down with
/// all that is in it: a prompt and what was typed behind it stay as they are.
pub(super) fn above(text: &str, size: WindowSize) -> String {
    // The first two make room where the cursor is in the last row, and elsewhere nothing.
    format!("\n\x1b[A{ASIDE}\x1b[L\r{}{BACK}\x1b[B", fitted(text, size))
}

/// Writes `text` over the last row; the program that owns the screen must draw it again later.
pub(super) fn over(text: &str, size: WindowSize) -> String {
    format!("{ASIDE}\x1b[{};1H\x1b[7m\x1b[K{}\x1b[0m{BACK}", size.rows(), fitted(text, size))
}

/// What fits into one row: a line that wraps would move more than one.
fn fitted(text: &str, size: WindowSize) -> String {
    let room = usize::from(size.columns().max(2)) - 1;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    match text.chars().nth(room) {
        None => text.chars().map(plain).collect(),
        Some(_) => text.chars().take(room - 1).map(plain).chain(['\u{2026}']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_row_and_cannot_move_the_cursor() {
        let size = WindowSize::new(24, 10);
        assert_eq!(fitted("123456789", size), "123456789");
        assert_eq!(fitted("1234567890", size), "12345678\u{2026}");
        assert_eq!(fitted("a\nb\x1b[2J", size), "a b [2J");
        assert_eq!(fitted("ab", WindowSize::new(1, 1)), "\u{2026}");
    }
}
