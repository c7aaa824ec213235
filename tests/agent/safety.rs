//! A hostile command with the rights that Docker gives by default: it cannot read the agent's
//! memory, environment or descriptors, nor trace it, although both are root.

use crate::support::{Agent, Exit, Setup, have, is_root, sh, skip};

/// The capabilities of a container that was given none and lost none.
const DOCKER_DEFAULT: &str = "-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,\
                              +setuid,+setfcap,+setpcap,+net_bind_service,+sys_chroot,+kill,\
                              +audit_write";

async fn docker_like(setup: Setup) -> Agent {
    let bounding = format!("--bounding-set={DOCKER_DEFAULT}");
    let inheritable = "--inh-caps=-all";
    setup.wrapped(["setpriv", &bounding, inheritable]).start().await
}

#[tokio::test]
async fn a_command_cannot_look_into_the_agent() {
    if !is_root() || !have("setpriv") {
        return skip("safety", "needs root and setpriv");
    }
    let agent = docker_like(Setup::new().env("DOORWARD_CLUE", "agent-only-clue")).await;
    let door = agent.door().await;
    let pid = agent.own_pid();
    let capabilities = door.print("grep ^CapEff /proc/self/status").await;
    assert!(capabilities.trim().ends_with("a80425fb"), "not as in Docker: {capabilities}");
    for file in ["environ", "mem", "maps", "fd/0", "fd/1", "exe", "cwd", "auxv"] {
        let script = format!("head -c 1 /proc/{pid}/{file} && echo got it");
        let done = door.run(&sh(&script)).await;
        assert!(done.exit != Exit::Code(0), "{file}: {done:?}");
        assert!(done.stderr.contains("Permission denied"), "{file}: {done:?}");
    }
    // Their numbers can be listed by the same user; where they lead cannot.
    let script = format!("for fd in /proc/{pid}/fd/*; do readlink $fd; done; true");
    assert_eq!(door.print(&script).await, "");
    if have("strace") {
        let traced = door.run(&sh(&format!("strace -o /dev/null -p {pid} 2>&1"))).await;
        assert!(traced.stdout.contains("Operation not permitted"), "{traced:?}");
    }
    // It is alive and well, and what it keeps is not to be found among what commands are given.
    assert!(!door.print("env").await.contains("agent-only-clue"));
}

#[tokio::test]
async fn a_command_cannot_read_the_output_of_another_user() {
    if !is_root() {
        return skip("safety", "not root");
    }
    let agent = Setup::new().flags(["--user", "nobody", "--workdir", "/"]).start().await;
    let door = agent.door().await;
    // The directory above is closed to other users too; it is opened to look only at the state.
    let state = agent.dir.path().join("state");
    let open = ["755", agent.dir.path().to_str().unwrap()];
    std::process::Command::new("chmod").args(open).status().unwrap();
    door.run(&sh("head -c 40000000 /dev/zero")).await;
    let script = format!("find {} -type f -exec head -c 1 {{}} +", state.display());
    let done = door.run(&sh(&script)).await;
    assert_eq!(done.stdout, "", "{done:?}");
}
