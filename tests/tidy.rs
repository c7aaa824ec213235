//! Holds the tree to the rules of CONTRIBUTING.md that a compiler does not hold: who may use
//! whom, how long a file and a function may be, where `unsafe` may stand, what a file begins with.
//!
//! It reads text, not syntax: rustfmt has put every brace where these rules look for it.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Each layer and the ones it may use besides itself.
const LAYERS: [(&str, &[&str]); 11] = [
    ("core", &[]),
    ("wire", &["core"]),
    ("os", &["core"]),
    ("archive", &["core", "os"]),
    ("files", &["core", "os"]),
    ("exec", &["core", "os"]),
    ("image", &["core", "os", "archive"]),
    ("doors", &["core", "wire", "os", "exec", "image"]),
    ("agent", &["core", "wire", "os", "exec", "image", "doors"]),
    ("client", &["core", "wire"]),
    ("cli", &["core", "wire", "archive", "client"]),
];

/// What would give `core` a clock, a task, a descriptor or a log.
const WORLD: [&str; 16] = [
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::fd",
    "std::os::unix::net",
    "std::process",
    "std::thread",
    "std::env",
    "Instant::now",
    "SystemTime::now",
    "tokio::",
    "rustix::",
    "async fn",
    "info!(",
    "warn!(",
    "error!(",
];

/// What is never left in the tree.
const LEFT_OVERS: [&str; 7] =
    ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX", "#[ignore", "super::super"];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The layer that the file belongs to: the folder beneath `src`, if it has one.
    fn layer(&self) -> Option<&str> {
        let mut parts = self.path.strip_prefix("src").ok()?.components();
        let first = parts.next()?.as_os_str().to_str()?;
        Some(first.strip_suffix(".rs").unwrap_or(first)).filter(|name| is_layer(name))
    }

    /// Its lines, numbered from 1, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| {
            let comment = line.find("//").filter(|at| !line[..*at].ends_with(':'));
            (index + 1, &line[..comment.unwrap_or(line.len())])
        })
    }

    fn is_this_test(&self) -> bool {
        self.path == Path::new("tests/tidy.rs")
    }
}

fn is_layer(name: &str) -> bool {
    LAYERS.iter().any(|(layer, _)| *layer == name)
}

/// Every Rust file of the package, by its path from the top.
fn sources() -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["src", "tests", "benches", "fuzz"].iter().map(|name| top.join(name)).collect();
    folders.push(top.join("fuzz/fuzz_targets"));
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("fuzz/target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(top).unwrap().into(), text });
            }
        }
    }
    found.push(Source {
        path: "build.rs".into(),
        text: fs::read_to_string(top.join("build.rs")).unwrap(),
    });
    assert!(found.len() > 10, "found only {} files", found.len());
    found
}

/// Fails with every complaint at once.
fn check(rule: &str, complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{rule}:\n  {}", complaints.join("\n  "));
}

/// The names that follow `crate::` in a text, also those of a group in braces.
fn crate_names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_heads(group)),
            None => names.push(head(rest)),
        }
    }
    names
}

/// The identifier that a path begins with.
fn head(path: &str) -> &str {
    let path = path.trim_start();
    &path[..path.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(path.len())]
}

/// The first identifier of each member of a group, up to the brace that closes it.
fn group_heads(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut heads) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match (c, depth) {
            ('{', _) => depth += 1,
            ('}' | ',', 0) => {
                heads.push(head(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            ('}', _) => depth -= 1,
            (_, _) => {}
        }
    }
    heads.into_iter().filter(|name| !name.is_empty()).collect()
}

#[test]
fn layers_use_only_what_is_above_them() {
    let mut complaints = Vec::new();
    for source in sources() {
        let Some(layer) = source.layer() else { continue };
        let allowed = LAYERS.iter().find(|(name, _)| *name == layer).unwrap().1;
        let code: String = source.code().flat_map(|(_, line)| [line, "\n"]).collect();
        for name in crate_names(&code) {
            if is_layer(name) && name != layer && !allowed.contains(&name) {
                complaints.push(format!("{} uses crate::{name}", source.path.display()));
            }
        }
    }
    check("a layer uses another that it must not know", complaints);
}

#[test]
fn the_core_has_no_world() {
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| source.layer() == Some("core")) {
        for (number, line) in source.code().take_while(|(_, line)| *line != "#[cfg(test)]") {
            for name in WORLD.iter().filter(|name| line.contains(**name)) {
                complaints.push(format!("{}:{number}: {name}", source.path.display()));
            }
        }
    }
    check("core has no clock, task, descriptor, file or log", complaints);
}

#[test]
fn files_are_short_and_begin_with_what_they_are_for() {
    let mut complaints = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines >= FILE_LINES_MAX {
            complaints.push(format!("{} has {lines} lines", source.path.display()));
        }
        if !source.text.starts_with("//! ") {
            complaints.push(format!("{} has no module comment", source.path.display()));
        }
    }
    check("files stay under 500 lines and begin with //!", complaints);
}

/// A function: where it begins, its signature, and how many lines it has.
struct Function {
    line: usize,
    signature: String,
    lines: usize,
}

fn functions(source: &Source) -> Vec<Function> {
    let lines: Vec<&str> = source.code().map(|(_, line)| line.trim_end()).collect();
    // What may stand before `fn`: nothing else makes a line the begin of a function.
    let modifier = |word: &str| {
        word.starts_with("pub") || ["async", "const", "unsafe", "extern", "\"C\""].contains(&word)
    };
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = line.find("fn ") else { continue };
        if !line[..name].split_whitespace().all(modifier) {
            continue;
        }
        let ends = |line: &&str| line.ends_with('{') || line.ends_with(';') || line.ends_with('}');
        let Some(open) = lines[at..].iter().position(ends) else { continue };
        let signature = lines[at..=at + open].join(" ");
        let indent = &line[..line.len() - line.trim_start().len()];
        let close = format!("{indent}}}");
        let count = match signature.ends_with('{') {
            true => lines[at..].iter().position(|line| *line == close).map_or(0, |n| n + 1),
            false => open + 1,
        };
        found.push(Function { line: at + 1, signature, lines: count });
    }
    found
}

#[test]
fn functions_are_short_and_take_no_booleans() {
    let (mut complaints, mut seen) = (Vec::new(), 0);
    for source in sources() {
        for function in functions(&source) {
            seen += 1;
            let place = format!("{}:{}", source.path.display(), function.line);
            if function.lines >= FUNCTION_LINES_MAX {
                complaints.push(format!("{place} has {} lines", function.lines));
            }
            let parameters = function.signature.split("->").next().unwrap_or_default();
            let boolean = [": bool,", ": bool)"].iter().any(|text| parameters.contains(text));
            if boolean && !parameters.contains('|') {
                complaints.push(format!("{place} takes a bool: an enum says what it means"));
            }
        }
    }
    assert!(seen > 40, "saw only {seen} functions");
    check("functions stay under 70 lines and take no booleans", complaints);
}

#[test]
fn unsafe_stands_in_os_alone() {
    let mut complaints = Vec::new();
    let marks = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "(unsafe_code)"];
    for source in sources() {
        if source.layer() == Some("os") || source.is_this_test() {
            continue;
        }
        for (number, line) in source.code() {
            if marks.iter().any(|mark| line.contains(mark)) {
                complaints.push(format!("{}:{number}: {line}", source.path.display()));
            }
        }
    }
    check("unsafe code is in src/os", complaints);
}

#[test]
fn nothing_is_left_over() {
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| !source.is_this_test()) {
        for (index, line) in source.text.lines().enumerate() {
            let place = format!("{}:{}", source.path.display(), index + 1);
            for mark in LEFT_OVERS.iter().filter(|mark| line.contains(**mark)) {
                complaints.push(format!("{place}: {mark}"));
            }
            if line.contains("TODO") && !line.contains("TODO(#") {
                complaints.push(format!("{place}: a TODO without an issue"));
            }
        }
    }
    check("nothing is left over", complaints);
}

#[test]
fn the_readme_begins_with_the_two_commands() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let first_screen: Vec<&str> = readme.lines().take(24).collect();
    for command in ["cargo run --release -- exec -- sh -c 'echo hello; uname -a'", "cargo test"] {
        assert!(first_screen.contains(&command), "not on the first screen: {command}");
    }
}

#[test]
fn these_rules_see_what_they_look_for() {
    let long = format!(
        "impl X {{\n    pub async fn f(\n        a: bool,\n    ) {{\n{}    }}\n}}\n",
        "\n".repeat(70)
    );
    let found = functions(&Source { path: "src/core/x.rs".into(), text: long });
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].lines, 74);
    assert!(found[0].signature.contains(": bool,"));
    let uses = "use crate::{\n    core::{ids, spec},\n    exec,\n};\nlet a = crate::os::x; my_crate::doors";
    assert_eq!(crate_names(uses), ["core", "exec", "os"]);
}
