//! The commands about images, from end to end: the built binary asks a real agent.

use std::{
    fs,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    support::{Agent, TASK, binary, door::TOKEN},
    world::{World, listing},
};

/// One agent, and commands for it.
pub(crate) struct Place {
    agent: Agent,
    pub(crate) world: World,
    tokens: String,
}

impl Place {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// One whose agent has these flags.
    pub(crate) async fn with(flags: &[&str]) -> Self {
        let world = World::new().await;
        let tokens = world.path("token");
        fs::write(&tokens, format!("{TOKEN}\n")).unwrap();
        let setup = flags.iter().fold(world.setup(), |setup, flag| setup.flags([*flag]));
        Self { agent: setup.start().await, world, tokens }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(args).stdin(Stdio::null());
        command.env("DOORWARD_ADDRESS", self.agent.address()).env("DOORWARD_TASK_ID", TASK);
        command.env("DOORWARD_TOKEN_FILE", &self.tokens);
        command
    }

    /// Runs a command, and returns its code and all that it said.
    pub(crate) fn run(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.command(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Runs a command that succeeds, and returns what it printed.
    #[track_caller]
    pub(crate) fn print(&self, args: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(args);
        assert_eq!(code, 0, "{args:?}: {stdout}{stderr}\n{}", self.agent.log());
        stdout.trim_end().to_string()
    }

    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let printed = self.print(&[args, &["--json"]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{args:?}: {printed}"))
    }
}

#[tokio::test]
async fn a_directory_is_kept_shown_and_let_go() {
    let place = Place::new().await;
    let (tree, work) = (place.world.tree("tree"), place.world.path("work"));
    let image = place.print(&["snapshot", "--tag", "base", &tree]);
    assert!(image.starts_with("im-"), "{image}");
    let told = place.json(&["snapshot", "--compression", "gzip", &tree]);
    assert_eq!(told["layers"][0]["media_type"], "application/vnd.oci.image.layer.v1.tar+gzip");
    let mounted = place.json(&["mount", "base", &work]);
    assert_eq!((&mounted["image"], &mounted["path"]), (&image[..].into(), &work[..].into()));
    assert_eq!(listing(&place.world.seen("work")), listing(tree.as_ref()));
    let mounts = place.json(&["mounts"]);
    assert_eq!(mounts[0]["path"], work[..]);
    let (code, _, said) = place.run(&["images", "rm", &image]);
    assert_eq!(code, 1, "{said}");
    assert!(place.print(&["images", "ls"]).contains("base"));
    place.print(&["unmount", &work]);
    assert_eq!(place.run(&["unmount", &work]).0, 1);
    assert_eq!(place.json(&["mounts"]), serde_json::json!([]));
}

#[tokio::test]
async fn images_are_named_looked_at_and_removed() {
    let place = Place::new().await;
    let tree = place.world.tree("tree");
    let image = place.print(&["snapshot", &tree]);
    place.print(&["images", "tag", &image, "first"]);
    let inspected = place.json(&["images", "inspect", "first"]);
    assert_eq!(inspected[0]["id"], image[..]);
    let listed = place.json(&["images", "ls"]);
    assert_eq!(listed["images"][0]["tags"], serde_json::json!(["first"]));
    assert!(listed["size_bytes"].as_u64().unwrap() > 0);
    fs::write(format!("{tree}/added"), "added").unwrap();
    let other = place.print(&["snapshot", &tree]);
    let differences = place.print(&["images", "diff", "first", &other]);
    assert!(differences.lines().any(|line| line.starts_with("A ") && line.contains("added")));
    assert!(place.print(&["images", "verify"]).ends_with("all is well"));
    let dry = place.print(&["images", "prune", "--dry-run", "--keep", "0"]);
    assert!(dry.contains(&other) && !dry.contains(&image), "{dry}");
    place.print(&["images", "prune", "--keep", "0"]);
    assert_eq!(place.print(&["images", "ls", "-q"]), image);
    place.print(&["images", "rm", "first", &image]);
    assert_eq!(place.print(&["images", "ls", "-q"]), "");
    assert_eq!(place.run(&["images", "inspect", "first"]).0, 1);
}

#[tokio::test]
async fn an_archive_goes_out_and_comes_in() {
    let (here, there) = (Place::new().await, Place::new().await);
    let tree = here.world.tree("tree");
    here.print(&["snapshot", "--tag", "base", &tree]);
    for format in ["oci", "docker"] {
        let file = here.world.path(&format!("{format}.tar"));
        here.print(&["images", "export", "--format", format, "-o", &file, "base"]);
        let image = there.print(&["images", "import", "--tag", format, &file]);
        assert!(image.starts_with("im-"), "{image}");
        let work = there.world.path(format);
        there.print(&["mount", format, &work]);
        assert_eq!(listing(&there.world.seen(format)), listing(tree.as_ref()));
        there.print(&["unmount", &work]);
    }
    let (code, _, said) = there.run(&["images", "import", &here.world.path("tree/file")]);
    assert_ne!(code, 0, "{said}");
}

#[tokio::test]
async fn an_agent_that_comes_with_a_command_makes_no_store() {
    let world = World::new().await;
    let mut command = Command::new(binary());
    command
        .args(["exec", "--", "sh", "-c", "ls $TMPDIR/*/state"])
        .env("TMPDIR", world.path("state"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !printed.contains("images"), "{printed}");
}
