//! What a process, or several, used up. What nobody counts is absent, never 0.

use std::time::Duration;

/// What was used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The most memory that one process held at once, in bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Memory held at the moment of the look, in bytes.
    pub memory_bytes: Option<u64>,
    /// Processor time in programs' own code.
    pub user_time: Option<Duration>,
    /// Processor time in the kernel.
    pub system_time: Option<Duration>,
    /// Bytes read from storage.
    pub read_bytes: Option<u64>,
    /// Bytes written to storage.
    pub written_bytes: Option<u64>,
    /// Page faults that waited for storage.
    pub major_faults: Option<u64>,
}

impl Usage {
    /// Counts another process's use with this one's: sums, and the larger of two peaks.
    pub fn add(&mut self, other: &Self) {
        let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (one, None) | (None, one) => one,
        };
        let time = |a: Option<Duration>, b: Option<Duration>| match (a, b) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (one, None) | (None, one) => one,
        };
        self.memory_peak_bytes = self.memory_peak_bytes.max(other.memory_peak_bytes);
        self.memory_bytes = sum(self.memory_bytes, other.memory_bytes);
        self.user_time = time(self.user_time, other.user_time);
        self.system_time = time(self.system_time, other.system_time);
        self.read_bytes = sum(self.read_bytes, other.read_bytes);
        self.written_bytes = sum(self.written_bytes, other.written_bytes);
        self.major_faults = sum(self.major_faults, other.major_faults);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_peaks_and_what_is_not_known() {
        let mut sum = Usage::default();
        sum.add(&Usage::default());
        assert_eq!(sum, Usage::default(), "nothing known is nothing, not 0");
        let one = Usage {
            memory_peak_bytes: Some(7),
            memory_bytes: Some(5),
            user_time: Some(Duration::from_secs(1)),
            ..Usage::default()
        };
        sum.add(&one);
        sum.add(&Usage { memory_peak_bytes: Some(6), read_bytes: Some(0), ..one });
        let expected = Usage {
            memory_peak_bytes: Some(7),
            memory_bytes: Some(10),
            user_time: Some(Duration::from_secs(2)),
            read_bytes: Some(0),
            ..Usage::default()
        };
        assert_eq!(sum, expected);
    }
}
