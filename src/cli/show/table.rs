//! Columns that stand beneath each other.

use unicode_width::UnicodeWidthStr;

use super::colour::{Paint, Tone};

/// Rows beneath headings.
#[derive(Debug, Default)]
pub(in crate::cli) struct Table {
    heads: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

/// On which side of its column a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// One text of a table. It has no control characters: whoever makes it sees to that.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Cell {
    text: String,
    tone: Tone,
}

/// How much of a line there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Room {
    /// As much as is needed.
    Unbounded,
    /// This many columns; the last cell is cut to fit.
    Columns(usize),
}

impl Cell {
    /// A text in a tone.
    pub(in crate::cli) fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone }
    }

    fn width(&self) -> usize {
        self.text.width()
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(Tone::Plain, text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(Tone::Plain, text)
    }
}

impl Table {
    /// A table with these headings.
    pub(in crate::cli) fn new(heads: &[(&'static str, Align)]) -> Self {
        Self { heads: heads.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, a cell a heading.
    pub(in crate::cli) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines of the table, the headings first.
    pub(in crate::cli) fn lines(&self, paint: Paint, room: Room) -> Vec<String> {
        let heads: Vec<Cell> =
            self.heads.iter().map(|(head, _)| Cell::new(Tone::Strong, *head)).collect();
        let all = || std::iter::once(&heads).chain(&self.rows);
        let widths: Vec<usize> = (0..heads.len())
            .map(|column| {
                all().filter_map(|row| row.get(column)).map(Cell::width).max().unwrap_or(0)
            })
            .collect();
        all().map(|row| self.line(row, &widths, paint, room)).collect()
    }

    fn line(&self, row: &[Cell], widths: &[usize], paint: Paint, room: Room) -> String {
        let (mut line, mut used) = (String::new(), 0);
        let last = self.heads.len().saturating_sub(1);
        for (column, (cell, (_, align))) in row.iter().zip(&self.heads).enumerate() {
            let (gap, blank) = (" ".repeat(2), " ".repeat(widths[column] - cell.width()));
            let text = match room {
                Room::Columns(columns) if column == last => {
                    cut(&cell.text, columns.saturating_sub(used))
                }
                Room::Columns(_) | Room::Unbounded => cell.text.clone(),
            };
            let text = paint.paint(cell.tone, &text);
            match align {
                Align::Left if column == last => line += &text,
                Align::Left => line.extend([text, blank, gap]),
                Align::Right if column == last => line.extend([blank, text]),
                Align::Right => line.extend([blank, text, gap]),
            }
            used += widths[column] + 2;
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// As much of a text as has room in so many columns, with a mark where something is missing.
pub(in crate::cli) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_string();
    }
    let (mut kept, mut used) = (String::new(), 0);
    for c in text.chars() {
        let width = c.to_string().width();
        if used + width + 1 > columns {
            break;
        }
        kept.push(c);
        used += width;
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// Names and what belongs to them, beneath each other. A name that is empty goes on with the one
/// above.
pub(in crate::cli) fn pairs(rows: &[(&str, String)], paint: Paint) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter()
        .map(|(name, value)| {
            let blank = " ".repeat(width - name.len() + 2);
            format!("{}{blank}{value}\n", paint.paint(Tone::Strong, name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let heads = [("ID", Align::Left), ("PID", Align::Right), ("COMMAND", Align::Left)];
        let mut table = Table::new(&heads);
        table.row(["build-1".into(), "7".into(), "make all".into()]);
        table.row([Cell::new(Tone::Good, "x"), "12345".into(), Cell::from(String::new())]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let lines = table().lines(Paint::Plain, Room::Unbounded);
        assert_eq!(
            lines,
            ["ID         PID  COMMAND", "build-1      7  make all", "x        12345"]
        );
    }

    #[test]
    fn the_last_cell_is_cut_and_colours_take_no_room() {
        let lines = table().lines(Paint::Colours, Room::Columns(20));
        assert_eq!(lines[1], "build-1      7  mak…");
        assert_eq!(lines[2], "\x1b[32mx\x1b[0m        12345");
        let narrow = table().lines(Paint::Plain, Room::Columns(3));
        assert_eq!(narrow[1], "build-1      7");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("ab", 0), "");
    }

    #[test]
    fn pairs_stand_beneath_each_other() {
        let rows = [("State", "ended".to_string()), ("", "more".into()), ("ID", "x".into())];
        assert_eq!(pairs(&rows, Paint::Plain), "State  ended\n       more\nID     x\n");
    }
}
