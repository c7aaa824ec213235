//! Servers that images go to, for tests of the library and of the program: Debian's docker-registry, and s3s-fs as
//! a bucket. Each listens on a port of its own and keeps what it has in a directory that ends with it.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use serde_json::json;
use tempfile::TempDir;

/// Who may use a registry that asks.
pub(crate) const USER: &str = "someone";
pub(crate) const PASSWORD: &str = "pa:ss word";
/// What `htpasswd -B` makes of them.
const HTPASSWD: &str = "someone:$2y$05$GKz9SgH3tAm9Hj80HhEuVOmodTOs8.zqXkPLgpLJJrZsZDSTTrf6G\n";

/// Who may use the bucket.
pub(crate) const KEY: &str = "AKEXAMPLE";
pub(crate) const SECRET: &str = "SKEXAMPLE";

/// What a registry asks of its clients.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    Open,
    Password,
    TlsAndPassword,
}

/// A server that ends with the test.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Debian's docker-registry; why not, if it is not there.
    pub(crate) fn registry(guard: Guard) -> Result<Self, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let mut http = json!({"addr": "127.0.0.1:0", "secret": "x"});
        if guard == Guard::TlsAndPassword {
            certificate(directory.path());
            http["tls"] = json!({"certificate": path("cert.pem"), "key": path("key.pem")});
        }
        let storage =
            json!({"filesystem": {"rootdirectory": path("data")}, "delete": {"enabled": true}});
        let mut config = json!({
            "version": "0.1",
            "log": {"level": "info", "accesslog": {"disabled": true}},
            "storage": storage,
            "http": http,
        });
        if guard != Guard::Open {
            fs::write(path("htpasswd"), HTPASSWD).unwrap();
            config["auth"] = json!({"htpasswd": {"realm": "tests", "path": path("htpasswd")}});
        }
        fs::write(path("config.json"), config.to_string()).unwrap();
        let mut command = Command::new("docker-registry");
        command.args(["serve", &path("config.json")]);
        Self::start(&mut command, "listening on 127.0.0.1:", directory)
    }

    /// s3s-fs with a bucket called `bucket`; why not, if it is not there.
    pub(crate) fn bucket() -> Result<Self, String> {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("bucket")).unwrap();
        let built = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/bin/s3s-fs");
        let program = if Path::new(built).exists() { built } else { "s3s-fs" };
        let mut command = Command::new(program);
        command.env("RUST_LOG", "info").env("NO_COLOR", "1").args(["--host", "127.0.0.1"]);
        command.args(["--port", "0", "--access-key", KEY, "--secret-key", SECRET]);
        command.arg(directory.path());
        Self::start(&mut command, "running at http://127.0.0.1:", directory)
    }

    /// Starts a program and waits for the line that says where it listens.
    fn start(command: &mut Command, mark: &str, directory: TempDir) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawned = command.spawn();
        let mut child = spawned.map_err(|error| format!("{:?}: {error}", command.get_program()))?;
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (tell, told) = mpsc::channel();
        let readers: [Box<dyn BufRead + Send>; 2] =
            [Box::new(BufReader::new(out)), Box::new(BufReader::new(err))];
        for reader in readers {
            let tell = tell.clone();
            // To the end: a server whose output nobody reads stops.
            thread::spawn(move || {
                reader.lines().map_while(Result::ok).for_each(|line| drop(tell.send(line)));
            });
        }
        drop(tell);
        let mut said = Vec::new();
        let port = loop {
            let line = told.recv().unwrap_or_else(|_| panic!("it ended: {said:#?}"));
            let after = line.split_once(mark).map(|(_, after)| after.to_owned());
            let digits = |text: String| text.chars().take_while(char::is_ascii_digit).collect();
            if let Some(port) = after.map(digits).and_then(|text: String| text.parse().ok()) {
                break port;
            }
            said.push(line);
        };
        Ok(Self { child, port, directory })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A repository of the registry, or what else is at its port.
    pub(crate) fn location(&self, scheme: &str, repository: &str) -> String {
        format!("{scheme}://127.0.0.1:{}/{repository}", self.port)
    }

    /// A file with a password for the registry.
    pub(crate) fn credentials(&self, user: &str, password: &str) -> PathBuf {
        let host = format!("127.0.0.1:{}", self.port);
        let auths = json!({"auths": {host: {"username": user, "password": password}}});
        let file = self.path("auth.json");
        fs::write(&file, auths.to_string()).unwrap();
        file
    }

    /// The certificate that the registry shows, if it speaks TLS.
    pub(crate) fn certificate(&self) -> Option<PathBuf> {
        Some(self.path("cert.pem")).filter(|path| path.exists())
    }
}

/// A certificate for localhost, and its key.
fn certificate(directory: &Path) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}
