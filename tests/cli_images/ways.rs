//! Mistakes, helps, and servers that know nothing of images.

use crate::support::{Seen, Server, doorward};

/// Every command, with arguments that are well-formed.
const COMMANDS: [&[&str]; 15] = [
    &["snapshot", "/a"],
    &["mount", "x", "/a"],
    &["unmount", "/a"],
    &["mounts"],
    &["images", "ls"],
    &["images", "inspect", "x"],
    &["images", "rm", "x"],
    &["images", "tag", "x", "y"],
    &["images", "push", "x", "oci://a/b"],
    &["images", "pull", "oci://a/b"],
    &["images", "export", "x"],
    &["images", "import", "/dev/null"],
    &["images", "diff", "x", "y"],
    &["images", "prune"],
    &["images", "verify"],
];

fn run(args: &[&str]) -> Seen {
    doorward(args).output().unwrap().into()
}

#[test]
fn nobody_there_is_125_and_says_what_to_do() {
    for args in COMMANDS {
        let mut command = doorward(args);
        command.env("DOORWARD_ADDRESS", "unix:///nonexistent/x");
        let seen: Seen = command.output().unwrap().into();
        assert_eq!((seen.code, &seen.stdout[..]), (125, ""), "{args:?}");
        assert!(seen.stderr.contains("start an agent with `doorward serve`"), "{args:?} {seen:?}");
    }
}

#[test]
fn a_server_without_images_is_told_apart() {
    let server = Server::without_images();
    for args in COMMANDS {
        let seen = server.run(args);
        assert_eq!((seen.code, &seen.stdout[..]), (125, ""), "{args:?}");
        let said = "use doorward.v1.Images: the server has no such service";
        assert!(seen.stderr.contains(said), "{args:?} {seen:?}");
    }
}

#[test]
fn relative_paths_are_refused_and_say_why() {
    for args in [
        &["snapshot", "a"][..],
        &["mount", "x", "a"],
        &["mount", "--empty", "./a"],
        &["unmount", "a"],
    ] {
        let seen = run(args);
        assert_eq!(seen.code, 125, "{args:?}");
        let said = "it is a path in the container, which has to be absolute: it begins with /";
        assert!(seen.stderr.contains(said), "{args:?} {seen:?}");
    }
}

#[test]
fn mistakes_in_the_arguments_are_125() {
    for args in [
        &["snapshot"][..],
        &["snapshot", "--filesystem", "/a"],
        &["snapshot", "--ttl", "0", "/a"],
        &["snapshot", "--ttl", "1500ms", "/a"],
        &["snapshot", "--tag", "im-x", "/a"],
        &["snapshot", "--compression", "xz", "/a"],
        &["snapshot", "--id", "", "/a"],
        &["mount", "/a"],
        &["mount", "--empty", "x", "/a"],
        &["unmount"],
        &["images"],
        &["images", "nonsense"],
        &["images", "rm"],
        &["images", "rm", ""],
        &["images", "tag", "x", "a/b"],
        &["images", "push", "x", "a/b"],
        &["images", "pull", "docker://a/b"],
        &["images", "export", "--format", "zip", "x"],
        &["images", "diff", "x"],
        &["images", "prune", "--keep", "5x"],
        &["images", "ls", "-q", "--json"],
    ] {
        let seen = run(args);
        assert_eq!((seen.code, &seen.stdout[..]), (125, ""), "{args:?}");
        assert!(!seen.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn every_help_tells_the_exit_codes() {
    for args in COMMANDS {
        let words = if args[0] == "images" { &args[..2] } else { &args[..1] };
        let seen = run(&[words, &["--help"]].concat());
        assert_eq!(seen.code, 0);
        assert!(seen.stdout.contains("\nExit code: "), "{words:?}: {}", seen.stdout);
    }
}
