//! The simplest model of a tree and of a layer that is applied to it.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};

/// What is at a path, and what else is the same file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) what: String,
    /// A file's data or a link's target.
    pub(super) data: Vec<u8>,
    /// The first path of the same file.
    pub(super) first: Vec<u8>,
}

pub(super) type Model = BTreeMap<Vec<u8>, Node>;

/// A tree on disk.
pub(super) fn tree(top: &Path) -> Model {
    let (mut found, mut ahead) = (Model::new(), vec![top.to_path_buf()]);
    let mut inodes: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    while let Some(path) = ahead.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let mut data = Vec::new();
        if kind.is_file() {
            data = fs::read(&path).unwrap();
        } else if kind.is_symlink() {
            data = fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
        } else if kind.is_dir() {
            ahead.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let what = what(meta.mode(), meta.uid().into(), meta.gid().into(), meta.mtime());
        let path = path.strip_prefix(top).unwrap().as_os_str().as_bytes().to_vec();
        if !kind.is_dir() {
            inodes.entry(meta.ino()).or_default().push(path.clone());
        }
        found.insert(path.clone(), Node { what, data, first: path });
    }
    for mut names in inodes.into_values() {
        names.sort();
        for name in &names {
            found.get_mut(name).unwrap().first = names[0].clone();
        }
    }
    found
}

fn what(mode: u32, uid: u64, gid: u64, modified: i64) -> String {
    format!("{mode:o} of {uid}:{gid} at {modified}")
}

/// A member of a layer: its path, its header, and its data or target.
pub(super) struct Member {
    pub(super) kind: tar::EntryType,
    pub(super) node: Node,
}

/// All members of a layer, in order, as the tar crate reads them.
pub(super) fn members(layer: &[u8]) -> Vec<(Vec<u8>, Member)> {
    let mut archive = tar::Archive::new(layer);
    let members = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        let kind = header.entry_type();
        let bits = match kind {
            tar::EntryType::Directory => 0o040000,
            tar::EntryType::Symlink => 0o120000,
            tar::EntryType::Fifo => 0o010000,
            _ => 0o100000,
        };
        let mut data = Vec::new();
        match entry.link_name_bytes() {
            Some(target) => data = target.to_vec(),
            None => drop(entry.read_to_end(&mut data).unwrap()),
        }
        let seconds = i64::try_from(header.mtime().unwrap()).unwrap();
        let owner = (header.uid().unwrap(), header.gid().unwrap());
        let what = what(bits | header.mode().unwrap(), owner.0, owner.1, seconds);
        let path = entry.path_bytes().into_owned();
        let first = path.clone();
        (path, Member { kind, node: Node { what, data, first } })
    });
    members.collect()
}

/// Applies a layer as those who unpack images do.
pub(super) fn apply(layer: &[u8], to: &mut Model) {
    let mut in_layer: Vec<Vec<u8>> = Vec::new();
    for (path, Member { kind, mut node }) in members(layer) {
        let path = path.strip_suffix(b"/").unwrap_or(&path).to_vec();
        let path = if path == b"." { Vec::new() } else { path };
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (directory, name) = match slash {
            Some(at) => (path[..at].to_vec(), &path[at + 1..]),
            None => (Vec::new(), &path[..]),
        };
        assert!(path.is_empty() || in_layer.contains(&directory), "no directory for {path:?}");
        if name == b".wh..wh..opq" {
            remove(&directory, to);
            continue;
        }
        if let Some(gone) = name.strip_prefix(b".wh.") {
            let gone = match slash {
                Some(_) => [&directory[..], b"/", gone].concat(),
                None => gone.to_vec(),
            };
            assert!(to.remove(&gone).is_some(), "{gone:?} was not there");
            remove(&gone, to);
            continue;
        }
        if kind == tar::EntryType::Link {
            assert!(in_layer.contains(&node.data), "a link to what is not in the layer");
            node = to[&node.data].clone();
        } else {
            node.first = path.clone();
        }
        if kind != tar::EntryType::Directory {
            remove(&path, to);
        }
        in_layer.push(path.clone());
        to.insert(path, node);
    }
    // Links may name one that comes later in order.
    let mut groups: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for (path, node) in to.iter() {
        groups.entry(node.first.clone()).or_default().push(path.clone());
    }
    for names in groups.into_values() {
        for name in &names {
            to.get_mut(name).unwrap().first = names[0].clone();
        }
    }
}

/// Removes all that is beneath a path.
fn remove(path: &[u8], from: &mut Model) {
    from.retain(|other, _| !crate::image::record::is_beneath(other, path));
}
