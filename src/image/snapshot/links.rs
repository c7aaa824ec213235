//! Files with several names.
//!
//! In a layer the first name that is packed is the file, and every other one a link to it. A link cannot
//! lead to what a lower layer has: when one name of a file is packed, all are, also those that the walk has
//! passed as unchanged.

use std::collections::HashMap;

use super::look::Facts;
use crate::core::limits::SNAPSHOT_LINKS_MAX;

/// What is known of files with several names, by device and inode.
#[derive(Default)]
pub(super) struct Links(HashMap<((u32, u32), u64), Names>);

enum Names {
    /// It is in the layer under this path.
    Packed(Vec<u8>),
    /// It is as the base has it, under these paths.
    Unchanged(Vec<Vec<u8>>),
}

impl Links {
    /// Under which path a file is in the layer already.
    pub(super) fn packed(&self, facts: &Facts) -> Option<Vec<u8>> {
        match self.0.get(&(facts.device, facts.inode)) {
            Some(Names::Packed(path)) => Some(path.clone()),
            Some(Names::Unchanged(_)) | None => None,
        }
    }

    /// A file was packed under this path. Returns the paths that have to become links to it.
    pub(super) fn pack(&mut self, facts: &Facts, path: &[u8]) -> Vec<Vec<u8>> {
        if !self.has_room(facts) {
            return Vec::new();
        }
        match self.0.insert((facts.device, facts.inode), Names::Packed(path.to_vec())) {
            Some(Names::Unchanged(paths)) => paths,
            Some(Names::Packed(_)) | None => Vec::new(),
        }
    }

    /// A file is as the base has it under this path, and so far under all others.
    pub(super) fn unchanged(&mut self, facts: &Facts, path: &[u8]) {
        if !self.has_room(facts) {
            return;
        }
        let names = self.0.entry((facts.device, facts.inode));
        match names.or_insert_with(|| Names::Unchanged(Vec::new())) {
            Names::Unchanged(paths) => paths.push(path.to_vec()),
            Names::Packed(_) => {}
        }
    }

    /// Whether this file has several names, and they are kept in mind.
    fn has_room(&self, facts: &Facts) -> bool {
        let key = (facts.device, facts.inode);
        facts.links > 1 && (self.0.len() < SNAPSHOT_LINKS_MAX || self.0.contains_key(&key))
    }
}
