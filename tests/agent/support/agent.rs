//! One agent in a fresh directory: started, listened to, ended, and described when a test fails.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{
    Control, Door, PATIENCE, TASK,
    container::{self, Container},
    door::TOKEN,
    processes, until,
};

/// In the environment of each agent, and so of its commands: tells ours from all others.
const MARK: &str = "PROOF_OF_AGENT";

/// How an agent is to be started.
pub(crate) struct Setup {
    /// Its own directory.
    pub(crate) dir: TempDir,
    flags: Vec<String>,
    env: Vec<(String, String)>,
    wrapper: Vec<String>,
    entrypoint: Vec<String>,
    listen: Vec<String>,
    state: String,
    access: Vec<String>,
}

/// A running agent; it ends with this value.
pub(crate) struct Agent {
    /// Its own directory.
    pub(crate) dir: TempDir,
    child: Child,
    container: Option<Container>,
    pid: u32,
    log: Arc<Mutex<String>>,
    stdout: Arc<Mutex<String>>,
    addresses: Vec<String>,
    mark: String,
}

impl Setup {
    /// One loopback port, a static token, a state directory of its own.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("doorward-test-").tempdir().unwrap();
        let token_file = dir.path().join("tokens");
        fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        let text = |path: PathBuf| path.to_str().unwrap().to_string();
        Self {
            flags: ["--task-id", TASK].map(String::from).to_vec(),
            state: text(state),
            access: vec!["--token-file".into(), text(token_file)],
            listen: vec!["--listen".into(), "tcp://127.0.0.1:0".into()],
            env: Vec::new(),
            wrapper: Vec::new(),
            entrypoint: Vec::new(),
            dir,
        }
    }

    /// Adds flags.
    pub(crate) fn flags<const N: usize>(mut self, flags: [&str; N]) -> Self {
        self.flags.extend(flags.map(String::from));
        self
    }

    /// Says who may call, in place of the static token.
    pub(crate) fn access<const N: usize>(mut self, flags: [&str; N]) -> Self {
        self.access = flags.map(String::from).to_vec();
        self
    }

    /// Says where to listen, in place of one loopback port.
    pub(crate) fn listen(mut self, addresses: &[&str]) -> Self {
        let flags = addresses.iter().flat_map(|address| ["--listen", address]);
        self.listen = flags.map(String::from).collect();
        self
    }

    /// Keeps state in this directory, in place of one of its own.
    pub(crate) fn state(mut self, directory: &str) -> Self {
        self.state = directory.into();
        self
    }

    /// Adds a variable to the agent's environment.
    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// A command that becomes the agent: `setpriv …`, `unshare …`.
    pub(crate) fn wrapped<const N: usize>(mut self, wrapper: [&str; N]) -> Self {
        self.wrapper = wrapper.map(String::from).to_vec();
        self
    }

    /// The container's main command.
    pub(crate) fn entrypoint<const N: usize>(mut self, command: [&str; N]) -> Self {
        self.entrypoint = command.map(String::from).to_vec();
        self
    }

    /// A path in the agent's directory, as text.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_string()
    }

    fn command(&self, mark: &str, container: Option<&Container>) -> Command {
        let binary = binary();
        let mut words = self.wrapper.clone();
        words.extend([binary, "serve".into(), "--state-dir".into(), self.state.clone()]);
        for part in [&self.listen, &self.access, &self.flags] {
            words.extend(part.iter().cloned());
        }
        if !self.entrypoint.is_empty() {
            words.push("--".into());
            words.extend(self.entrypoint.iter().cloned());
        }
        let mut env = self.env.clone();
        env.push((MARK.into(), mark.into()));
        let mut command = match container {
            Some(container) => {
                container.command(&[self.dir.path(), self.state.as_ref()], &words, &env)
            }
            None => {
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]).envs(env);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Not in the group of the tests: a signal for those is none for the agent.
        command.process_group(0);
        command
    }

    /// Starts it and waits until it says where it listens.
    pub(crate) async fn start(self) -> Agent {
        let mut agent = self.spawn();
        let begun = Instant::now();
        while agent.addresses.is_empty() {
            let ended = agent.child.try_wait().unwrap();
            let late = begun.elapsed() > PATIENCE;
            assert!(ended.is_none() && !late, "agent: {ended:?}\n{}", agent.log());
            agent.addresses = listening(&agent.log());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if let Some(pid) = agent.container.as_ref().and_then(Container::pid) {
            agent.pid = pid;
        }
        agent
    }

    /// Starts it and waits for nothing.
    pub(crate) fn spawn(self) -> Agent {
        let mark = self.dir.path().to_str().unwrap().to_string();
        let container = container::wanted().then(Container::new);
        let mut child = self.command(&mark, container.as_ref()).spawn().unwrap();
        let pid = child.id();
        let log = collect(child.stderr.take().unwrap());
        let stdout = collect(child.stdout.take().unwrap());
        Agent { dir: self.dir, child, container, pid, log, stdout, addresses: Vec::new(), mark }
    }

    /// Starts it and returns how it ended and what it said.
    pub(crate) async fn run(self) -> (ExitStatus, String) {
        let mut agent = self.spawn();
        let status = agent.ended().await;
        // The end of the process may be seen before the last line.
        let log = agent.log.clone();
        until("the log is read", || Arc::strong_count(&log) == 2).await;
        let said = agent.log();
        (status, said)
    }
}

impl Agent {
    /// An agent as most tests want it.
    pub(crate) async fn start() -> Self {
        Setup::new().start().await
    }

    /// Its first address, as it said it.
    pub(crate) fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// All its addresses.
    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Its first address as host and port.
    pub(crate) fn host_and_port(&self) -> &str {
        self.address().strip_prefix("tcp://").unwrap()
    }

    /// A client with the right token, on a connection of its own.
    pub(crate) async fn door(&self) -> Door {
        Door::open(self.host_and_port(), Some(TOKEN)).await
    }

    /// A client of the Control service with the right token, on a connection of its own.
    pub(crate) async fn control(&self) -> Control {
        Control::open(self.host_and_port(), TOKEN).await
    }

    /// The agent's process, as this side sees it.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The agent's process, as its commands see it.
    pub(crate) fn own_pid(&self) -> u32 {
        if self.container.is_some() { 1 } else { self.pid }
    }

    /// What it said on stderr up to this moment.
    pub(crate) fn log(&self) -> String {
        self.log.lock().clone()
    }

    /// What it wrote to stdout up to this moment.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.lock().clone()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the agent does not end\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it with SIGTERM and waits.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// The processes that came from this agent and kept their environment.
    pub(crate) fn offspring(&self) -> Vec<u32> {
        let marked = processes::with_environment(&format!("{MARK}={}", self.mark));
        let ours = [self.pid(), self.child.id()];
        marked.into_iter().filter(|pid| !ours.contains(pid)).collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- agent {} in {:?}", self.pid(), self.dir.path());
            eprintln!("{}", self.log());
            for pid in self.offspring() {
                eprintln!("--- left: {}", processes::describe(pid));
            }
        }
        if let Some(container) = &self.container {
            container.kill(&mut self.child);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in self.offspring() {
            processes::kill(pid);
        }
    }
}

/// The addresses of the line that says where an agent listens.
fn listening(log: &str) -> Vec<String> {
    let line = log.lines().find_map(|line| line.strip_prefix("doorward: listening on "));
    line.map(|line| line.split(',').map(|one| one.trim().to_string()).collect()).unwrap_or_default()
}

/// Collects what comes out of a pipe; the collector's clone is dropped at its end.
fn collect(pipe: impl std::io::Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let ours = text.clone();
    let (started, wait) = mpsc::channel();
    thread::spawn(move || {
        let _ = started.send(());
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            ours.lock().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    let _ = wait.recv();
    text
}

/// The program that is tested: where it was built, or, for a user who cannot get there, its copy.
pub(crate) fn binary() -> String {
    let built = || env!("CARGO_BIN_EXE_doorward").to_string();
    std::env::var("DOORWARD_TESTS_BINARY").unwrap_or_else(|_| built())
}
