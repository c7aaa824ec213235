//! What a command finds: variables, secrets, directory, user, descriptors, limits, signals.

use std::{collections::BTreeMap, fs, os::unix::fs::symlink};

use doorward::wire::modal::{
    client::{SecretSource, StringMap, secret_source::Source},
    task_command_router::TaskExecStartRequest,
};
use tonic::Code;

use crate::support::{
    Agent, Exit, Setup, container,
    door::{command, refused},
    is_root, sh,
};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

fn inline(pairs: &[(&str, &str)]) -> SecretSource {
    SecretSource { source: Some(Source::Env(StringMap { contents: map(pairs) })) }
}

fn named(id: &str) -> SecretSource {
    SecretSource { source: Some(Source::SecretId(id.into())) }
}

#[tokio::test]
async fn later_sources_win_and_the_agents_own_settings_stay_out() {
    let setup = Setup::new().env("KEPT", "from the container").env("DOORWARD_LOG", "info");
    let secrets = setup.path("secrets");
    fs::create_dir(&secrets).unwrap();
    fs::write(format!("{secrets}/one.env"), "# a comment\nA=1\nexport B='two words'\n").unwrap();
    fs::write(format!("{secrets}/two.json"), r#"{"B": "from json", "C": "3"}"#).unwrap();
    // As Kubernetes mounts a secret: links within the directory.
    fs::create_dir_all(format!("{secrets}/three/..2026")).unwrap();
    fs::write(format!("{secrets}/three/..2026/D"), "four\n").unwrap();
    symlink("..2026", format!("{secrets}/three/..data")).unwrap();
    symlink("..data/D", format!("{secrets}/three/D")).unwrap();
    let agent = setup.flags(["--secrets-dir", &secrets]).start().await;
    let request = TaskExecStartRequest {
        env: map(&[("A", "env"), ("E", "env"), ("KEPT2", "")]),
        secret_ids: vec!["one".into(), "three".into()],
        secret_sources: vec![named("two"), inline(&[("C", "inline"), ("E", "last")])],
        ..sh("env")
    };
    let stdout = agent.door().await.run(&request).await.stdout;
    for line in ["A=1", "B=from json", "C=inline", "E=last", "KEPT=from the container", "KEPT2="] {
        assert!(stdout.lines().any(|one| one == line), "no {line} in {stdout}");
    }
    assert!(stdout.lines().any(|one| one.starts_with("D=four")), "{stdout}");
    let settings: Vec<_> = stdout
        .lines()
        .filter(|line| line.starts_with("DOORWARD_") && !line.starts_with("DOORWARD_EXEC="))
        .collect();
    assert!(settings.is_empty(), "{settings:?}");
}

#[tokio::test]
async fn a_secret_is_read_at_each_start_and_a_missing_one_is_named() {
    let setup = Setup::new();
    let secrets = setup.path("secrets");
    fs::create_dir(&secrets).unwrap();
    fs::write(setup.path("outside.env"), "STOLEN=1\n").unwrap();
    symlink("../outside.env", format!("{secrets}/leak.env")).unwrap();
    let agent = setup.flags(["--secrets-dir", &secrets]).start().await;
    let door = agent.door().await;
    for value in ["old", "new"] {
        fs::write(format!("{secrets}/key.env"), format!("KEY={value}\n")).unwrap();
        let request = TaskExecStartRequest { secret_ids: vec!["key".into()], ..sh("echo $KEY") };
        assert_eq!(door.run(&request).await.stdout, format!("{value}\n"));
    }
    for (id, code) in [
        ("missing", Code::FailedPrecondition),
        ("leak", Code::FailedPrecondition),
        ("../outside", Code::InvalidArgument),
        ("", Code::InvalidArgument),
    ] {
        let request = TaskExecStartRequest { secret_ids: vec![id.into()], ..sh("env") };
        refused(id, door.start(&request).await, code, &[id]);
    }
}

#[tokio::test]
async fn the_program_is_found_in_the_commands_own_path() {
    let setup = Setup::new();
    let bin = setup.path("bin");
    fs::create_dir(&bin).unwrap();
    let tool = format!("{bin}/only-here");
    fs::write(&tool, "#!/bin/sh\necho found \"$0\" in $PWD\n").unwrap();
    std::process::Command::new("chmod").args(["+x", &tool]).status().unwrap();
    let agent = setup.start().await;
    let door = agent.door().await;
    let request = TaskExecStartRequest {
        env: map(&[("PATH", &format!("/nowhere:{bin}:/usr/bin:/bin"))]),
        workdir: Some("/usr".into()),
        ..command(&["only-here"])
    };
    let done = door.run(&request).await;
    assert_eq!((done.exit, done.stdout), (Exit::Code(0), format!("found {tool} in /usr\n")));
    let lost = door.start(&command(&["only-here"])).await;
    refused("not in the path", lost, Code::FailedPrecondition, &["only-here", "No such file"]);
}

#[tokio::test]
async fn a_path_is_there_even_where_the_agent_had_none() {
    let agent = Setup::new().wrapped(["env", "-u", "PATH"]).start().await;
    let done = agent.door().await.run(&command(&["env"])).await;
    assert!(done.stdout.lines().any(|line| line.starts_with("PATH=/usr")), "{}", done.stdout);
}

#[tokio::test]
async fn nothing_of_the_agent_leaks_into_a_command() {
    // An agent started from a hostile place: signals ignored, stray descriptors.
    let hostile = "trap '' INT QUIT HUP PIPE; exec 7</dev/null 8</dev/null; exec \"$0\" \"$@\"";
    let agent = Setup::new().wrapped(["sh", "-c", hostile]).start().await;
    let door = agent.door().await;
    assert_eq!(door.print("ls /proc/self/fd | tr '\\n' ' '").await, "0 1 2 3 ");
    let status = door.print("grep -E '^Sig(Blk|Ign)' /proc/self/status").await;
    for line in status.lines() {
        assert!(line.ends_with("\t0000000000000000"), "{status}");
    }
    assert_eq!(door.print("umask").await, "0022\n");
    // The policy of scheduling (proc_pid_stat(5)): the usual one, as ours is.
    assert_eq!(door.print("cut -d' ' -f41 /proc/self/stat").await, "0\n");
    let limit = |text: &str| text.split_whitespace().nth(3).map(String::from);
    if container::wanted() {
        return; // Its limits are the container's, and not those of these tests.
    }
    let ours = fs::read_to_string("/proc/self/limits").unwrap();
    let theirs = door.print("cat /proc/self/limits").await;
    for name in ["Max open files", "Max processes", "Max stack size", "Max core file size"] {
        let find = |text: &str| text.lines().find(|line| line.starts_with(name)).and_then(limit);
        assert_eq!(find(&theirs), find(&ours), "{name}\n{theirs}");
    }
    let score = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(door.print("cat /proc/self/oom_score_adj").await, score);
}

#[tokio::test]
async fn each_command_leads_a_session_of_its_own() {
    let agent = Agent::start().await;
    let text = agent.door().await.print("echo $$; cut -d' ' -f1,5,6 /proc/$$/stat").await;
    let numbers: Vec<&str> = text.split_whitespace().collect();
    assert!(numbers.iter().all(|number| *number == numbers[0]), "{text}");
}

#[tokio::test]
async fn the_default_directory_and_one_of_the_request() {
    let agent = Setup::new().flags(["--workdir", "/usr"]).start().await;
    let door = agent.door().await;
    assert_eq!(door.print("pwd").await, "/usr\n");
    let request = TaskExecStartRequest { workdir: Some("/usr/lib".into()), ..sh("pwd") };
    assert_eq!(door.run(&request).await.stdout, "/usr/lib\n");
}

#[tokio::test]
async fn a_user_is_taken_whole() {
    if !is_root() {
        return crate::support::skip("environment user", "not root");
    }
    let agent = Setup::new().flags(["--user", "nobody", "--workdir", "/"]).start().await;
    let door = agent.door().await;
    assert_eq!(door.print("id -un; id -gn").await, "nobody\nnogroup\n");
    let home = door.print("echo $HOME,$USER,$LOGNAME,$SHELL").await;
    assert_eq!(home, "/nonexistent,nobody,nobody,/usr/sbin/nologin\n");
    assert_eq!(door.print("grep -c '^Groups:.*\\b0\\b' /proc/self/status || true").await, "0\n");
    assert_eq!(door.print("grep ^CapEff /proc/self/status").await, "CapEff:\t0000000000000000\n");
}
