//! A watch on real directories, in a thread of its own.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::files::request::Request;

/// A watch that runs, on the directory `seen` of a fresh one.
struct Running {
    top: TempDir,
    input: Option<OwnedFd>,
    events: BufReader<File>,
    thread: JoinHandle<Result<(), Failure>>,
}

fn request(path: &Path, rest: &str) -> WatchRequest {
    let argument = format!(r#"{{"Watch":{{"path":{path:?}{rest}}}}}"#);
    match Request::parse(argument.as_bytes()).unwrap() {
        Request::Watch(request) => request,
        other => panic!("{other:?}"),
    }
}

impl Running {
    /// Watches `path`, beneath `seen`, once the directories and files of `made` are there.
    fn start(made: &[&str], path: &str, rest: &str) -> Self {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("seen")).unwrap();
        for path in made {
            make(&top.path().join(path));
        }
        // An event that does not come ends the test, not the patience of who runs it.
        let patience = if rest.contains("timeout_secs") { "" } else { r#","timeout_secs":20"# };
        let rest = format!("{rest}{patience}");
        let request = request(&top.path().join("seen").join(path), &rest);
        let (theirs, input) = rustix::pipe::pipe().unwrap();
        let (events, ours) = rustix::pipe::pipe().unwrap();
        let (begun, begins) = mpsc::channel();
        let thread = thread::spawn(move || {
            // The kernel keeps what happens from here on.
            let filter = Filter::new(request.filter.as_deref());
            let started = start(&request, filter)?;
            begun.send(()).unwrap();
            run(started, request.lasts(), theirs.as_fd(), &mut File::from(ours))
        });
        let _ = begins.recv();
        let events = BufReader::new(File::from(events));
        Self { top, input: Some(input), events, thread }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.top.path().join(path)
    }

    /// The next event: its type, and its paths without what all have in common.
    fn next(&mut self) -> (String, Vec<String>) {
        let mut line = String::new();
        self.events.read_line(&mut line).unwrap();
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"));
        let top = format!("{}/", self.top.path().canonicalize().unwrap().display());
        let paths = event["paths"].as_array().unwrap().iter();
        let paths = paths.map(|path| path.as_str().unwrap().strip_prefix(&top).unwrap().into());
        (event["event_type"].as_str().unwrap().into(), paths.collect())
    }

    fn expect(&mut self, kind: &str, paths: &[&str]) {
        assert_eq!(self.next(), (kind.into(), paths.iter().map(|path| (*path).into()).collect()));
    }

    /// Ends the input and returns what else there was.
    fn end(mut self) -> Vec<Value> {
        drop(self.input.take());
        let lines = self.events.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        let rest = lines.collect();
        self.thread.join().unwrap().unwrap();
        rest
    }
}

/// Makes a directory if the path ends in a slash, else a file.
fn make(path: &Path) {
    match path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        true => fs::create_dir_all(path).unwrap(),
        false => fs::write(path, "data").unwrap(),
    }
}

const QUIET: &str = r#","filter":["Create","Remove","Rename","RenameFrom","RenameTo"]"#;
const QUIET_ALL: &str =
    r#","recursive":true,"filter":["Create","Remove","Rename","RenameFrom","RenameTo"]"#;

#[test]
fn what_happens_in_a_directory_is_told_with_its_kind() {
    let mut watch = Running::start(&["seen/old", "seen/sub/", "outside"], "", "");
    make(&watch.at("seen/sub/deep"));
    let file = fs::File::create(watch.at("seen/new")).unwrap();
    watch.expect("Create", &["seen/new"]);
    watch.expect("Access", &["seen/new"]);
    (&file).write_all(b"x").unwrap();
    watch.expect("Modify", &["seen/new"]);
    drop(file);
    watch.expect("Access", &["seen/new"]);
    fs::rename(watch.at("seen/new"), watch.at("seen/old")).unwrap();
    watch.expect("Rename", &["seen/new", "seen/old"]);
    fs::rename(watch.at("outside"), watch.at("seen/in")).unwrap();
    watch.expect("RenameTo", &["seen/in"]);
    fs::rename(watch.at("seen/in"), watch.at("out")).unwrap();
    watch.expect("RenameFrom", &["seen/in"]);
    fs::remove_file(watch.at("seen/old")).unwrap();
    watch.expect("Remove", &["seen/old"]);
    assert_eq!(watch.end(), Vec::<Value>::new());
}

#[test]
fn directories_beneath_are_watched_where_they_are_and_go() {
    let mut watch = Running::start(&["seen/a/b/", "moved/in/"], "", QUIET_ALL);
    make(&watch.at("seen/a/b/one"));
    watch.expect("Create", &["seen/a/b/one"]);
    fs::create_dir(watch.at("seen/new")).unwrap();
    watch.expect("Create", &["seen/new"]);
    make(&watch.at("seen/new/two"));
    // Told once by the kernel, or by our own look, or by both.
    watch.expect("Create", &["seen/new/two"]);
    fs::rename(watch.at("seen/a"), watch.at("seen/z")).unwrap();
    let mut next = watch.next();
    if next.1 == ["seen/new/two"] {
        next = watch.next();
    }
    assert_eq!(next, ("Rename".into(), vec!["seen/a".into(), "seen/z".into()]));
    make(&watch.at("seen/z/b/three"));
    watch.expect("Create", &["seen/z/b/three"]);
    fs::rename(watch.at("moved"), watch.at("seen/moved")).unwrap();
    watch.expect("RenameTo", &["seen/moved"]);
    make(&watch.at("seen/moved/in/four"));
    watch.expect("Create", &["seen/moved/in/four"]);
    fs::rename(watch.at("seen/moved"), watch.at("away")).unwrap();
    watch.expect("RenameFrom", &["seen/moved"]);
    make(&watch.at("away/in/five"));
    make(&watch.at("seen/last"));
    watch.expect("Create", &["seen/last"]);
    watch.end();
}

#[test]
fn a_file_is_watched_also_when_another_one_takes_its_place() {
    let mut watch = Running::start(&["seen/file", "seen/next"], "file", r#","filter":null"#);
    fs::rename(watch.at("seen/next"), watch.at("seen/file")).unwrap();
    watch.expect("RenameTo", &["seen/file"]);
    make(&watch.at("seen/other"));
    fs::remove_file(watch.at("seen/file")).unwrap();
    watch.expect("Remove", &["seen/file"]);
    make(&watch.at("seen/file"));
    watch.expect("Create", &["seen/file"]);
    watch.end();
}

#[test]
fn files_written_through_the_api_come_and_change_whole() {
    let rest = r#","filter":["Create","Modify","Remove","Rename","RenameFrom","RenameTo"]"#;
    let mut watch = Running::start(&["seen/old"], "", rest);
    let put = |path: &Path| crate::files::write::write(path, &mut &b"data"[..], 10).unwrap();
    put(&watch.at("seen/new"));
    watch.expect("Create", &["seen/new"]);
    watch.expect("Modify", &["seen/new"]);
    put(&watch.at("seen/old"));
    watch.expect("RenameTo", &["seen/old"]);
    watch.expect("Modify", &["seen/old"]);
    assert_eq!(watch.end(), Vec::<Value>::new());
}

#[test]
fn a_filter_lets_through_what_it_names() {
    let mut watch = Running::start(&[], "", r#","filter":["Remove","Newer"]"#);
    make(&watch.at("seen/file"));
    fs::remove_file(watch.at("seen/file")).unwrap();
    watch.expect("Remove", &["seen/file"]);
    watch.end();
    let watch = Running::start(&[], "", r#","filter":[]"#);
    make(&watch.at("seen/file"));
    assert_eq!(watch.end(), Vec::<Value>::new());
}

#[test]
fn the_end_of_what_is_watched_is_told() {
    let mut watch = Running::start(&["seen/sub/"], "sub", QUIET);
    fs::rename(watch.at("seen/sub"), watch.at("seen/bus")).unwrap();
    watch.expect("RenameFrom", &["seen/sub"]);
    fs::remove_dir(watch.at("seen/bus")).unwrap();
    watch.expect("Remove", &["seen/sub"]);
    watch.end();
}

#[test]
fn it_ends_in_time_and_when_nobody_listens() {
    let watch = Running::start(&[], "", r#","timeout_secs":0.05"#);
    watch.thread.join().unwrap().unwrap();
    let watch = Running::start(&[], "", r#","timeout_secs":0"#);
    watch.thread.join().unwrap().unwrap();
    let watch = Running::start(&[], "", "");
    let path = watch.at("seen/file");
    drop(watch.events);
    make(&path);
    watch.thread.join().unwrap().unwrap();
}

#[test]
fn what_was_dropped_is_said() {
    let top = tempfile::tempdir().unwrap();
    let request = request(top.path(), r#","filter":["Create"]"#);
    let filter = Filter::new(request.filter.as_deref());
    let (mut events, mut tree) = start(&request, filter).unwrap();
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let most: usize = most.trim().parse().unwrap();
    // Two files in turn: the kernel does not keep a second event that is like the one before.
    for n in 0..most.div_ceil(2) + 1 {
        let path = top.path().join(format!("{}", n % 2));
        fs::write(&path, "").unwrap();
        fs::remove_file(&path).unwrap();
    }
    let mut told = Vec::new();
    loop {
        let some = events.read(&mut tree).unwrap();
        if some.is_empty() {
            break;
        }
        told.extend(some);
    }
    let last = json!({ "event_type": "Unknown", "paths": [top.path().canonicalize().unwrap()] });
    assert_eq!(serde_json::to_value(told.last().unwrap()).unwrap(), last);
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let top = tempfile::tempdir().unwrap();
    make(&top.path().join("file"));
    for (path, kind) in [("none", Kind::NotFound), ("file/in", Kind::NotDirectory)] {
        let request = request(&top.path().join(path), "");
        let refused = start(&request, Filter::new(None)).err().unwrap();
        assert_eq!(refused.kind, kind, "{path}");
    }
}
