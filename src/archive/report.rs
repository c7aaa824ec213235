//! What the two sides of a copy say to each other beside the archive.
//!
//! The tool writes lines to its standard error: first [`GREETING`], which no other program says, then
//! one [`Report`] a line, as JSON, and last `done` or `fatal`. Who unpacks says now and then how much it
//! has read; who packs is told the same on its standard input, one number a line, and never runs
//! further ahead than its window. So whatever is between the two keeps at most a window of it.

use serde::{Deserialize, Serialize};

/// The first line of the tool: what it is, and the version of everything that follows.
pub const GREETING: &str = "doorward-archive 1";

/// One line of the tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// So many bytes of the archive were read.
    Read(u64),
    /// Something was not copied as it should have been; the rest goes on.
    Problem(String),
    /// Something was left out that cannot be copied.
    Notice(String),
    /// The copy ended before its end, for this reason.
    Fatal(String),
    /// The copy came to its end.
    Done(Tally),
}

/// What came of a copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Files, directories, links and the like that were copied.
    pub entries: u64,
    /// Bytes of data in them.
    pub bytes: u64,
    /// What was left out because it cannot be copied: sockets, devices.
    pub skipped: u64,
    /// What was not copied as it should have been.
    pub problems: u64,
}

/// Listens to a copy while it runs.
pub trait Watch {
    /// Something was not copied as it should have been; names the path.
    fn problem(&mut self, text: String);
    /// Something was left out that cannot be copied; names the path.
    fn notice(&mut self, text: String);
    /// What was copied so far.
    fn copied(&mut self, tally: &Tally);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_lines_of_json() {
        let tally = Tally { entries: 2, bytes: 3, ..Tally::default() };
        let cases = [
            (Report::Read(7), r#"{"read":7}"#),
            (Report::Problem("a\nb".into()), r#"{"problem":"a\nb"}"#),
            (Report::Done(tally), r#"{"done":{"entries":2,"bytes":3,"skipped":0,"problems":0}}"#),
        ];
        for (report, line) in cases {
            assert_eq!(serde_json::to_string(&report).unwrap(), line);
            assert_eq!(serde_json::from_str::<Report>(line).unwrap(), report);
        }
        // A later version may count more, or less.
        let sparse = serde_json::from_str::<Report>(r#"{"done":{"entries":1,"colours":2}}"#);
        assert_eq!(sparse.unwrap(), Report::Done(Tally { entries: 1, ..Tally::default() }));
    }
}
