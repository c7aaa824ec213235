//! Processes that work in a directory when it is hidden or shown: they keep what they had.

use std::{fmt, fs, path::Path};

use crate::{core::limits::MOUNT_NAMED_MAX, os::proc::Proc};

/// Processes whose working directory is at a path or beneath it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Inside {
    /// Some of them, by pid and the name of their program.
    pub named: Vec<(i32, String)>,
    /// How many more there are.
    pub more: usize,
}

impl Inside {
    /// Looks at all processes. Those that we may not look at are not among them.
    pub(super) fn find(path: &Path) -> Self {
        let mut inside = Self::default();
        let Ok(proc) = Proc::open() else { return inside };
        // What cannot be listed to its end is listed as far as it goes: it is only a warning.
        let _ = proc.each(|pid| {
            let number = pid.as_raw_pid();
            let works_in = fs::read_link(format!("/proc/{number}/cwd"));
            if works_in.is_ok_and(|directory| directory.starts_with(path)) {
                if inside.named.len() < MOUNT_NAMED_MAX {
                    inside.named.push((number, proc.name(pid).unwrap_or_default()));
                } else {
                    inside.more += 1;
                }
            }
        });
        inside
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (pid, name)) in self.named.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name:?} ({pid})")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
