//! The command line over TLS where the agent asks for a certificate: `--ca`, `--cert` and `--key`, by flags and
//! by variables, and what is said without them.

#![allow(clippy::unwrap_used)]

// It has more than is used here.
#[allow(dead_code)]
mod client_support;

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use client_support::Agent;

/// Writes certificates with their keys: the agent's, one of a caller that it knows, and one of a caller that
/// it does not know. Returns the agent's flags.
fn certificates(directory: &Path) -> Vec<String> {
    let made = |name: &str, host: &str| {
        let made = rcgen::generate_simple_self_signed([host.to_string()]).unwrap();
        fs::write(directory.join(format!("{name}.pem")), made.cert.pem()).unwrap();
        let key = made.signing_key.serialize_pem();
        fs::write(directory.join(format!("{name}.key")), key).unwrap();
    };
    made("agent", "localhost");
    made("caller", "somebody");
    made("stranger", "somebody");
    let path = |name: &str| directory.join(name).display().to_string();
    let flags = [
        ["--tls-cert".into(), path("agent.pem")],
        ["--tls-key".into(), path("agent.key")],
        ["--client-ca".into(), path("caller.pem")],
    ];
    flags.concat()
}

/// `doorward ARGS` in the directory of the certificates, with these DOORWARD_ variables and no other ones.
fn run(agent: &Agent, variables: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DOORWARD_")) {
        command.env_remove(name);
    }
    command
        .env("DOORWARD_ADDRESS", format!("https://localhost:{}", agent.port))
        .envs(variables.iter().map(|(name, value)| (format!("DOORWARD_{name}"), value)))
        .current_dir(agent.file(""))
        .args(args)
        .stdin(Stdio::null());
    command.output().unwrap()
}

/// What came: the exit code, and both streams.
fn seen(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_certificate_is_shown_to_an_agent_that_asks_for_one() {
    let agent = Agent::start(certificates);
    let flags = ["--ca", "agent.pem", "--cert", "caller.pem", "--key", "caller.key"];
    let echo = [&["exec"][..], &flags, &["--", "echo", "hi"]].concat();
    assert_eq!(seen(&run(&agent, &[], &echo)), (0, "hi\n".into(), String::new()));
    let variables = [("CA", "agent.pem"), ("CERT", "caller.pem"), ("KEY", "caller.key")];
    let (code, stdout, stderr) = seen(&run(&agent, &variables, &["ps", "-aq"]));
    assert_eq!((code, stdout.lines().count(), &stderr[..]), (0, 1, ""), "{stdout}");
    // A flag counts more than its variable.
    let stranger = ["ps", "--cert", "stranger.pem", "--key", "stranger.key"];
    assert_eq!(seen(&run(&agent, &variables, &stranger)).0, 125);
}

#[test]
fn without_the_right_certificate_nothing_is_done_and_it_is_said() {
    let agent = Agent::start(certificates);
    let ca = ["--ca", "agent.pem"];
    // What each adds, and what is said of it.
    let cases: [(&[&str], &str); 6] = [
        (&["--cert", "stranger.pem", "--key", "stranger.key"], "doorward: failed to "),
        (&[], "doorward: failed to "),
        (&["--cert", "caller.pem"], "--key <FILE>"),
        (&["--key", "caller.key"], "--cert <FILE>"),
        (&["--cert", "caller.pem", "--key", "no-such.key"], "no-such.key"),
        (&["--cert", "caller.pem", "--key", "stranger.key"], "caller.pem"),
    ];
    for (flags, words) in cases {
        let made = [&["exec"][..], &ca, flags, &["--", "touch", "made"]].concat();
        let (code, stdout, stderr) = seen(&run(&agent, &[], &made));
        assert_eq!((code, &stdout[..]), (125, ""), "{flags:?}: {stderr}");
        assert!(stderr.contains(words), "{flags:?}: {stderr}");
    }
    // An agent whose certificate nobody vouches for is not spoken to.
    let caller = ["ps", "--cert", "caller.pem", "--key", "caller.key"];
    let (code, _, stderr) = seen(&run(&agent, &[], &caller));
    assert!(code == 125 && stderr.contains("certificate"), "{code} {stderr}");
    assert!(!agent.file("made").exists());
}
