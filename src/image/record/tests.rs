//! Records written and read again, and what is refused.

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

fn time() -> impl Strategy<Value = Time> {
    let seconds = prop_oneof![any::<i64>(), -3..3_i64, 1_600_000_000..1_900_000_000_i64];
    (seconds, 0..1_000_000_000_u32).prop_map(|(seconds, nanoseconds)| Time { seconds, nanoseconds })
}

fn known() -> impl Strategy<Value = Known> {
    let id = || prop_oneof![any::<u32>(), Just(0), Just(u32::MAX)];
    let numbers = (any::<u64>(), any::<u64>(), prop_oneof![Just(0), any::<u64>()]);
    let content = proptest::option::of(any::<Content>());
    let kind = 0..KINDS.len();
    (kind, 0..0o10000_u32, id(), id(), time(), time(), numbers, content).prop_map(
        |(kind, mode, uid, gid, modified, changed, (inode, size, xattrs), content)| Known {
            path: Vec::new(),
            what: KINDS[kind],
            mode,
            uid,
            gid,
            modified,
            changed,
            inode,
            size,
            xattrs,
            content,
        },
    )
}

/// Lines as a walk makes them.
fn lines() -> impl Strategy<Value = Vec<Known>> {
    let name = "[a-c./-]{1,5}|\u{e4}".prop_map(|name| name.replace(['/', '.'], "-"));
    let path = proptest::collection::vec(name, 1..4).prop_map(|parts| parts.join("/"));
    proptest::collection::btree_map(path, known(), 0..40).prop_map(|map| {
        let mut all: std::collections::BTreeMap<Vec<Vec<u8>>, Known> = Default::default();
        let directory = |known: &Known| Known { what: What::Directory, ..known.clone() };
        for (path, known) in map {
            let parts: Vec<Vec<u8>> = path.split('/').map(|part| part.into()).collect();
            for length in 0..parts.len() {
                let above = parts[..length].to_vec();
                let known = directory(&known);
                all.entry(above).and_modify(|known| *known = directory(known)).or_insert(known);
            }
            all.entry(parts).or_insert(known);
        }
        let with_path =
            |(parts, known): (Vec<Vec<u8>>, Known)| Known { path: parts.join(&b'/'), ..known };
        all.into_iter().map(with_path).collect()
    })
}

fn record(taken: Time, lines: &[Known]) -> TreeRecord {
    let mut recorder = Recorder::new(taken);
    lines.iter().for_each(|line| recorder.push(line));
    recorder.finish().unwrap()
}

/// The bytes of a record with a checksum that is right.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len().saturating_sub(SUM_BYTES));
    let sum = Sha256::digest(&bytes);
    [&bytes[..], &sum[..]].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_again(taken in time(), lines in lines()) {
        prop_assume!(!lines.is_empty());
        let record = record(taken, &lines);
        let again = TreeRecord::from_bytes(&record.to_bytes()).unwrap();
        prop_assert_eq!(&again, &record);
        let mut cursor = again.cursor();
        for line in &lines {
            prop_assert_eq!(cursor.peek(), Some(line));
            let taken = cursor.take();
            prop_assert_eq!(taken.as_ref(), Some(line));
        }
        prop_assert_eq!(cursor.take(), None);
    }

    /// Whatever stands in a file, reading it ends well, and what is taken is in order.
    #[test]
    fn damage_does_no_harm(
        lines in lines(),
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        prop_assume!(!lines.is_empty());
        let mut bytes = record(Time::default(), &lines).to_bytes();
        for (at, byte) in changes {
            let length = bytes.len() - SUM_BYTES;
            bytes[at % length] ^= byte;
        }
        if bytes != record(Time::default(), &lines).to_bytes() {
            prop_assert!(TreeRecord::from_bytes(&bytes).is_err());
        }
        if let Ok(record) = TreeRecord::from_bytes(&sealed(bytes)) {
            let mut cursor = record.cursor();
            let mut paths: Vec<Vec<Vec<u8>>> = Vec::new();
            while let Some(known) = cursor.take() {
                paths.push(known.path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect());
            }
            prop_assert!(paths.is_sorted());
            prop_assert_eq!(paths.len() as u64, record.entries());
        }
    }
}

fn at(path: &str, what: What) -> Known {
    let (mode, uid, gid, inode, size, xattrs, content) = (0o644, 0, 0, 0, 0, 0, None);
    let (modified, changed) = (Time::default(), Time::default());
    let path = path.into();
    Known { path, what, mode, uid, gid, modified, changed, inode, size, xattrs, content }
}

#[test]
fn lines_that_cannot_be_true_are_refused() {
    use What::{Directory, File};
    let cases: [(&[(&str, What)], &str); 13] = [
        (&[], "damaged"),
        (&[("a", File)], "begin with the tree"),
        (&[("", File)], "begin with the tree"),
        (&[("", Directory), ("", Directory)], "out of order"),
        (&[("", Directory), ("b", File), ("a", File)], "out of order"),
        (&[("", Directory), ("a", File), ("a", File)], "out of order"),
        (&[("", Directory), ("a", File), ("a/b", File)], "no directory"),
        (&[("", Directory), ("a/b", File)], "no directory"),
        (&[("", Directory), ("a", Directory), ("b/c", File)], "no directory"),
        (&[("", Directory), ("a", Directory), ("ab/c", File)], "no directory"),
        (&[("", Directory), ("..", Directory)], "no file has"),
        (&[("", Directory), ("/a", File)], "no file has"),
        (&[("", Directory), ("a\0", File)], "no file has"),
    ];
    for (lines, words) in cases {
        let lines: Vec<Known> = lines.iter().map(|(path, what)| at(path, *what)).collect();
        let bytes = record(Time::default(), &lines).to_bytes();
        let error = TreeRecord::from_bytes(&bytes).unwrap_err().to_string();
        assert!(error.contains(words), "{lines:?}: {error}");
    }
    // A slash is less than what else may follow a name.
    let sorted = [("", Directory), ("a", Directory), ("a/b", File), ("a-", File), ("a.b", File)];
    let sorted = sorted.map(|(path, what)| at(path, what));
    assert!(TreeRecord::from_bytes(&record(Time::default(), &sorted).to_bytes()).is_ok());
}

#[test]
fn files_that_are_no_records_are_refused() {
    let good = record(Time::default(), &[at("", What::Directory)]).to_bytes();
    assert!(TreeRecord::from_bytes(&good).is_ok());
    let mut newer = good.clone();
    newer[7] += 1;
    assert_eq!(TreeRecord::from_bytes(&newer), Err(RecordError::Foreign));
    assert_eq!(TreeRecord::from_bytes(b""), Err(RecordError::Foreign));
    for length in 8..good.len() {
        assert_eq!(TreeRecord::from_bytes(&good[..length]), Err(RecordError::Damaged), "{length}");
        let short = sealed(good[..length].to_vec());
        assert!(TreeRecord::from_bytes(&short).is_err(), "{length}");
    }
}

#[test]
fn a_tree_with_too_many_names_has_no_record() {
    let mut recorder = Recorder::new(Time::default());
    let mut line = at("", What::Directory);
    for number in 0..6_000_000_u32 {
        recorder.push(&line);
        line.path = number.to_be_bytes().map(|byte| byte | 0x80).to_vec();
    }
    assert!(recorder.finish().is_none());
}
