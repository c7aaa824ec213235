//! Which paths copy what to where: the forms of docker cp and cp(1), both ways.

use std::{fs, os::unix::fs::symlink, path::Path, process::Stdio};

use crate::support::{Agent, everything, said};

/// What is there before each case, besides an empty `new-directory/`.
fn prepare(top: &Path) {
    fs::create_dir_all(top.join("tree/sub")).unwrap();
    fs::create_dir_all(top.join("there")).unwrap();
    for file in ["file", "other", "tree/a", "tree/sub/b", "taken"] {
        fs::write(top.join(file), file).unwrap();
    }
    symlink("tree", top.join("to-tree")).unwrap();
    symlink("file", top.join("to-file")).unwrap();
    symlink("there", top.join("to-there")).unwrap();
}

/// Sources, destination, and the new or changed paths, or what is said instead.
type Case = (&'static [&'static str], &'static str, Result<&'static [&'static str], &'static str>);

const CASES: &[Case] = &[
    (&["file"], "new", Ok(&["new=file"])),
    (&["file"], "there", Ok(&["there/file=file"])),
    (&["file"], "there/", Ok(&["there/file=file"])),
    (&["file"], "to-there", Ok(&["there/file=file"])),
    (&["file"], "there/new", Ok(&["there/new=file"])),
    (&["file"], "taken", Ok(&["taken=file"])),
    (&["file"], "new/", Err("new: Not a directory")),
    (&["file"], "taken/", Err("Not a directory")),
    (&["file"], "missing/new", Err("missing: No such file")),
    (&["./tree/../file"], ".", Ok(&[])),
    (&["tree"], "new", Ok(&["new", "new/a=tree/a", "new/sub", "new/sub/b=tree/sub/b"])),
    (&["tree/"], "new/", Ok(&["new", "new/a=tree/a", "new/sub", "new/sub/b=tree/sub/b"])),
    (
        &["tree"],
        "there",
        Ok(&["there/tree", "there/tree/a=tree/a", "there/tree/sub", "there/tree/sub/b=tree/sub/b"]),
    ),
    (&["tree/."], "there", Ok(&["there/a=tree/a", "there/sub", "there/sub/b=tree/sub/b"])),
    (&["tree/."], "new", Ok(&["new", "new/a=tree/a", "new/sub", "new/sub/b=tree/sub/b"])),
    (&["tree/sub/.."], "there", Ok(&["there/a=tree/a", "there/sub", "there/sub/b=tree/sub/b"])),
    (&["tree"], "taken", Err("taken: Not a directory")),
    (&["tree/."], "taken", Err("taken: it is no directory")),
    (&["file/."], "new", Err("Not a directory")),
    (
        &["file", "tree/sub"],
        "there",
        Ok(&["there/file=file", "there/sub", "there/sub/b=tree/sub/b"]),
    ),
    (&["file", "other"], "new", Err("new: No such file")),
    (&["file", "other"], "taken", Err("taken: it is no directory")),
    (&["to-file"], "new", Ok(&["new->file"])),
    (&["-L", "to-file"], "new", Ok(&["new=file"])),
    (&["to-tree"], "new", Ok(&["new->tree"])),
    (&["-L", "to-tree"], "new", Ok(&["new", "new/a=tree/a", "new/sub", "new/sub/b=tree/sub/b"])),
    (&["to-tree/"], "new", Ok(&["new", "new/a=tree/a", "new/sub", "new/sub/b=tree/sub/b"])),
    (&["nothing"], "new", Err("nothing: No such file")),
    (&["nothing", "file"], "there", Err("nothing: No such file")),
];

/// What is there now and was not before, or is another thing.
fn changes(
    top: &Path,
    before: &std::collections::BTreeMap<std::path::PathBuf, String>,
) -> Vec<String> {
    let shown = |path: &Path| {
        let meta = fs::symlink_metadata(top.join(path)).unwrap();
        let name = path.display();
        if meta.is_symlink() {
            format!("{name}->{}", fs::read_link(top.join(path)).unwrap().display())
        } else if meta.is_file() {
            format!("{name}={}", fs::read_to_string(top.join(path)).unwrap())
        } else {
            name.to_string()
        }
    };
    let after = everything(top);
    // Of what was there, only data counts: directories change with what is in them.
    let data = |what: &String| what.rsplit(' ').nth(1).unwrap().to_string();
    let changed = after
        .iter()
        .filter(|(path, what)| before.get(*path).is_none_or(|was| data(was) != data(what)));
    changed.map(|(path, _)| shown(path)).collect()
}

#[test]
fn the_table() {
    let agent = Agent::start();
    for (number, (sources, to, expected)) in CASES.iter().enumerate() {
        for way in ["in", "out"] {
            let name = format!("case-{number}-{way}");
            let top = agent.at(&name);
            prepare(&top);
            let before = everything(&top);
            let path = |path: &str, there: bool| match (path.starts_with('-'), there) {
                (true, _) => path.to_string(),
                // The agent's commands start one above.
                (false, true) => format!(":{name}/{path}"),
                (false, false) => path.to_string(),
            };
            let mut words: Vec<String> =
                sources.iter().map(|source| path(source, way == "out")).collect();
            words.push(path(to, way == "in"));
            let output = agent.cp(&words).current_dir(&top).output().unwrap();
            let (code, text) = said(&output);
            let context = format!("cp {words:?}: {code:?} {text}");
            match expected {
                Ok(expected) => {
                    assert_eq!((code, &text[..]), (Some(0), ""), "{context}");
                    assert_eq!(changes(&top, &before), *expected, "{context}");
                }
                Err(expected) => {
                    // What is seen from here is told before anything begins.
                    assert!(matches!(code, Some(1 | 125)), "{context}");
                    assert!(text.starts_with("doorward: failed "), "{context}");
                    assert!(text.contains(expected), "{context}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_copy_is_refused() {
    let agent = Agent::start();
    let cases: [(&[&str], &str); 6] = [
        (&["a", "b"], "no path is in the container"),
        (&[":a", ":b"], "within the container"),
        (&["a", ":b", "c"], "some sources"),
        (&["-", "a", ":b"], "one source"),
        (&["-", "-"], "no path is in the container"),
        (&["a"], "required"),
    ];
    for (words, expected) in cases {
        let (code, text) = said(&agent.cp(words).output().unwrap());
        assert!(matches!(code, Some(2 | 125)) && text.contains(expected), "{words:?}: {text}");
    }
}

#[test]
fn a_file_with_a_colon_can_be_named() {
    let agent = Agent::start();
    fs::write(agent.at(":x"), "colon").unwrap();
    agent.copy(&["./:x", ":y:z"]);
    assert_eq!(fs::read_to_string(agent.at("y:z")).unwrap(), "colon");
}

#[test]
fn nothing_is_said_without_a_terminal_unless_something_is_wrong() {
    let agent = Agent::start();
    prepare(&agent.at("."));
    let _socket = std::os::unix::net::UnixListener::bind(agent.at("tree/socket")).unwrap();
    let output = agent.cp(&["tree", ":new"]).output().unwrap();
    let told = "doorward: tree/socket: left out: it is a socket\n";
    assert_eq!(said(&output), (Some(0), told.into()));
    let output = agent.cp(&["-q", "tree", ":quiet"]).output().unwrap();
    assert_eq!(said(&output), (Some(0), String::new()));
    let closed = agent.cp(&["file", ":closed"]).stderr(Stdio::null()).status().unwrap();
    assert!(closed.success());
}
