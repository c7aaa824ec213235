//! A walk beside the record of what was there before: what is gone, and what is still the same.

use std::cmp::Ordering;

use super::known;
use crate::{
    archive::entry::Time,
    image::record::{Cursor, Known, Recorder, TreeRecord, is_beneath},
};

/// The base of a snapshot, read beside the walk.
pub(super) struct Base<'a> {
    cursor: Cursor<'a>,
    taken: Time,
}

impl<'a> Base<'a> {
    pub(super) fn new(record: &'a TreeRecord) -> Self {
        Self { cursor: record.cursor(), taken: record.taken() }
    }

    /// What is known of the directory itself.
    pub(super) fn root(&mut self) -> Option<Known> {
        self.cursor.take()
    }

    /// What is known of the name `path` in `directory`. Paths of this directory that come before it and are not
    /// there any more go to `gone`.
    pub(super) fn find(
        &mut self,
        directory: &[u8],
        path: &[u8],
        gone: &mut Vec<Vec<u8>>,
    ) -> Option<Known> {
        loop {
            let next = self.cursor.peek().filter(|next| is_beneath(&next.path, directory))?;
            // Both are names in the directory, for the walk has passed over what is deeper.
            match next.path.as_slice().cmp(path) {
                Ordering::Greater => return None,
                Ordering::Equal => return self.cursor.take(),
                Ordering::Less => self.pass(gone),
            }
        }
    }

    /// Passes over what is left of a directory: it is gone.
    pub(super) fn rest(&mut self, directory: &[u8], gone: &mut Vec<Vec<u8>>) {
        while self.cursor.peek().is_some_and(|next| is_beneath(&next.path, directory)) {
            self.pass(gone);
        }
    }

    /// Passes over all that is known beneath a path.
    pub(super) fn skip_beneath(&mut self, path: &[u8]) {
        self.cursor.skip_beneath(path);
    }

    /// Takes what is known beneath a path over into another record.
    pub(super) fn carry(&mut self, path: &[u8], to: &mut Recorder) {
        while self.cursor.peek().is_some_and(|next| is_beneath(&next.path, path)) {
            if let Some(known) = self.cursor.take() {
                to.push(&known);
            }
        }
    }

    /// Whether what is known is still so, by its times alone.
    pub(super) fn is_settled(&self, known: &Known) -> bool {
        known::is_settled(known, self.taken)
    }

    fn pass(&mut self, gone: &mut Vec<Vec<u8>>) {
        if let Some(known) = self.cursor.take() {
            self.cursor.skip_beneath(&known.path);
            gone.push(known.path);
        }
    }
}
