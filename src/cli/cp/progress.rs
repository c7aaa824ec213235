//! What a copy says while it runs: problems, and on a terminal one line that tells how far it is.

use std::{
    fmt::Write,
    io::{Write as _, stderr},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::termios::isatty;

use crate::archive::{Tally, Watch};

/// Between two looks at a copy that runs.
const PERIOD: Duration = Duration::from_millis(200);
/// Characters of the bar, where the whole is known.
const BAR: usize = 24;
/// Goes to the begin of the line and clears it.
const CLEAR: &str = "\r\x1b[K";

/// Whether a copy says how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// If standard error is a terminal.
    OnTerminals,
    /// Never; notices are left out too.
    Never,
}

/// Where a copy says something; clones are the same one.
#[derive(Clone)]
pub(super) struct Progress(Arc<Mutex<State>>);

struct State {
    begun: Instant,
    line: bool,
    notices: bool,
    /// Bytes of data in all, where that is known before.
    whole: Option<u64>,
    copied: Tally,
}

impl Progress {
    pub(super) fn new(line: Line) -> Self {
        let wanted = line == Line::OnTerminals;
        Self(Arc::new(Mutex::new(State {
            begun: Instant::now(),
            line: wanted && isatty(stderr()),
            notices: wanted,
            whole: None,
            copied: Tally::default(),
        })))
    }

    /// There will be so many bytes of data.
    pub(super) fn expect(&self, bytes: u64) {
        self.0.lock().whole = Some(bytes);
    }

    /// Says one line, behind which the other one goes on.
    pub(super) fn say(&self, text: &str) {
        let state = self.0.lock();
        let clear = if state.line { CLEAR } else { "" };
        let text = plain(text);
        // Who closed standard error does not want to know.
        let _ = writeln!(stderr(), "{clear}doorward: {text}");
    }

    /// Says what could not be done in the container.
    pub(super) fn failed_there(&self, what: &str) {
        self.say(&format!("failed in the container to {what}"));
    }

    /// Says that something was left out.
    pub(super) fn notice(&self, text: &str) {
        let wanted = self.0.lock().notices;
        if wanted {
            self.say(text);
        }
    }

    /// Shows how far the copy is, again and again. Never returns.
    pub(super) async fn show(&self) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(PERIOD).await;
            let state = self.0.lock();
            if state.line {
                let text = line(&state.copied, state.whole, state.begun.elapsed());
                let _ = write!(stderr(), "{CLEAR}{text}");
            }
        }
    }

    /// Leaves the last state of the line on the terminal.
    pub(super) fn end(&self) {
        let state = self.0.lock();
        if state.line {
            let text = line(&state.copied, None, state.begun.elapsed());
            let _ = writeln!(stderr(), "{CLEAR}{text}");
        }
    }
}

impl Watch for Progress {
    fn problem(&mut self, text: String) {
        self.say(&format!("failed to {text}"));
    }

    fn notice(&mut self, text: String) {
        Self::notice(self, &text);
    }

    fn copied(&mut self, tally: &Tally) {
        self.0.lock().copied = *tally;
    }
}

/// The line: `[====    ]  42 %  1.2 GiB  20,000 files  350 MiB/s`.
fn line(copied: &Tally, whole: Option<u64>, time: Duration) -> String {
    let mut line = String::new();
    if let Some(whole) = whole.filter(|whole| *whole > 0) {
        let part = copied.bytes.min(whole) as f64 / whole as f64;
        let filled = (part * BAR as f64) as usize;
        let (done, open) = ("=".repeat(filled), " ".repeat(BAR - filled));
        line += &format!("[{done}{open}] {:>3.0} %  ", part * 100.0);
    }
    let rate = copied.bytes as f64 / time.as_secs_f64().max(0.001);
    let files = if copied.entries == 1 { "file" } else { "files" };
    write!(line, "{}  {} {files}  {}/s", size(copied.bytes as f64), copied.entries, size(rate))
        .expect("a string takes everything");
    line
}

/// A text that does nothing to a terminal: names of files, and all that a container says, may hold any
/// character.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

fn size(bytes: f64) -> String {
    let (mut value, mut unit) = (bytes, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    let digits = if unit == "B" || value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is() {
        let copied = Tally { entries: 3, bytes: 3 << 20, ..Tally::default() };
        let time = Duration::from_secs(2);
        assert_eq!(line(&copied, None, time), "3.0 MiB  3 files  1.5 MiB/s");
        let half = line(&copied, Some(6 << 20), time);
        assert_eq!(half, "[============            ]  50 %  3.0 MiB  3 files  1.5 MiB/s");
        assert!(line(&copied, Some(1), time).starts_with("[========================] 100 %"));
    }

    #[test]
    fn what_is_said_does_nothing_to_a_terminal() {
        assert_eq!(plain("a b\u{e4}\n\u{1b}[2J\u{9b}1m"), "a b\u{e4}\\n\\u{1b}[2J\\u{9b}1m");
    }

    #[test]
    fn sizes_have_units() {
        let cases = [(0.0, "0 B"), (999.0, "999 B"), (1000.0, "1.0 KiB"), (2e12, "1.8 TiB")];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }
}
