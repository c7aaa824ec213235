//! The fake service on a thread of its own, the binary with clean variables, a terminal.

use std::{
    convert::Infallible,
    fs::File,
    io::Read,
    ops::Deref,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use doorward::wire::doorward::v1::images_server::ImagesServer;
use http::Request;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::oneshot};
use tonic::{Status, codegen::Service};

use crate::fake::Fake;

/// Longer than anything takes on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary, with nothing in its variables that changes what it does.
pub(crate) fn doorward(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DOORWARD_")) {
        command.env_remove(name);
    }
    command.env_remove("NO_COLOR").env("TERM", "xterm");
    command
}

/// What came of a command of ours.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Seen {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().expect("no signal ended it");
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Seen {
    /// Exactly this.
    #[track_caller]
    pub(crate) fn is(&self, code: i32, stdout: &str, stderr: &str) {
        let seen = (self.code, &self.stdout[..], &self.stderr[..]);
        assert_eq!(seen, (code, stdout, stderr));
    }

    /// Its lines as JSON.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A server on a port of loopback.
pub(crate) struct Server {
    fake: Arc<Fake>,
    pub(crate) address: String,
    _stop: oneshot::Sender<Infallible>,
}

impl Deref for Server {
    type Target = Fake;

    fn deref(&self) -> &Fake {
        &self.fake
    }
}

impl Server {
    /// Starts one, which ends when it is dropped.
    pub(crate) fn start() -> Self {
        Self::with(Has::Images)
    }

    /// Starts one that knows no service at all.
    pub(crate) fn without_images() -> Self {
        Self::with(Has::Nothing)
    }

    fn with(has: Has) -> Self {
        let fake = Arc::new(Fake::default());
        let (tell, port) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let served = fake.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap().port()).unwrap();
                tokio::select! {
                    () = serve(served, listener, has) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = format!("tcp://127.0.0.1:{}", port.recv().unwrap());
        Self { fake, address, _stop: stop }
    }

    /// A command for this server.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = doorward(args);
        command.env("DOORWARD_ADDRESS", &self.address).env("DOORWARD_TASK_ID", "ours");
        command
    }

    /// Runs a command for this server.
    pub(crate) fn run(&self, args: &[&str]) -> Seen {
        self.command(args).output().unwrap().into()
    }

    /// Runs a command that succeeds, and reads the document that it prints.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let seen = self.run(&[args, &["--json"]].concat());
        assert_eq!(seen.code, 0, "{args:?} {seen:?}");
        serde_json::from_str(&seen.stdout).unwrap()
    }
}

/// What a server has.
#[derive(Clone, Copy)]
enum Has {
    Images,
    Nothing,
}

async fn serve(fake: Arc<Fake>, listener: TcpListener, has: Has) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let service = ImagesServer::from_arc(fake.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let mut service = service.clone();
            async move {
                match has {
                    Has::Images => service.call(request).await,
                    Has::Nothing => Ok(Status::unimplemented("no such service").into_http()),
                }
            }
        });
        let http = http2::Builder::new(TokioExecutor::new());
        let connection = tokio::spawn(http.serve_connection(TokioIo::new(socket), service));
        fake.connected(connection.abort_handle());
    }
}

/// Waits for the end of a command that was started.
pub(crate) fn ended(child: Child) -> Seen {
    child.wait_with_output().unwrap().into()
}

/// Asks again until the answer is yes.
#[track_caller]
pub(crate) fn until(what: &str, mut yes: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !yes() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The person's side of a terminal, and a descriptor of the programs' side.
pub(crate) fn terminal() -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let path = ptsname(&ours, Vec::new()).unwrap();
    let theirs = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
    (ours.into(), theirs)
}

/// All that a terminal shows until no program has it open.
pub(crate) fn shown(mut ours: File) -> String {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    // The end is EIO there.
    while let Ok(length @ 1..) = ours.read(&mut piece) {
        all.extend_from_slice(&piece[..length]);
    }
    String::from_utf8(all).unwrap()
}

/// What a terminal shows, up to this text.
pub(crate) fn until_shown(ours: &mut File, text: &str) -> String {
    let (mut shown, mut byte) = (Vec::new(), [0]);
    while !shown.ends_with(text.as_bytes()) {
        let timeout = Timespec::try_from(PATIENCE).unwrap();
        let ready = poll(&mut [PollFd::new(ours, PollFlags::IN)], Some(&timeout));
        let seen = String::from_utf8_lossy(&shown);
        assert_eq!(ready, Ok(1), "waited in vain for {text:?} after {seen:?}");
        ours.read_exact(&mut byte).unwrap();
        shown.push(byte[0]);
    }
    String::from_utf8(shown).unwrap()
}
