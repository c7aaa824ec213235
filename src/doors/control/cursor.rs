//! Where a watcher of changes is, as text that it keeps for us: which agent, which change it was
//! told last, and how far the first telling of everything has come.

/// A place in what a watcher is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The number of the last change that needs no telling any more.
    pub(super) change: u64,
    /// While everything is told for the first time, as it was at that change: the number of the
    /// exec that was told last.
    pub(super) told: Option<u64>,
}

impl Cursor {
    /// After this change.
    pub(super) fn after(change: u64) -> Self {
        Self { change, told: None }
    }

    /// Before everything, as it is after this change.
    pub(super) fn before_all(change: u64) -> Self {
        Self { change, told: Some(0) }
    }

    /// As text for clients of this agent.
    pub(super) fn text(self, instance: &str) -> String {
        let Self { change, told } = self;
        match told {
            None => format!("{instance}.{change}"),
            Some(told) => format!("{instance}.{change}.{told}"),
        }
    }

    /// Takes what [`Cursor::text`] made; none if it is another agent's, or nobody's.
    pub(super) fn parse(text: &str, instance: &str) -> Option<Self> {
        let rest = text.strip_prefix(instance)?.strip_prefix('.')?;
        let (change, told) = match rest.split_once('.') {
            None => (rest, None),
            Some((change, told)) => (change, Some(told.parse().ok()?)),
        };
        Some(Self { change: change.parse().ok()?, told })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_being_text_and_no_other_text_is_one() {
        for cursor in [Cursor::after(0), Cursor::after(u64::MAX), Cursor::before_all(7)] {
            assert_eq!(Cursor::parse(&cursor.text("ab"), "ab"), Some(cursor));
            assert_eq!(Cursor::parse(&cursor.text("ab"), "a"), None);
            assert_eq!(Cursor::parse(&cursor.text("ab"), "abc"), None);
        }
        for bad in
            ["", "ab", "ab.", "ab.x", "ab.-1", "ab.1.", "ab.1.2.3", "ab.18446744073709551616"]
        {
            assert_eq!(Cursor::parse(bad, "ab"), None, "{bad:?}");
        }
    }
}
