//! What a command that takes its time says while it runs: what it comes across, and on a terminal one line
//! that tells how far it is.

use std::{
    env,
    io::{Write as _, stderr},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::termios::isatty;

use super::show::human::{count, printable, size};

/// Between two looks at work that runs.
const PERIOD: Duration = Duration::from_millis(200);
/// Characters of the bar, where the whole is known.
const BAR: usize = 24;
/// Goes to the begin of the line and clears it.
const CLEAR: &str = "\r\x1b[K";

/// Whether a command says how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// If standard error is a terminal.
    OnTerminals,
    /// Never; notices are left out too.
    Never,
}

/// How far some work is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// What is being done, in a word; empty where there is only one thing to do.
    pub(super) step: String,
    /// Bytes that are done.
    pub(super) bytes: u64,
    /// Bytes in all, where that is known before.
    pub(super) whole: Option<u64>,
    /// Files, directories and the like that are done.
    pub(super) entries: u64,
}

/// What the entries of some work are called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entries {
    /// One of them.
    pub(super) one: &'static str,
    /// Several.
    pub(super) many: &'static str,
}

/// Where a command says something; clones are the same one.
#[derive(Clone)]
pub(super) struct Progress(Arc<Mutex<State>>);

struct State {
    /// When the present step began.
    begun: Instant,
    line: bool,
    notices: bool,
    entries: Entries,
    reached: Reached,
}

impl Progress {
    pub(super) fn new(line: Line, entries: Entries) -> Self {
        let wanted = line == Line::OnTerminals;
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self(Arc::new(Mutex::new(State {
            begun: Instant::now(),
            line: wanted && isatty(stderr()) && !dumb,
            notices: wanted,
            entries,
            reached: Reached::default(),
        })))
    }

    /// There will be so many bytes.
    pub(super) fn expect(&self, bytes: u64) {
        self.0.lock().reached.whole = Some(bytes);
    }

    /// So much is done of the step that was last told of.
    pub(super) fn done(&self, bytes: u64, entries: u64) {
        let mut state = self.0.lock();
        state.reached.bytes = bytes;
        state.reached.entries = entries;
    }

    /// It is there.
    pub(super) fn reach(&self, reached: Reached) {
        let mut state = self.0.lock();
        if state.reached.step != reached.step {
            state.begun = Instant::now();
        }
        state.reached = reached;
    }

    /// Says one line, behind which the other one goes on.
    pub(super) fn say(&self, text: &str) {
        let state = self.0.lock();
        let clear = if state.line { CLEAR } else { "" };
        let text = printable(text);
        // Who closed standard error does not want to know.
        let _ = writeln!(stderr(), "{clear}doorward: {text}");
    }

    /// Says what a person may want to know and a script does not need.
    pub(super) fn notice(&self, text: &str) {
        let wanted = self.0.lock().notices;
        if wanted {
            self.say(text);
        }
    }

    /// Makes room for a line on standard output, which may be the same terminal.
    pub(super) fn clear(&self) {
        if self.0.lock().line {
            let _ = write!(stderr(), "{CLEAR}");
        }
    }

    /// Shows how far it is, again and again. Never returns.
    pub(super) async fn show(&self) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(PERIOD).await;
            let state = self.0.lock();
            if state.line {
                let text = line(&state.reached, state.entries, state.begun.elapsed());
                let _ = write!(stderr(), "{CLEAR}{text}");
            }
        }
    }

    /// Leaves the last state of the line on the terminal, if there is anything to tell.
    pub(super) fn end(&self) {
        let mut state = self.0.lock();
        if state.line {
            let reached = Reached { whole: None, ..state.reached.clone() };
            let text = line(&reached, state.entries, state.begun.elapsed());
            let _ = match reached == Reached::default() {
                true => write!(stderr(), "{CLEAR}"),
                false => writeln!(stderr(), "{CLEAR}{text}"),
            };
        }
        // Whatever is said from here on has the line for itself.
        state.line = false;
    }
}

/// The line: `[====    ]  42 %  packing  1.2 GiB  20000 files  350 MiB/s`.
fn line(reached: &Reached, entries: Entries, time: Duration) -> String {
    let mut parts = Vec::new();
    if let Some(whole) = reached.whole.filter(|whole| *whole > 0) {
        let part = reached.bytes.min(whole) as f64 / whole as f64;
        let filled = (part * BAR as f64) as usize;
        let (done, open) = ("=".repeat(filled), " ".repeat(BAR - filled));
        parts.push(format!("[{done}{open}] {:>3.0} %", part * 100.0));
    }
    if !reached.step.is_empty() {
        parts.push(printable(&reached.step));
    }
    parts.push(size(reached.bytes));
    if reached.entries > 0 {
        parts.push(count(reached.entries, entries.one, entries.many));
    }
    let rate = reached.bytes as f64 / time.as_secs_f64().max(0.001);
    parts.push(format!("{}/s", size(rate as u64)));
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: Entries = Entries { one: "file", many: "files" };

    #[test]
    fn the_line_says_how_far_it_is() {
        let time = Duration::from_secs(2);
        let told = |reached: &Reached| line(reached, FILES, time);
        let mut reached = Reached { bytes: 3 << 20, entries: 3, ..Reached::default() };
        assert_eq!(told(&reached), "3.0 MiB  3 files  1.5 MiB/s");
        reached.whole = Some(6 << 20);
        let half = "[============            ]  50 %  3.0 MiB  3 files  1.5 MiB/s";
        assert_eq!(told(&reached), half);
        reached = Reached { step: "pull\x1b[2J".into(), entries: 1, whole: Some(1), ..reached };
        let full = r"[========================] 100 %  pull\u{1b}[2J  3.0 MiB  1 file  1.5 MiB/s";
        assert_eq!(told(&reached), full);
        assert_eq!(told(&Reached { entries: 0, whole: None, ..reached }).split("  ").count(), 3);
    }

    #[test]
    fn another_step_has_a_rate_of_its_own() {
        let progress = Progress::new(Line::Never, FILES);
        let begun = Instant::now() - Duration::from_secs(10);
        progress.0.lock().begun = begun;
        progress.reach(Reached { bytes: 5, ..Reached::default() });
        assert_eq!(progress.0.lock().begun, begun);
        progress.reach(Reached { step: "unpacking".into(), ..Reached::default() });
        assert!(progress.0.lock().begun > begun);
    }
}
