//! Who may call: where an agent listens at all, which tokens it takes, whom a Unix socket admits,
//! and that every mistake in its settings is said at once.

use std::fs;

use ring::hmac;
use tonic::{Code, Status};

use crate::support::{
    Agent, Door, Exit, Setup, TASK, binary,
    door::{TOKEN, refused},
    sh,
};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let group = three.iter().fold(0_usize, |all, byte| all << 8 | usize::from(*byte));
        let group = group << (8 * (3 - three.len()));
        for digit in 0..=three.len() {
            text.push(char::from(DIGITS[group >> (18 - 6 * digit) & 63]));
        }
    }
    text
}

/// A token with this header and these claims, signed with `secret`.
fn jwt(header: &str, claims: &str, secret: &[u8]) -> String {
    let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", base64url(tag.as_ref()))
}

async fn poll(agent: &Agent, token: Option<&str>) -> Result<Option<Exit>, Status> {
    Door::open(agent.host_and_port(), token).await.poll("nobody").await
}

#[tokio::test]
async fn static_tokens() {
    let agent = Agent::start().await;
    refused("right", poll(&agent, Some(TOKEN)).await, Code::NotFound, &[]);
    refused("none", poll(&agent, None).await, Code::Unauthenticated, &[]);
    refused("wrong", poll(&agent, Some("wrong")).await, Code::Unauthenticated, &[]);
    refused("empty", poll(&agent, Some("")).await, Code::Unauthenticated, &[]);
    refused("prefix", poll(&agent, Some(&TOKEN[..10])).await, Code::Unauthenticated, &[]);
    let longer = format!("{TOKEN}x");
    refused("longer", poll(&agent, Some(&longer)).await, Code::Unauthenticated, &[]);
}

#[tokio::test]
async fn signed_tokens() {
    let setup = Setup::new();
    let file = setup.path("secret");
    fs::write(&file, [SECRET, b"\n"].concat()).unwrap();
    let agent = setup.access(["--jwt-hs256-secret-file", &file]).start().await;
    let header = r#"{"alg":"HS256","typ":"JWT"}"#;
    let (soon, past) = (now() + 600, now() - 60);
    let claims = |exp: &str, more: &str| format!(r#"{{"exp":{exp},"task_id":"{TASK}"{more}}}"#);
    let good = claims(&soon.to_string(), "");
    let unauthenticated = Code::Unauthenticated;
    let cases = [
        ("good", jwt(header, &good, SECRET), Code::NotFound),
        ("another secret", jwt(header, &good, &[7; 32]), unauthenticated),
        ("expired", jwt(header, &claims(&past.to_string(), ""), SECRET), unauthenticated),
        (
            "in the leeway",
            jwt(header, &claims(&(now() - 10).to_string(), ""), SECRET),
            Code::NotFound,
        ),
        ("no exp", jwt(header, &format!(r#"{{"task_id":"{TASK}"}}"#), SECRET), unauthenticated),
        ("exp as text", jwt(header, &claims(&format!("\"{soon}\""), ""), SECRET), unauthenticated),
        (
            "not yet",
            jwt(header, &claims(&soon.to_string(), &format!(r#","nbf":{soon}"#)), SECRET),
            unauthenticated,
        ),
        ("alg none", jwt(r#"{"alg":"none"}"#, &good, SECRET), unauthenticated),
        ("alg HS512", jwt(r#"{"alg":"HS512"}"#, &good, SECRET), unauthenticated),
        ("garbage", "a.b.c".to_string(), unauthenticated),
        ("no task", jwt(header, &format!(r#"{{"exp":{soon}}}"#), SECRET), Code::PermissionDenied),
        (
            "another task",
            jwt(header, &format!(r#"{{"exp":{soon},"task_id":"ta-x"}}"#), SECRET),
            Code::PermissionDenied,
        ),
    ];
    for (what, token, code) in cases {
        let answer = poll(&agent, Some(&token)).await;
        // A token without the claim is bad or another's: the contract leaves that open.
        let code = match (what, &answer) {
            ("no task", Err(status)) if status.code() == unauthenticated => unauthenticated,
            _ => code,
        };
        refused(what, answer, code, &[]);
    }
    let unsigned = format!("{}.{}.", base64url(br#"{"alg":"none"}"#), base64url(good.as_bytes()));
    refused("unsigned", poll(&agent, Some(&unsigned)).await, unauthenticated, &[]);
    refused("no token", poll(&agent, None).await, unauthenticated, &[]);
}

#[tokio::test]
async fn health_needs_no_token() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let agent = Agent::start().await;
    let url = format!("http://{}", agent.host_and_port());
    let channel = tonic::transport::Endpoint::from_shared(url).unwrap().connect().await.unwrap();
    let request = HealthCheckRequest { service: String::new() };
    let answer = HealthClient::new(channel).check(request).await.unwrap().into_inner();
    assert_eq!(answer.status, 1, "serving");
}

#[tokio::test]
async fn a_listener_without_a_lock_does_not_start() {
    for (listen, access, word) in [
        ("tcp://127.0.0.1:0", vec![], "--allow-anonymous"),
        ("tcp://0.0.0.0:0", vec!["--allow-anonymous"], "--allow-plaintext"),
        ("tcp://[::]:0", vec!["--allow-anonymous"], "--allow-plaintext"),
    ] {
        let mut setup = Setup::new().access([]).listen(&[listen]);
        for flag in &access {
            setup = setup.flags([*flag]);
        }
        let (status, log) = setup.run().await;
        assert_eq!(status.code(), Some(78), "{listen} {access:?}: {log}");
        assert!(log.contains(word), "{listen} {access:?} does not name {word}: {log}");
    }
    let open = Setup::new().access(["--allow-anonymous"]).start().await;
    refused("nobody", poll(&open, None).await, Code::NotFound, &[]);
}

#[tokio::test]
async fn all_mistakes_are_said_at_once() {
    let setup = Setup::new().flags([
        "--linger-quiet",
        "soon",
        "--spool-stream-max",
        "lots",
        "--log-format",
        "xml",
        "--workdir",
        "here",
        "--tls-cert",
        "/no/such/cert",
    ]);
    let (status, log) = setup.env("DOORWARD_GRACE", "never").run().await;
    assert_eq!(status.code(), Some(78), "{log}");
    for word in ["soon", "lots", "xml", "here", "never", "--tls-key"] {
        assert!(log.contains(word), "{word} is not in {log}");
    }
}

#[tokio::test]
async fn short_secrets_and_wrong_keys_do_not_start() {
    for (name, contents) in [("short", "too short\n"), ("missing", "")] {
        let setup = Setup::new();
        let file = setup.path(name);
        if !contents.is_empty() {
            fs::write(&file, contents).unwrap();
        }
        let (status, log) = setup.access(["--jwt-hs256-secret-file", &file]).run().await;
        assert_eq!(status.code(), Some(78), "{name}: {log}");
        assert!(log.contains(&file), "{name}: {log}");
    }
    let setup = Setup::new();
    let file = setup.path("public.pem");
    fs::write(&file, "-----BEGIN PUBLIC KEY-----\nnonsense, long enough to be a secret of 32 bytes\n-----END PUBLIC KEY-----\n").unwrap();
    for flag in ["--jwt-public-key-file", "--jwt-hs256-secret-file"] {
        let again = Setup::new();
        let copy = again.path("public.pem");
        fs::copy(&file, &copy).unwrap();
        let (status, log) = again.access([flag, &copy]).run().await;
        assert_eq!(status.code(), Some(78), "{flag}: {log}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_private_and_is_cleaned_up() {
    use std::os::unix::fs::PermissionsExt;
    let setup = Setup::new().access([]);
    let path = setup.path("door.sock");
    let address = format!("unix://{path}");
    // A dead agent's socket is in the way of nobody.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut agent = setup.listen(&[&address]).start().await;
    assert_eq!(agent.addresses().join(","), address);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let door = Door::open_unix(&path, None).await;
    assert_eq!(door.print("echo through").await, "through\n");
    // A living agent's socket is not taken.
    let second = Setup::new().access([]).listen(&[&address]).run().await;
    assert!(!second.0.success(), "{}", second.1);
    assert_eq!(door.print("echo still").await, "still\n");
    assert!(agent.stop().await.success());
    assert!(!fs::exists(&path).unwrap(), "the socket is left behind");
}

#[tokio::test]
async fn other_users_are_turned_away_from_a_unix_socket() {
    if !crate::support::is_root() {
        return crate::support::skip("access by other users", "not root");
    }
    for allowed in ["", "65534"] {
        let setup = Setup::new().access([]);
        let path = setup.path("door.sock");
        let address = format!("unix://{path}");
        let mut setup = setup.listen(&[&address]);
        if !allowed.is_empty() {
            setup = setup.flags(["--allow-uid", allowed]);
        }
        let agent = setup.start().await;
        // The file mode would turn them away first: it is opened to see the second lock.
        for (mode, file) in [("777", path.as_str()), ("755", agent.dir.path().to_str().unwrap())] {
            std::process::Command::new("chmod").args([mode, file]).status().unwrap();
        }
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--clear-groups", &binary(), "exec", "--address", &address]);
        let output = command.args(["--task-id", TASK, "--", "echo", "in"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        if allowed.is_empty() {
            assert_eq!(output.status.code(), Some(125), "{output:?}");
            assert!(said.contains("65534 may not call"), "{output:?}");
        } else {
            assert_eq!(output.stdout, b"in\n", "{output:?}");
        }
    }
}

#[tokio::test]
async fn a_hole_is_named_at_start() {
    let setup = Setup::new().access([]);
    let address = format!("unix://{}", setup.path("door.sock"));
    let agent = setup.listen(&[&address]).start().await;
    let log = agent.log().to_lowercase();
    assert!(log.contains("warn"), "commands run as the admitted user, unwarned: {log}");
}

#[tokio::test]
async fn it_listens_on_several_addresses() {
    let setup = Setup::new();
    let unix = format!("unix://{}", setup.path("door.sock"));
    let agent = setup.listen(&["tcp://127.0.0.1:0", "tcp://127.0.0.1:0", &unix]).start().await;
    assert_eq!(agent.addresses().len(), 3, "{:?}", agent.addresses());
    for address in &agent.addresses()[..2] {
        let door = Door::open(address.strip_prefix("tcp://").unwrap(), Some(TOKEN)).await;
        assert_eq!(door.run(&sh("exit 6")).await.exit, Exit::Code(6));
    }
}

#[tokio::test]
async fn help_shows_every_flag() {
    let binary = env!("CARGO_BIN_EXE_doorward");
    let output = std::process::Command::new(binary).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for flag in "listen task-id jwt-hs256-secret-file jwt-public-key-file jwks-file jwt-task-claim \
        token-file tls-cert tls-key client-ca allow-uid allow-anonymous allow-plaintext secrets-dir \
        state-dir workdir user spool-stream-max spool-total-max spool-memory-max spool-full \
        linger-quiet linger-max grace drain max-live-execs remember-execs remember-for keep \
        ready-command ready-tcp entrypoint-output entrypoint-stdin log log-format"
        .split_whitespace()
    {
        assert!(help.contains(&format!("--{flag}")), "no --{flag} in {help}");
        let variable = format!("DOORWARD_{}", flag.to_uppercase().replace('-', "_"));
        assert!(help.contains(&variable), "no {variable} in {help}");
    }
}
