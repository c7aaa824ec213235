//! What both sides of a copy tell while it runs, said as every command says it.

use crate::{
    archive::{Tally, Watch},
    cli::progress::{Entries, Progress},
};

/// What a copy's entries are called.
pub(super) const FILES: Entries = Entries { one: "file", many: "files" };

/// Says what could not be done in the container.
pub(super) fn failed_there(progress: &Progress, what: &str) {
    progress.say(&format!("failed in the container to {what}"));
}

impl Watch for Progress {
    fn problem(&mut self, text: String) {
        self.say(&format!("failed to {text}"));
    }

    fn notice(&mut self, text: String) {
        Self::notice(self, &text);
    }

    fn copied(&mut self, tally: &Tally) {
        self.done(tally.bytes, tally.entries);
    }
}
