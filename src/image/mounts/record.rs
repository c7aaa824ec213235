//! What is written down of one mount, before anything of it is done.
//!
//! A record is a file to which a line is added for each step; the last whole line counts. One that was cut
//! short (by a loss of power, or a full disk) was of a step that was not begun, or needs no record. It is read as
//! input: one that is not exactly as we write them is left alone.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use serde::{Deserialize, Serialize};

use super::point::point;
use crate::core::{
    limits::{MOUNT_KEY_BYTES_MAX, MOUNT_RECORD_BYTES_MAX},
    mounts::{Journal, Way},
};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The directory of what is private to it; its name is the mount's id.
    pub(super) home: PathBuf,
    /// The path as it was asked for …
    pub(super) asked: PathBuf,
    /// … and where that led.
    pub(super) path: PathBuf,
    /// What names the image; empty for an empty directory.
    pub(super) image: String,
    pub(super) journal: Journal,
    /// Directories that are made for it, outermost first; the path is the last of them.
    pub(super) made: Vec<PathBuf>,
    pub(super) side: Side,
    /// The inode at the path, where only it says that the directory is the same one.
    pub(super) inode: u64,
    /// The tree beneath an overlay.
    pub(super) lower: Option<PathBuf>,
    /// Where it was mounted; what is mounted nowhere else is mounted anew there.
    pub(super) namespace: String,
    /// Mounts with higher numbers were made later.
    pub(super) order: u64,
}

/// Where things lie that are moved to and from the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Beside the path.
    Sibling,
    /// In the mount's directory: the path has no place beside it that we could use.
    Home,
}

impl Record {
    /// The mount's id.
    pub(super) fn id(&self) -> String {
        self.home.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Where the image's tree is made.
    pub(super) fn tree(&self) -> PathBuf {
        match self.journal.way() {
            Way::Overlay | Way::Bind => self.home.join("tree"),
            Way::Swap | Way::Entries => self.beside("tree"),
        }
    }

    /// Where whoever made the tree has written down what it was like.
    pub(super) fn tree_record(&self) -> PathBuf {
        match &self.lower {
            Some(lower) => record_beside(lower),
            None => record_beside(&self.home.join("tree")),
        }
    }

    /// Where that goes which was at the path.
    pub(super) fn aside(&self) -> PathBuf {
        self.beside("aside")
    }

    fn beside(&self, what: &str) -> PathBuf {
        match (self.side, self.path.parent()) {
            (Side::Sibling, Some(parent)) => parent.join(format!(".doorward-{what}-{}", self.id())),
            (Side::Sibling, None) | (Side::Home, _) => self.home.join(what),
        }
    }

    /// Writes it down; when this returns, a loss of power does not take it away.
    pub(super) fn save(&self) -> io::Result<()> {
        point();
        let path = self.home.join("record");
        // What was cut short before is ended first.
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, &Written::from(self))?;
        line.push(b'\n');
        match OpenOptions::new().append(true).open(&path) {
            Ok(file) if file.metadata()?.len() < RECORD_ROOM => write(file, &line)?,
            Ok(_) => {
                let next = self.home.join("record.next");
                write(fs::File::create(&next)?, &line)?;
                fs::rename(&next, &path)?;
                fs::File::open(&self.home)?.sync_all()?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write(fs::File::create_new(&path)?, &line)?;
                for directory in self.home.ancestors().take(2) {
                    fs::File::open(directory)?.sync_all()?;
                }
            }
            Err(error) => return Err(error),
        }
        point();
        Ok(())
    }

    /// Reads the record in a directory; not found is also one of which no line is whole.
    pub(super) fn load(home: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        let file = fs::File::open(home.join("record"))?;
        file.take(MOUNT_RECORD_BYTES_MAX).read_to_end(&mut bytes)?;
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "it is no record of a mount");
        let lines = bytes.rsplit(|byte| *byte == b'\n').map(serde_json::from_slice::<Written>);
        let is_whole = |line: &serde_json::Result<_>| !line.as_ref().is_err_and(|bad| bad.is_eof());
        let last = lines.into_iter().find(is_whole).ok_or(io::ErrorKind::NotFound)??;
        last.read(home).ok_or_else(bad)
    }
}

fn write(mut file: fs::File, line: &[u8]) -> io::Result<()> {
    point();
    file.write_all(line)?;
    file.sync_data()
}

/// A file of this many bytes is begun anew; a line has at most a tenth of what is read.
const RECORD_ROOM: u64 = MOUNT_RECORD_BYTES_MAX / 2;

/// Where the record of a tree lies, unless it lies somewhere else: beside it, under its name and `.record`.
pub fn record_beside(tree: &Path) -> PathBuf {
    let mut name = tree.as_os_str().to_owned();
    name.push(".record");
    name.into()
}

/// Whether an image's name can be one: a single line of sensible length.
pub(super) fn is_key(key: &str) -> bool {
    key.len() <= MOUNT_KEY_BYTES_MAX && key.bytes().all(|byte| byte.is_ascii_graphic())
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    asked: String,
    path: String,
    image: String,
    way: String,
    state: String,
    step: usize,
    made: usize,
    beside: bool,
    inode: u64,
    lower: Option<String>,
    namespace: String,
    order: u64,
}

impl From<&Record> for Written {
    fn from(record: &Record) -> Self {
        let (state, step) = record.journal.state();
        Self {
            version: VERSION,
            asked: to_text(&record.asked),
            path: to_text(&record.path),
            image: record.image.clone(),
            way: record.journal.way().name().into(),
            state: state.into(),
            step,
            made: record.made.len(),
            beside: record.side == Side::Sibling,
            inode: record.inode,
            lower: record.lower.as_deref().map(to_text),
            namespace: record.namespace.clone(),
            order: record.order,
        }
    }
}

const VERSION: u32 = 1;

impl Written {
    fn read(self, home: &Path) -> Option<Record> {
        let journal = Journal::read(Way::named(&self.way)?, &self.state, self.step)?;
        let path = from_text(&self.path);
        let mut made: Vec<PathBuf> =
            path.ancestors().take(self.made).map(Path::to_path_buf).collect();
        made.reverse();
        let lower = self.lower.as_deref().map(from_text);
        let plain = path.is_absolute()
            && path.parent().is_some()
            && made.len() == self.made
            && made.iter().all(|made| made.parent().is_some())
            && lower.is_some() == (journal.way() == Way::Overlay);
        (self.version == VERSION && plain && is_key(&self.image)).then(|| Record {
            home: home.into(),
            asked: from_text(&self.asked),
            path,
            image: self.image,
            journal,
            made,
            side: if self.beside { Side::Sibling } else { Side::Home },
            inode: self.inode,
            lower,
            namespace: self.namespace,
            order: self.order,
        })
    }
}

/// Paths are bytes, JSON is text: what is no plain ASCII is escaped, as in a URL.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

fn to_text(path: &Path) -> String {
    percent_encode(path.as_os_str().as_bytes(), ESCAPED).to_string()
}

fn from_text(text: &str) -> PathBuf {
    OsString::from_vec(percent_decode_str(text).collect()).into()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    pub(crate) fn record(home: &Path) -> Record {
        Record {
            home: home.into(),
            asked: OsStr::from_bytes(b"/a b/\xff%\n").into(),
            path: "/x/y".into(),
            image: "im-1".into(),
            journal: Journal::read(Way::Swap, "doing", 3).unwrap(),
            made: vec!["/x".into(), "/x/y".into()],
            side: Side::Sibling,
            inode: 7,
            lower: None,
            namespace: "boot mnt".into(),
            order: 3,
        }
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let record = record(home.path());
        record.save().unwrap();
        assert_eq!(Record::load(home.path()).unwrap(), record);
        assert_eq!(
            record.aside(),
            Path::new("/x").join(format!(".doorward-aside-{}", record.id()))
        );
        let text = fs::read_to_string(home.path().join("record")).unwrap();
        // A line that was cut short is none, and a later one counts, also after that one.
        let later = Record { order: 4, ..record.clone() };
        let cut = [0, 1, 2, 30, text.len() - 2];
        for after in cut.map(|length| &text[..length]) {
            fs::write(home.path().join("record"), format!("{text}{after}")).unwrap();
            assert_eq!(Record::load(home.path()).unwrap(), record, "{after}");
            later.save().unwrap();
            assert_eq!(Record::load(home.path()).unwrap(), later, "{after}");
            // The first line.
            fs::write(home.path().join("record"), after).unwrap();
            let none = Record::load(home.path()).unwrap_err();
            assert_eq!(none.kind(), io::ErrorKind::NotFound, "{after}");
        }
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("\"swap\"", "\"swop\""),
            ("\"step\":3", "\"step\":4"),
            ("\"/x/y\",\"image\"", "\"x/y\",\"image\""),
            ("\"/x/y\",\"image\"", "\"/\",\"image\""),
            ("\"made\":2", "\"made\":3"),
            ("\"made\":2", "\"made\":9"),
            ("\"swap\"", "\"overlay\""),
            ("im-1", "im 1"),
            ("{", "{\"more\":1,"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            fs::write(home.path().join("record"), changed).unwrap();
            assert!(Record::load(home.path()).is_err(), "{from} {to}");
        }
    }

    #[test]
    fn a_record_does_not_grow_for_ever() {
        let home = tempfile::tempdir().unwrap();
        let long: PathBuf = ["/"; 1].into_iter().chain([&*"\u{1}/".repeat(2047)]).collect();
        let mut record =
            Record { asked: long.clone(), lower: None, made: Vec::new(), ..record(home.path()) };
        record.path = long;
        record.made = record.path.ancestors().take(2047).map(Path::to_path_buf).collect();
        record.made.reverse();
        for order in 0..100 {
            record.order = order;
            record.save().unwrap();
            assert_eq!(Record::load(home.path()).unwrap(), record);
        }
        let size = fs::metadata(home.path().join("record")).unwrap().len();
        assert!(size <= MOUNT_RECORD_BYTES_MAX, "{size}");
    }
}
