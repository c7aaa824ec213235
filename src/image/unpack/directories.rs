//! What directories will be when all that is in them was made.

use std::collections::BTreeMap;

use super::give::Gift;
use crate::core::limits::IMAGE_DIRECTORIES_BYTES_MAX;

/// Directories, by their paths without links, and what they will get. That of the root is empty.
pub(super) struct Directories {
    all: BTreeMap<Vec<u8>, Gift>,
    /// How much all of them hold.
    bytes: usize,
}

impl Directories {
    /// Those of a tree in which nothing was made.
    pub(super) fn new() -> Self {
        let mut new = Self { all: BTreeMap::new(), bytes: 0 };
        new.set(Vec::new(), Gift::implied());
        new
    }

    /// A directory was made, or was changed.
    pub(super) fn set(&mut self, path: Vec<u8>, gift: Gift) {
        self.bytes += weight(&path, &gift);
        let length = path.len();
        if let Some(before) = self.all.insert(path, gift) {
            self.bytes -= length + weight(&[], &before);
        }
    }

    /// A directory was removed, with all beneath it.
    pub(super) fn forget(&mut self, path: &[u8]) {
        // What follows a slash.
        let beneath = [path, b"/"].concat()..[path, b"0"].concat();
        let mut gone: Vec<Vec<u8>> =
            self.all.range(beneath).map(|(path, _)| path.clone()).collect();
        gone.push(path.to_vec());
        for path in gone {
            if let Some(gift) = self.all.remove(&path) {
                self.bytes -= weight(&path, &gift);
            }
        }
    }

    /// Whether no more should be remembered.
    pub(super) fn are_too_many(&self) -> bool {
        self.bytes > IMAGE_DIRECTORIES_BYTES_MAX
    }

    /// Takes all of them, those within others first.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (Vec<u8>, Gift)> + use<> {
        self.bytes = 0;
        std::mem::take(&mut self.all).into_iter().rev()
    }
}

fn weight(path: &[u8], gift: &Gift) -> usize {
    size_of::<(Vec<u8>, Gift)>() + path.len() + gift.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_and_what_comes_first() {
        let mut directories = Directories::new();
        for path in ["a", "a/b", "a/b/c", "a.b", "a0", "b", "a"] {
            directories.set(path.into(), Gift::implied());
        }
        directories.forget(b"a/b");
        directories.forget(b"none");
        let taken: Vec<Vec<u8>> = directories.take().map(|(path, _)| path).collect();
        assert_eq!(taken, [&b"b"[..], b"a0", b"a.b", b"a", b""]);
        assert_eq!(directories.bytes, 0);
        directories.set(b"a".into(), Gift::implied());
        directories.forget(b"a");
        assert_eq!(directories.bytes, 0);
    }
}
