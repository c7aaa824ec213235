//! The agent's log: lines on stderr, as text or JSON.
//!
//! A log that nobody reads must not stop the agent: a line that would block is dropped and
//! counted, and the count is said as soon as there is room again.

use std::{
    fmt, fs,
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    fmt::{MakeWriter, format::Writer, time::FormatTime},
    layer::SubscriberExt,
};

/// What is logged and how.
#[derive(Debug, Clone)]
pub struct Settings {
    filter: Targets,
    format: Format,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// Takes a level, or a comma-separated list of levels and `target=level`.
    pub fn new(filter: &str, format: Format) -> Result<Self, String> {
        let mistake = "is no list of off, error, warn, info, debug, trace and TARGET=LEVEL";
        // A lone word that is no level would be taken for a target at its most verbose.
        let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
        if filter.split(',').any(|part| !part.contains('=') && !is_level(part)) {
            return Err(mistake.into());
        }
        let filter = filter.parse().map_err(|_| mistake.to_string())?;
        Ok(Self { filter, format })
    }
}

impl Default for Settings {
    fn default() -> Self {
        let filter = Targets::new().with_default(tracing::Level::INFO);
        Self { filter, format: Format::Text }
    }
}

/// Makes `settings` those of the whole process and returns the way to stderr, for lines that are
/// no log lines. A second call changes nothing but returns a way of its own.
pub fn start(settings: &Settings) -> Lines {
    let lines = Lines::new(Output::stderr());
    let subscriber = Registry::default().with(layer(settings, lines.clone()));
    // Only a test or an embedding program has set one before, and then theirs rules.
    let _ = tracing::subscriber::set_global_default(subscriber);
    lines
}

fn layer(settings: &Settings, lines: Lines) -> Box<dyn Layer<Registry> + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer().with_writer(lines).with_timer(Utc);
    match settings.format {
        Format::Text => layer.with_ansi(false).with_filter(settings.filter.clone()).boxed(),
        Format::Json => layer.json().with_filter(settings.filter.clone()).boxed(),
    }
}

/// A shared way to write whole lines that never waits for a reader.
#[derive(Clone)]
pub struct Lines(Arc<Mutex<State>>);

/// Guarded by the mutex of [`Lines`]: a line is written whole before the next one starts.
struct State {
    output: Output,
    dropped: u64,
    /// The last line was cut, so that its end has to be written before another one.
    torn: bool,
}

impl Lines {
    fn new(output: Output) -> Self {
        Self(Arc::new(Mutex::new(State { output, dropped: 0, torn: false })))
    }

    /// Writes `text` and a line end, or drops and counts it.
    pub fn say(&self, text: &str) {
        self.0.lock().write(format!("{text}\n").as_bytes());
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

impl State {
    fn write(&mut self, line: &[u8]) {
        if self.dropped > 0 || self.torn {
            let torn = if self.torn { "\n" } else { "" };
            let note = format!("{torn}doorward: {} log lines were dropped\n", self.dropped);
            let note = if self.dropped > 0 { note.as_bytes() } else { b"\n" };
            if self.output.put(note) != note.len() {
                self.dropped += 1;
                return;
            }
            (self.dropped, self.torn) = (0, false);
        }
        match self.output.put(line) {
            0 => self.dropped += 1,
            written => self.torn = written < line.len(),
        }
    }
}

/// `tracing` writes one line in one call.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// Where lines go. The descriptor never blocks for long: it is non-blocking, or polled before
/// each piece that a pipe takes at once, or a file.
struct Output {
    fd: Option<OwnedFd>,
}

/// A pipe that is ready takes this much without blocking (PIPE_BUF).
const PIECE_BYTES: usize = 4096;

impl Output {
    /// The process's stderr; nothing if it is closed.
    ///
    /// O_NONBLOCK belongs to the open file, which others share, so a pipe or a terminal is opened
    /// anew where that is allowed.
    fn stderr() -> Self {
        let Ok(fd) = io::stderr().as_fd().try_clone_to_owned() else { return Self { fd: None } };
        let path = "/proc/self/fd/2";
        let kind = fs::metadata(path).map(|found| found.file_type());
        let reopen = kind.is_ok_and(|kind| kind.is_fifo() || kind.is_char_device());
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let opened = reopen
            .then(|| fs::OpenOptions::new().append(true).custom_flags(flags).open(path))
            .and_then(Result::ok);
        Self { fd: Some(opened.map_or(fd, OwnedFd::from)) }
    }

    /// Writes as much of `bytes` as goes without waiting, and says how much that was.
    fn put(&mut self, bytes: &[u8]) -> usize {
        let Some(fd) = &self.fd else { return bytes.len() };
        let mut written = 0;
        while written < bytes.len() {
            let mut ready = [PollFd::new(fd, PollFlags::OUT)];
            if poll(&mut ready, Some(&Timespec::default())) != Ok(1) {
                break;
            }
            let end = bytes.len().min(written + PIECE_BYTES);
            match rustix::io::write(fd, &bytes[written..end]) {
                Ok(n) if n > 0 => written += n,
                Err(rustix::io::Errno::INTR) => {}
                Ok(_) | Err(_) => break,
            }
        }
        written
    }
}

/// The time of a line: UTC with milliseconds, as RFC 3339 writes it.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (y, m, d) = civil(now.as_secs() / 86_400);
        let of_day = now.as_secs() % 86_400;
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let millis = now.subsec_millis();
        write!(w, "{y:04}-{m:02}-{d:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Year, month and day of a number of days since 1970-01-01 (proleptic Gregorian).
///
/// Counted in years that begin in March, so that the leap day is the last day of a year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn dates() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_779, (2026, 11, 22)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(days), date, "{days}");
        }
    }

    #[test]
    fn filters() {
        for good in ["off", "info", "warn,doorward::exec=debug", "doorward=trace"] {
            assert!(Settings::new(good, Format::Text).is_ok(), "{good}");
        }
        for bad in ["loud", "info,doorward", "doorward=loud", "info,"] {
            assert!(Settings::new(bad, Format::Text).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_full_pipe_drops_lines_and_says_how_many() {
        let (mut reader, writer) = io::pipe().unwrap();
        let lines = Lines::new(Output { fd: Some(writer.into()) });
        let line = "x".repeat(999);
        for _ in 0..1000 {
            lines.say(&line);
        }
        let dropped = lines.0.lock().dropped;
        assert!(dropped > 0 && dropped < 1000, "{dropped}");
        let mut room = vec![0; 64 << 10];
        let read = reader.read(&mut room).unwrap();
        lines.say("after");
        drop(lines);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        let text = String::from_utf8([&room[..read], &rest].concat()).unwrap();
        assert!(text.ends_with(&format!("doorward: {dropped} log lines were dropped\nafter\n")));
        let whole = text.lines().filter(|l| *l == line).count();
        assert_eq!(u64::try_from(whole).unwrap() + dropped, 1000);
    }

    #[test]
    fn both_formats_and_the_filter() {
        for (format, start) in [(Format::Text, "20"), (Format::Json, "{\"timestamp\":\"20")] {
            let (mut reader, writer) = io::pipe().unwrap();
            let lines = Lines::new(Output { fd: Some(writer.into()) });
            let settings = Settings::new("info", format).unwrap();
            let subscriber = Registry::default().with(layer(&settings, lines.clone()));
            tracing::subscriber::with_default(subscriber, || {
                tracing::info!(exec = "e1", "started");
                tracing::debug!("not shown");
            });
            drop(lines);
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert!(text.starts_with(start), "{text}");
            assert!(text.contains("e1") && text.contains("started"), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }
}
