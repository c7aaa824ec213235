//! The names of signals, as kill(1) and signal(7) have them.

use std::str::FromStr;

/// By number, from 1 on, as x86 and ARM number them.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The largest number of a signal: the last one of real time.
const LAST: i32 = 64;

/// A signal as it was named or numbered: 1-64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signal(i32);

impl Signal {
    /// Its number.
    pub(super) fn number(self) -> i32 {
        self.0
    }
}

impl FromStr for Signal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return match number {
                1..=LAST => Ok(Self(number)),
                _ => Err(format!("signals have the numbers 1 to {LAST}")),
            };
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        match (1..).zip(NAMES).find(|(_, known)| *known == name) {
            Some((number, _)) => Ok(Self(number)),
            None => Err(format!("known are {} and the numbers 1 to {LAST}", NAMES.join(", "))),
        }
    }
}

/// The name of a signal, or its number where it has none.
pub(super) fn shown(number: i32) -> String {
    let index = usize::try_from(number - 1).ok();
    match index.and_then(|index| NAMES.get(index)) {
        Some(name) => (*name).to_string(),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in
            [("TERM", 15), ("SIGTERM", 15), ("sigkill", 9), ("9", 9), ("64", 64), ("sys", 31)]
        {
            assert_eq!(text.parse(), Ok(Signal(number)), "{text}");
        }
        for text in ["", "0", "65", "-9", "SIG", "NOPE"] {
            assert!(text.parse::<Signal>().is_err(), "{text:?}");
        }
        assert_eq!([shown(9), shown(34), shown(0), shown(-5)], ["KILL", "34", "0", "-5"]);
        assert_eq!("WINCH".parse(), Ok(Signal(libc::SIGWINCH)));
    }
}
