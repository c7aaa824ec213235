//! Sizes, times and strangers' texts as people read them.

use std::{
    fmt::Write,
    time::{Duration, SystemTime},
};

use prost_types::Timestamp;

/// A size in the largest unit that leaves a whole number, with two digits at least: `512 B`,
/// `1.5 KiB`, `23 MiB`.
pub(in crate::cli) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be shown as 1024 of a unit is one of the next.
    while scaled >= 1023.5 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(scaled < 9.95);
    format!("{scaled:.decimals$} {}", UNITS[unit])
}

/// A time in its largest unit, whole ones only: `3 s`, `5 min`, `2 h`, `40 d`.
pub(in crate::cli) fn age(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3_600 => format!("{} min", s / 60),
        s @ 3_600..86_400 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

/// A time in its two largest units; below a minute, in seconds to three digits: `0.412 s`,
/// `12.3 s`, `5 min 3 s`, `2 d 4 h`.
pub(in crate::cli) fn span(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{:.3} s", time.as_secs_f64()),
        1..10 => format!("{:.2} s", time.as_secs_f64()),
        10..60 => format!("{:.1} s", time.as_secs_f64()),
        s @ 60..3_600 => format!("{} min {} s", s / 60, s % 60),
        s @ 3_600..86_400 => format!("{} h {} min", s / 3_600, s / 60 % 60),
        s => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

/// A time that somebody chose, in the largest unit that holds it without a rest: `200 ms`, `4 s`, `1 d`.
pub(in crate::cli) fn chosen(time: Duration) -> String {
    const UNITS: [(u128, &str); 4] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    let millis = time.as_millis();
    match UNITS.iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", millis / unit),
        None => format!("{millis} ms"),
    }
}

/// How long ago a time of the wall's clock was. The agent's clock may be ahead of ours: then it was
/// just now.
pub(in crate::cli) fn since(time: &Timestamp, now: SystemTime) -> Option<Duration> {
    let time = SystemTime::try_from(*time).ok()?;
    Some(now.duration_since(time).unwrap_or_default())
}

/// A duration of the wire; `None` for a negative one.
pub(in crate::cli) fn length(time: &prost_types::Duration) -> Option<Duration> {
    Duration::try_from(*time).ok()
}

/// `1 process`, `3 processes`.
pub(in crate::cli) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A text with everything escaped that could make a terminal do something, or show the text in another
/// order than it has.
pub(in crate::cli) fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut safe, c| {
        match harmless(c) {
            true => safe.push(c),
            false => safe.extend(c.escape_default()),
        }
        safe
    })
}

/// A path of the container, which may be any bytes, made harmless in the same way.
pub(in crate::cli) fn path(bytes: &[u8]) -> String {
    bytes.utf8_chunks().fold(String::new(), |mut safe, chunk| {
        safe += &printable(chunk.valid());
        for byte in chunk.invalid() {
            write!(safe, "\\x{byte:02x}").expect("a string takes everything");
        }
        safe
    })
}

/// Whether a terminal shows this character as itself, and nothing else happens.
fn harmless(c: char) -> bool {
    match c {
        ' '..='~' => true,
        // Debug's escapes name what is not printable: controls, marks of direction, what no
        // standard has assigned. A combining mark is escaped too, which is safe.
        _ => c.escape_debug().count() == 1,
    }
}

/// A command as one would type it into a shell; `more` says that it was longer.
pub(in crate::cli) fn command(argv: &[String], more: More) -> String {
    let words: Vec<String> = argv.iter().map(|word| quoted(word)).collect();
    let cut = match more {
        More::Cut => " …",
        More::Whole => "",
    };
    words.join(" ") + cut
}

/// Whether a command is all there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum More {
    /// It is.
    Whole,
    /// Its end was not kept.
    Cut,
}

/// One word, quoted where a shell would take it for something else. What cannot be shown is written
/// as bash and zsh read it between `$'` and `'`.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    if word.chars().all(harmless) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    let mut text = String::from("$'");
    for c in word.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            '\\' => text.push_str("\\\\"),
            '\'' => text.push_str("\\'"),
            c if harmless(c) => text.push(c),
            c => {
                let number = u32::from(c);
                let written = match number {
                    0..0x80 => write!(text, "\\x{number:02x}"),
                    0x80..0x1_0000 => write!(text, "\\u{number:04x}"),
                    _ => write!(text, "\\U{number:08x}"),
                };
                written.expect("a string takes everything");
            }
        }
    }
    text + "'"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_have_two_digits_at_least() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10_188, "9.9 KiB"),
            (10_189, "10 KiB"),
            (23 << 20, "23 MiB"),
            (1_048_063, "1023 KiB"),
            (1_048_064, "1.0 MiB"),
            (u64::MAX, "16 EiB"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(size(bytes), shown, "{bytes}");
        }
    }

    #[test]
    fn times_at_the_edges_of_their_units() {
        let cases = [
            (0, "0 s", "0.000 s"),
            (412, "0 s", "0.412 s"),
            (3_456, "3 s", "3.46 s"),
            (59_900, "59 s", "59.9 s"),
            (60_000, "1 min", "1 min 0 s"),
            (3_599_000, "59 min", "59 min 59 s"),
            (3_600_000, "1 h", "1 h 0 min"),
            (86_399_000, "23 h", "23 h 59 min"),
            (100 * 86_400_000, "100 d", "100 d 0 h"),
        ];
        for (millis, short, long) in cases {
            let time = Duration::from_millis(millis);
            assert_eq!((age(time).as_str(), span(time).as_str()), (short, long), "{millis} ms");
        }
    }

    #[test]
    fn chosen_times_are_shown_whole() {
        for (millis, shown) in
            [(0, "0 ms"), (200, "200 ms"), (4_000, "4 s"), (90_000, "90 s"), (86_400_000, "1 d")]
        {
            assert_eq!(chosen(Duration::from_millis(millis)), shown);
        }
    }

    #[test]
    fn a_clock_that_is_ahead_means_just_now() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        assert_eq!(since(&at(97), now), Some(Duration::from_secs(3)));
        assert_eq!(since(&at(200), now), Some(Duration::ZERO));
    }

    #[test]
    fn paths_are_any_bytes() {
        assert_eq!(path(b"/a b/\xc3\xa4"), "/a b/\u{e4}");
        assert_eq!(path(b"/\xff\xc3(\x1b[2J"), r"/\xff\xc3(\u{1b}[2J");
    }

    #[test]
    fn words_are_quoted_as_a_shell_needs_it() {
        let cases = [
            ("ls", "ls"),
            ("--a=b", "--a=b"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$HOME", "'$HOME'"),
            ("it's", r"'it'\''s'"),
            ("über", "'über'"),
            ("a\nb'\\", r"$'a\nb\'\\'"),
            ("\x1b[2J\u{9b}31m", r"$'\x1b[2J\u009b31m'"),
            ("a\u{202e}b", r"$'a\u202eb'"),
            ("\u{e0001}", r"$'\U000e0001'"),
        ];
        for (word, shown) in cases {
            assert_eq!(quoted(word), shown, "{word:?}");
        }
        let argv = ["sh".to_string(), "-c".into(), "exit 3".into()];
        assert_eq!(command(&argv, More::Whole), "sh -c 'exit 3'");
        assert_eq!(command(&argv[..1], More::Cut), "sh …");
    }

    proptest! {
        /// Whatever the text, a terminal is told nothing but what to show.
        #[test]
        fn no_control_reaches_a_terminal(text in any::<String>()) {
            let strange = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
            prop_assert!(!printable(&text).contains(strange));
            prop_assert!(!command(&[text], More::Cut).contains(strange));
        }
    }
}
