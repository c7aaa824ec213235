//! What a person sees: progress, colours, tables that fit.

use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Server, ended, shown, terminal, until_shown};

/// What a command shows whose standard error is a terminal.
fn errors_of(mut command: Command) -> String {
    let (ours, theirs) = terminal();
    // Nobody reads its output here: a pipe would fill.
    let mut child = command.stdout(Stdio::null()).stderr(theirs).spawn().unwrap();
    // Ours of it goes with the command.
    drop(command);
    let shown = shown(ours);
    assert!(child.wait().unwrap().success(), "{shown:?}");
    shown
}

#[test]
fn a_terminal_is_told_how_far_it_is() {
    let server = Server::start();
    let seen = errors_of(server.command(&["snapshot", "/data"]));
    let last = seen.trim_end().rsplit("\x1b[K").next().unwrap();
    assert!(last.starts_with("reading  2.0 MiB  7 entries  ") && last.ends_with("/s"), "{seen:?}");
    assert!(seen.contains("\x1b[Kdoorward: 2 sockets are left out\\u{1b}\r\n"), "{seen:?}");
    for command in [&["images", "push", "x", "oci://a/b"][..], &["images", "export", "x"]] {
        assert!(errors_of(server.command(command)).contains("iB/s"), "{command:?}");
    }
}

#[test]
fn quiet_ones_dumb_ones_and_files_are_told_nothing() {
    let server = Server::start();
    assert_eq!(errors_of(server.command(&["snapshot", "-q", "/data"])), "");
    let mut dumb = server.command(&["images", "push", "x", "oci://a/b"]);
    dumb.env("TERM", "dumb");
    assert_eq!(errors_of(dumb), "");
    server.run(&["images", "push", "x", "oci://a/b"]).is(0, "sha256:feed\n", "");
}

#[test]
fn a_bar_stands_where_the_whole_is_known() {
    let server = Server::start();
    let (mut ours, theirs) = terminal();
    let mut command = server.command(&["snapshot", "/slow"]);
    let child = command.stderr(theirs).spawn().unwrap();
    drop(command);
    let bar = "[============            ]  50 %  reading  2.0 MiB  7 entries  ";
    until_shown(&mut ours, bar);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(ended(child).code, 130);
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let server = Server::start();
    let on_terminal = |plain: Option<(&str, &str)>| {
        let (ours, theirs) = terminal();
        let mut command = server.command(&["images", "diff", "x", "y"]);
        command.envs(plain).stdout(theirs);
        let mut child = command.spawn().unwrap();
        drop(command);
        let shown = shown(ours);
        assert!(child.wait().unwrap().success());
        shown
    };
    assert!(on_terminal(None).starts_with("\x1b[32mA\x1b[0m a\\xff\r\n"));
    for plain in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        assert!(!on_terminal(Some(plain)).contains('\x1b'), "{plain:?}");
    }
    assert!(!server.run(&["images", "diff", "x", "y"]).stdout.contains('\x1b'));
}
