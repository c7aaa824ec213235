//! Signals by their numbers, as signal(7) has them.

use rustix::process::Signal;

/// The signal of this number, 1-64.
pub fn by_number(number: i32) -> Option<Signal> {
    if !(1..=64).contains(&number) {
        return None;
    }
    let named = Signal::from_named_raw(number);
    // SAFETY: 1-64 are the numbers that Linux has. The first of the realtime signals are the C
    // library's own, which it handles in this process; we send signals to other processes only,
    // where they mean what that program makes of them, as with kill(1).
    Some(named.unwrap_or_else(|| unsafe { Signal::from_raw_unchecked(number) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(by_number(9), Some(Signal::KILL));
        for number in 1..=64 {
            assert_eq!(by_number(number).map(Signal::as_raw), Some(number));
        }
        for number in [i32::MIN, -1, 0, 65, i32::MAX] {
            assert_eq!(by_number(number), None);
        }
    }
}
