//! The file API of public clients: every command and every failure, as the agent's user and as another
//! one, in place of a program that no image has.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use doorward::{
    core::{limits::FILE_BYTES_MAX, spec::FILE_TOOL},
    wire::modal::task_command_router::TaskExecStartRequest,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{
    Agent, Door, Exit, Noise, Setup, container,
    door::{Eof, command, refused, rest},
    have, is_root, processes, skip, until,
};

/// What `--user nobody` is: uid and gid.
const NOBODY: &str = "id -u nobody; id -g nobody";

/// An agent, and a directory for its file tools.
struct Files {
    door: Door,
    agent: Agent,
    top: PathBuf,
}

/// How a call ended.
#[derive(Debug, PartialEq)]
enum Called {
    Gave(Vec<u8>),
    /// The kind of the failure.
    Failed(String),
}

fn request(call: &Value) -> TaskExecStartRequest {
    command(&[FILE_TOOL.to_str().unwrap(), &call.to_string()])
}

impl Files {
    async fn start(setup: Setup) -> Self {
        let agent = setup.start().await;
        let top = agent.dir.path().join("files");
        fs::create_dir(&top).unwrap();
        // Another user has to get there; nothing of ours is in its way.
        fs::set_permissions(agent.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Self { door: agent.door().await, agent, top }
    }

    /// An agent whose commands run as nobody, with a directory of theirs.
    async fn as_nobody(group: &str) -> Option<Self> {
        if !is_root() {
            skip(group, "not root");
            return None;
        }
        let files = Self::start(Setup::new().flags(["--user", "nobody", "--workdir", "/"])).await;
        let ids = files.door.print(NOBODY).await;
        let mut ids = ids.lines().map(|id| id.parse().unwrap());
        chown(&files.top, ids.next(), ids.next()).unwrap();
        Some(files)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.top.join(path)
    }

    async fn call(&self, call: Value, input: &[u8]) -> Called {
        let exec = self.door.start(&request(&call)).await.unwrap();
        // A tool that has failed takes no input.
        let _ = self.door.write(&exec, 0, input, Eof::Yes).await;
        let exit = self.door.wait(&exec).await.unwrap();
        let stdout = self.door.read(&exec, 0, 0).await.unwrap().bytes;
        let stderr = self.door.read(&exec, 1, 0).await.unwrap().bytes;
        if exit == Exit::Code(0) {
            assert_eq!(String::from_utf8_lossy(&stderr), "", "{call}");
            return Called::Gave(stdout);
        }
        assert_eq!(exit, Exit::Code(1), "{call}");
        let failure: Value = serde_json::from_slice(&stderr).unwrap();
        assert!(!failure["message"].as_str().unwrap().is_empty(), "{call}: {failure}");
        Called::Failed(failure["error_kind"].as_str().unwrap().into())
    }

    /// A call about one path without input.
    async fn ask(&self, name: &str, path: &Path) -> Called {
        self.call(json!({ name: { "path": path } }), b"").await
    }

    async fn json(&self, name: &str, path: &Path) -> Value {
        match self.ask(name, path).await {
            Called::Gave(text) => serde_json::from_slice(&text).unwrap(),
            failed => panic!("{name} {path:?}: {failed:?}"),
        }
    }

    async fn write(&self, path: &Path, data: &[u8]) -> Called {
        self.call(json!({ "WriteFile": { "path": path } }), data).await
    }
}

fn nothing() -> Called {
    Called::Gave(Vec::new())
}

fn failed(kind: &str) -> Called {
    Called::Failed(kind.into())
}

#[tokio::test]
async fn every_command_does_what_it_says() {
    let files = Files::start(Setup::new()).await;
    let data = Noise::new(7).bytes(300_000);
    assert_eq!(files.write(&files.at("a/b/file"), &data).await, nothing());
    assert_eq!(fs::read(files.at("a/b/file")).unwrap(), data);
    assert_eq!(files.ask("ReadFile", &files.at("a/b/file")).await, Called::Gave(data));
    let entry = files.json("Stat", &files.at("a/b/file")).await;
    let expected = [
        ("name", json!("file")),
        ("path", json!(files.at("a/b/file"))),
        ("type", json!("file")),
        ("size", json!(300_000)),
        ("mode", json!(0o100_644)),
        ("permissions", json!("0644")),
    ];
    for (key, value) in expected {
        assert_eq!(entry[key], value, "{entry}");
    }
    assert_eq!(files.json("ListFiles", &files.at("a/b")).await, json!([entry]));
    let make = json!({ "MakeDirectory": { "path": files.at("x/y"), "parents": true, "new": 1 } });
    for _ in 0..2 {
        assert_eq!(files.call(make.clone(), b"").await, nothing());
    }
    assert!(files.at("x/y").is_dir());
    let remove = json!({ "Remove": { "path": files.at("a"), "recursive": true } });
    assert_eq!(files.call(remove, b"").await, nothing());
    assert_eq!(files.ask("Remove", &files.at("x/y")).await, nothing());
    let left = files.json("ListFiles", &files.top).await;
    assert_eq!((left.as_array().unwrap().len(), &left[0]["name"]), (1, &json!("x")));
}

#[tokio::test]
async fn every_failure_has_its_kind() {
    let files = Files::start(Setup::new()).await;
    fs::write(files.at("file"), "data").unwrap();
    fs::create_dir_all(files.at("dir/in")).unwrap();
    let large = fs::File::create(files.at("large")).unwrap();
    large.set_len(FILE_BYTES_MAX + 1).unwrap();
    let at = |path| files.at(path);
    let make = |path, parents| json!({ "MakeDirectory": { "path": path, "parents": parents } });
    let cases = [
        (json!({ "ReadFile": { "path": at("none") } }), "NotFound"),
        (json!({ "ReadFile": { "path": at("dir") } }), "IsDirectory"),
        (json!({ "ReadFile": { "path": at("file/in") } }), "NotDirectory"),
        (json!({ "ReadFile": { "path": at("large") } }), "FileTooLarge"),
        (json!({ "ListFiles": { "path": at("none") } }), "NotFound"),
        (json!({ "ListFiles": { "path": at("file") } }), "IsFile"),
        (json!({ "ListFiles": { "path": at("file/in") } }), "NotDirectory"),
        (json!({ "Stat": { "path": at("none") } }), "NotFound"),
        (json!({ "Stat": { "path": at("file/in") } }), "NotDirectory"),
        (json!({ "WriteFile": { "path": at("dir") } }), "IsDirectory"),
        (json!({ "WriteFile": { "path": at("file/in") } }), "AlreadyExists"),
        (json!({ "WriteFile": { "path": at("file/in/it") } }), "NotDirectory"),
        (make(at("file"), true), "PathAlreadyExists"),
        (make(at("dir"), false), "PathAlreadyExists"),
        (make(at("none/new"), false), "NotFound"),
        (make(at("file/in/it"), true), "NotDirectory"),
        (json!({ "Remove": { "path": at("none") } }), "NotFound"),
        (json!({ "Remove": { "path": at("dir") } }), "DirectoryNotEmpty"),
        (json!({ "Remove": { "path": "/", "recursive": true } }), "PermissionDenied"),
        (json!({ "Watch": { "path": at("none") } }), "NotFound"),
        (json!({ "Stat": { "path": "" } }), "NotFound"),
        (json!({ "Chmod": { "path": at("file") } }), "Io"),
    ];
    for (call, kind) in cases {
        assert_eq!(files.call(call.clone(), b"data").await, failed(kind), "{call}");
    }
    assert_eq!(fs::read(files.at("file")).unwrap(), b"data");
    // One word too many, or none at all.
    for words in [vec!["{}", "{}"], vec![]] {
        let words = [vec![FILE_TOOL.to_str().unwrap()], words].concat();
        let done = files.door.run(&command(&words)).await;
        assert_eq!(done.exit, Exit::Code(1), "{done:?}");
        assert!(done.stderr.contains("one argument"), "{done:?}");
    }
}

#[tokio::test]
async fn another_user_has_their_own_rights_and_no_more() {
    let Some(files) = Files::as_nobody("files of another user").await else { return };
    assert_eq!(files.write(&files.at("new/file"), b"theirs").await, nothing());
    let (made, theirs) =
        (fs::metadata(files.at("new/file")).unwrap(), fs::metadata(&files.top).unwrap());
    assert_eq!((made.uid(), made.gid()), (theirs.uid(), theirs.gid()));
    assert_eq!(files.json("Stat", &files.at("new/file")).await["owner"], "nobody");
    let ours = files.agent.dir.path().join("ours");
    fs::create_dir(&ours).unwrap();
    fs::write(ours.join("secret"), "secret").unwrap();
    fs::set_permissions(ours.join("secret"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::create_dir(ours.join("closed")).unwrap();
    fs::set_permissions(ours.join("closed"), PermissionsExt::from_mode(0o700)).unwrap();
    // Their directory, but not their file: a new one would stand for it.
    fs::write(files.at("ours"), "ours").unwrap();
    let cases = [
        ("ReadFile", ours.join("secret")),
        ("ListFiles", ours.join("closed")),
        ("Stat", ours.join("closed/in")),
        ("WriteFile", ours.join("secret")),
        ("WriteFile", ours.join("new")),
        ("WriteFile", ours.join("new/deep")),
        ("WriteFile", files.at("ours")),
        ("MakeDirectory", ours.join("new")),
        ("Remove", ours.join("secret")),
        ("Watch", ours.join("closed")),
    ];
    for (name, path) in cases {
        let called = files.call(json!({ name: { "path": path } }), b"data").await;
        assert_eq!(called, failed("PermissionDenied"), "{name} {path:?}");
    }
    assert_eq!(fs::read(files.at("ours")).unwrap(), b"ours");
    // What everybody may write, they may, in place: they cannot make another one that is ours.
    fs::set_permissions(files.at("ours"), PermissionsExt::from_mode(0o666)).unwrap();
    assert_eq!(files.write(&files.at("ours"), b"new").await, nothing());
    let written = fs::metadata(files.at("ours")).unwrap();
    assert_eq!((written.uid(), written.mode() & 0o777), (0, 0o666));
    assert_eq!(fs::read(files.at("ours")).unwrap(), b"new");
}

#[tokio::test]
async fn a_file_keeps_its_owner_and_its_mode() {
    if !is_root() {
        return skip("owners", "not root");
    }
    let files = Files::start(Setup::new()).await;
    fs::write(files.at("file"), "old").unwrap();
    chown(files.at("file"), Some(4242), Some(4343)).unwrap();
    fs::set_permissions(files.at("file"), PermissionsExt::from_mode(0o751)).unwrap();
    assert_eq!(files.write(&files.at("file"), b"new").await, nothing());
    let found = fs::metadata(files.at("file")).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (4242, 4343, 0o751));
    let entry = files.json("Stat", &files.at("file")).await;
    assert_eq!((&entry["owner"], &entry["group"]), (&json!("4242"), &json!("4343")));
}

/// Starts a write and waits until its tool has read some of the data, and has not seen an end.
async fn half_written(files: &Files, request: &TaskExecStartRequest) -> String {
    let exec = files.door.start(request).await.unwrap();
    // More than the pipe holds.
    files.door.write(&exec, 0, &[b'x'; 1 << 20], Eof::No).await.unwrap();
    exec
}

#[tokio::test]
async fn a_write_that_is_killed_leaves_what_was_there() {
    let files = Files::start(Setup::new()).await;
    fs::write(files.at("file"), "old").unwrap();
    for name in ["file", "new"] {
        let call = request(&json!({ "WriteFile": { "path": files.at(name) } }));
        let request = TaskExecStartRequest { timeout_secs: Some(1), ..call };
        let exec = half_written(&files, &request).await;
        assert_eq!(files.door.wait(&exec).await.unwrap(), Exit::Signal(9));
    }
    assert_eq!(fs::read(files.at("file")).unwrap(), b"old");
    assert!(!files.at("new").exists());
}

#[tokio::test]
async fn a_write_does_not_take_the_agents_end_for_its_own() {
    let mut files = Files::start(Setup::new()).await;
    fs::write(files.at("file"), "old").unwrap();
    let call = request(&json!({ "WriteFile": { "path": files.at("file") } }));
    half_written(&files, &call).await;
    let path = files.at("file");
    let runs = || !processes::with_command(path.to_str().unwrap()).is_empty();
    assert!(runs());
    files.agent.signal(Signal::KILL);
    files.agent.ended().await;
    until("the tool has ended", || !runs()).await;
    assert_eq!(fs::read(files.at("file")).unwrap(), b"old");
}

#[tokio::test]
async fn changes_are_told_until_the_input_ends() {
    let files = Files::start(Setup::new()).await;
    let call = json!({ "Watch": { "path": files.top, "recursive": true, "filter": ["Create"] } });
    let exec = files.door.start(&request(&call)).await.unwrap();
    let mut stream = files.door.open_read(&exec, 0, 0).await.unwrap();
    let mut line = Vec::new();
    for n in 0.. {
        // It may not be watching yet: until it is, nothing is told.
        fs::create_dir(files.at(&format!("{n}"))).unwrap();
        let soon = std::time::Duration::from_millis(50);
        if let Ok(message) = tokio::time::timeout(soon, stream.message()).await {
            line = message.unwrap().unwrap().data.to_vec();
            break;
        }
        assert!(n < 1000, "nothing is told");
    }
    let first = line.split(|byte| *byte == b'\n').next().unwrap();
    let event: Value = serde_json::from_slice(first).unwrap();
    assert_eq!(
        (&event["event_type"], event["paths"].as_array().unwrap().len()),
        (&json!("Create"), 1)
    );
    assert_eq!(files.door.poll(&exec).await.unwrap(), None);
    files.door.write(&exec, 0, b"", Eof::Yes).await.unwrap();
    assert_eq!(files.door.wait(&exec).await.unwrap(), Exit::Code(0));
    rest(&mut stream, &exec).await.unwrap();
    // The other way to end.
    let call = json!({ "Watch": { "path": files.top, "timeout_secs": 0 } });
    let exec = files.door.start(&request(&call)).await.unwrap();
    assert_eq!(files.door.wait(&exec).await.unwrap(), Exit::Code(0));
}

#[tokio::test]
async fn clients_may_wait_before_they_read() {
    let files = Files::start(Setup::new()).await;
    let data = Noise::new(3).bytes(64 << 20);
    fs::write(files.at("file"), &data).unwrap();
    assert!(files.ask("ReadFile", &files.at("file")).await == Called::Gave(data));
}

#[tokio::test]
async fn what_is_shown_of_it_is_what_the_client_sent() {
    let files = Files::start(Setup::new()).await;
    let call = json!({ "Watch": { "path": files.top } });
    let exec = files.door.start(&request(&call)).await.unwrap();
    let seen = files.agent.control().await.get(&exec).await.unwrap();
    assert_eq!(seen.argv, [FILE_TOOL.to_str().unwrap(), &call.to_string()]);
    let script = format!("tr '\\0' ' ' < /proc/{}/cmdline", seen.pid.unwrap());
    let shown = files.door.print(&script).await;
    assert!(shown.starts_with(FILE_TOOL.to_str().unwrap()));
    files.door.write(&exec, 0, b"", Eof::Yes).await.unwrap();
    assert_eq!(files.door.wait(&exec).await.unwrap(), Exit::Code(0));
}

#[tokio::test]
async fn it_works_when_the_agents_file_is_gone_or_another_one() {
    let setup = Setup::new();
    let binary = setup.path("agent");
    let become_it = format!("cp \"$0\" {binary} && exec {binary} \"$@\"");
    let setup = setup.wrapped(["sh", "-c", &become_it]);
    let setup = match is_root() {
        // Nobody could not even get to where it was.
        true => setup.flags(["--user", "nobody", "--workdir", "/"]),
        false => setup,
    };
    let files = Files::start(setup).await;
    fs::set_permissions(files.agent.dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
    for replaced in [false, true] {
        fs::remove_file(&binary).unwrap();
        if replaced {
            fs::write(&binary, "another thing").unwrap();
        }
        assert_eq!(files.json("Stat", Path::new("/")).await["name"], "/");
        fs::write(&binary, "to be removed").unwrap();
    }
}

#[tokio::test]
async fn a_tool_that_is_there_wins() {
    if !is_root() || !have("unshare") || container::wanted() {
        return skip("a real file tool", "needs root and unshare, and no container around it");
    }
    let setup = Setup::new();
    let (root, tool) = (setup.path("root"), FILE_TOOL.to_str().unwrap());
    // The same view, but for one directory more.
    let script = format!(
        "set -e; R={root}; mkdir $R; mount -t tmpfs none $R; cd /; for d in *; do \
           if [ -L $d ]; then cp -P $d $R/; elif [ -d $d ]; then mkdir $R/$d; mount --rbind /$d $R/$d; fi; \
         done; mkdir -p $R/__modal/.bin; exec chroot $R \"$0\" \"$@\""
    );
    let agent = setup.wrapped(["unshare", "-m", "sh", "-c", &script]).start().await;
    let door = agent.door().await;
    let call = request(&json!({ "Stat": { "path": "/__modal" } }));
    assert!(door.run(&call).await.stdout.contains("directory"), "without a file it is ours");
    door.print(&format!("printf '#!/bin/sh\\necho real' > {tool}")).await;
    let call = TaskExecStartRequest { exec_id: "closed".into(), ..call };
    refused("not executable", door.start(&call).await, Code::FailedPrecondition, &[tool]);
    door.print(&format!("chmod 755 {tool}")).await;
    let call = TaskExecStartRequest { exec_id: "open".into(), ..call };
    assert_eq!(door.run(&call).await.stdout, "real\n");
}
