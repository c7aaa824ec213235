//! From a spec to a running process: environment, descriptors, label, and the spawn itself.
//!
//! All of it blocks (secret files, a working directory on a mount that hangs, execve) and runs
//! on a thread of the spawn share.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ffi::{CStr, CString},
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use rustix::{io::Errno, pipe::PipeFlags};

use super::{facts::Moment, secrets::Secrets};
use crate::{
    core::{
        outcome::{Stage, StartFailure},
        passwd::Identity,
        spec::{EnvSource, ErrSink, ExecSpec, FILE_TOOL, Input, Sink, Stdio},
    },
    os::{
        cgroup,
        features::Features,
        label::{COOKIE_VARIABLE, Cookie, Labels},
        pty,
        reap::{Exit, Reaper},
        spawn::{self, Ids, Inheritance, Program, SpawnError, Terminal},
        tree::{Marks, Tree},
    },
};

/// Where commands look for programs if nothing says so; what container runtimes use.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Characters of a refused value that a failure repeats.
const VALUE_CHARS_MAX: usize = 256;

/// An environment: keys to what execve(2) takes, `KEY=VALUE`.
pub type Environment = BTreeMap<Vec<u8>, CString>;

/// A command's own, most of which it has in common with all others: nothing of that is copied.
type OwnEnvironment<'a> = BTreeMap<Cow<'a, [u8]>, Cow<'a, CStr>>;

/// What every birth stands on.
pub struct Ground {
    /// The one waiter.
    pub reaper: Arc<Reaper>,
    /// What a command must not inherit.
    pub inheritance: Inheritance,
    /// What the kernel has.
    pub features: Arc<Features>,
    /// Marks for trees.
    pub labels: Labels,
    /// Cgroups for execs, where there are any.
    pub groups: Option<cgroup::Pool>,
    /// How often the kernel killed something here for want of memory.
    pub oom_kills: cgroup::OomKills,
    /// Named secrets.
    pub secrets: Secrets,
    /// The environment that commands start from; see [`base_environment`].
    pub environment: Environment,
    /// Where commands start that name no directory.
    pub workdir: CString,
    /// The user that commands run as, if not the agent's.
    pub identity: Option<Identity>,
}

/// A process that exists, with the agent's ends of its streams. All of them are nonblocking.
pub struct Born {
    /// When it began to exist.
    pub started: Moment,
    /// How often the kernel had killed something here for want of memory before.
    pub oom_kills: Option<u64>,
    /// Its end, when it comes.
    pub exit: Exit,
    /// All that it will start.
    pub tree: Tree,
    /// The agent's ends.
    pub ends: Ends,
}

/// The agent's ends of a command's streams.
pub struct Ends {
    /// What it reads.
    pub input: Inlet,
    /// What it writes to standard output or its terminal.
    pub stdout: Option<Arc<OwnedFd>>,
    /// What it writes to standard error.
    pub stderr: Option<Arc<OwnedFd>>,
}

/// Where a command's input is written.
pub enum Inlet {
    /// Nowhere.
    None,
    /// A pipe.
    Pipe(OwnedFd),
    /// Its terminal, which is also where its output comes from.
    Terminal(Arc<OwnedFd>),
}

/// The environment that the agent was started with, as far as commands may see it: without its
/// own settings, with a PATH, and with what a login sets if commands run as another user.
pub fn base_environment(
    own: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    identity: Option<&Identity>,
) -> Environment {
    let own = own.filter(|(key, _)| !key.starts_with(b"DOORWARD_"));
    let mut environment: Environment = own
        .map(|(key, value)| {
            let joined = join(&key, &value);
            (key, joined)
        })
        .collect();
    let path = || join(b"PATH", PATH_DEFAULT.as_bytes());
    environment.entry(b"PATH".to_vec()).or_insert_with(path);
    if let Some(identity) = identity {
        let login = [
            ("HOME", &identity.home),
            ("SHELL", &identity.shell),
            ("USER", &identity.name),
            ("LOGNAME", &identity.name),
        ];
        for (key, value) in login {
            environment.insert(key.into(), join(key.as_bytes(), value.as_bytes()));
        }
    }
    environment
}

/// Makes the process.
pub fn birth(ground: &Ground, spec: &ExecSpec) -> Result<Born, StartFailure> {
    let cookie = Cookie::random()
        .map_err(|reason| failure(Stage::Descriptors, spec.argv.program(), None, &reason))?;
    let environment = environment(ground, spec, &cookie)?;
    let path = environment.get(b"PATH".as_slice()).map_or(&[][..], |path| value(path));
    let candidates = candidates(spec.argv.program(), path);
    let env: Vec<&CStr> = environment.values().map(AsRef::as_ref).collect();
    let files = Files::make(spec.stdio, ground.identity.as_ref()).map_err(|error| {
        failure(Stage::Descriptors, spec.argv.program(), error.raw_os_error(), &error)
    })?;
    let workdir = spec.workdir.as_ref().map_or(ground.workdir.as_c_str(), |dir| dir.as_c_str());
    let label = ground.labels.next();
    let group = ground.groups.as_ref().and_then(cgroup::Pool::take);
    // Without its directory the exec is started outside, and the group goes back.
    let group = group.and_then(|group| group.open().ok().map(|directory| (group, directory)));
    let (group, directory) = group.unzip();
    let program = Program {
        argv: spec.argv.as_slice(),
        candidates: &candidates,
        env: &env,
        workdir,
        stdio: files.theirs.each_ref().map(AsFd::as_fd),
        terminal: files.terminal,
        identity: ground.identity.as_ref().map(|user| Ids {
            uid: user.uid,
            gid: user.gid,
            groups: &user.groups,
        }),
        label: label.map(|label| ground.labels.limit(label)),
        group: directory.as_ref().map(AsFd::as_fd),
    };
    let oom_kills = ground.oom_kills.count();
    let birth = ground.reaper.birth();
    // Taken before: a program may have ended by the time that this thread goes on.
    let started = Moment::now();
    let mut spawned = spawn::spawn(&program, &ground.inheritance);
    if program.group.is_some() && matches!(spawned, Err(SpawnError { stage: Stage::Clone, .. })) {
        // A cgroup that takes no process (a limit of its own, a frozen one) must not stop the
        // exec; the other marks of its tree remain.
        spawned = spawn::spawn(&Program { group: None, ..program }, &ground.inheritance);
    }
    match spawned {
        Ok(pid) => {
            let exit = birth.born(pid);
            let marks = Marks { leader: pid, label, cookie };
            let tree = Tree::of_exec(marks, group, &ground.features);
            Ok(Born { started, oom_kills, exit, tree, ends: files.ours })
        }
        Err(error) => Err(explain(error, spec, &candidates, workdir, ground)),
    }
}

/// Where the program may be. A file tool that is not in the image is the agent's own binary.
fn candidates(program: &CStr, path: &[u8]) -> Vec<CString> {
    let missing = || {
        let found = rustix::fs::lstat(program);
        matches!(found, Err(Errno::NOENT | Errno::NOTDIR))
    };
    if program == FILE_TOOL && missing() {
        return vec![spawn::OWN_BINARY.to_owned()];
    }
    spawn::candidates(program, path)
}

fn environment<'a>(
    ground: &'a Ground,
    spec: &ExecSpec,
    cookie: &Cookie,
) -> Result<OwnEnvironment<'a>, StartFailure> {
    let mut environment: OwnEnvironment<'a> = ground
        .environment
        .iter()
        .map(|(key, joined)| (Cow::Borrowed(&key[..]), Cow::Borrowed(joined.as_c_str())))
        .collect();
    let mut set = |key: &[u8], value: &[u8]| {
        environment.insert(Cow::Owned(key.into()), Cow::Owned(join(key, value)));
    };
    for source in &spec.env {
        let secret;
        let variables = match source {
            EnvSource::Inline(variables) => variables,
            EnvSource::Secret(id) => {
                secret = ground.secrets.lookup(id)?;
                &secret
            }
        };
        for variable in variables {
            set(variable.key().as_ref(), variable.value().as_ref());
        }
    }
    set(COOKIE_VARIABLE.as_ref(), cookie.as_str().as_ref());
    Ok(environment)
}

fn join(key: &[u8], value: &[u8]) -> CString {
    let joined = [key, b"=", value].concat();
    CString::new(joined)
        .expect("environment variables have no NUL: they come from one or were parsed")
}

/// The value of what [`join`] made.
fn value(joined: &CStr) -> &[u8] {
    let bytes = joined.to_bytes();
    bytes.iter().position(|byte| *byte == b'=').map_or(&[], |equals| &bytes[equals + 1..])
}

/// Both sides of a command's streams.
struct Files {
    theirs: [OwnedFd; 3],
    terminal: Terminal,
    ours: Ends,
}

impl Files {
    fn make(stdio: Stdio, identity: Option<&Identity>) -> io::Result<Self> {
        match stdio {
            Stdio::Pty(size) => {
                let pair = pty::pair(size, identity.map(|user| (user.uid, user.gid)))?;
                let theirs = [pair.slave.try_clone()?, pair.slave.try_clone()?, pair.slave];
                let master = Arc::new(pair.master);
                let ours = Ends {
                    input: Inlet::Terminal(master.clone()),
                    stdout: Some(master),
                    stderr: None,
                };
                Ok(Self { theirs, terminal: Terminal::Controlling, ours })
            }
            Stdio::Pipes { stdin, stdout, stderr } => Self::pipes(stdin, stdout, stderr),
        }
    }

    fn pipes(stdin: Input, stdout: Sink, stderr: ErrSink) -> io::Result<Self> {
        let (stdin, input) = match stdin {
            Input::Null => (null()?, Inlet::None),
            Input::Pipe => {
                let (theirs, ours) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
                rustix::io::ioctl_fionbio(&ours, true)?;
                (theirs, Inlet::Pipe(ours))
            }
        };
        let (stdout, our_stdout) = match stdout {
            Sink::Null => (null()?, None),
            Sink::Pipe => outlet()?,
        };
        let (stderr, our_stderr) = match stderr {
            ErrSink::Null => (null()?, None),
            ErrSink::Pipe => outlet()?,
            ErrSink::Merged => (stdout.try_clone()?, None),
        };
        let ours = Ends { input, stdout: our_stdout, stderr: our_stderr };
        Ok(Self { theirs: [stdin, stdout, stderr], terminal: Terminal::None, ours })
    }
}

fn outlet() -> io::Result<(OwnedFd, Option<Arc<OwnedFd>>)> {
    let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((theirs, Some(Arc::new(ours))))
}

fn null() -> io::Result<OwnedFd> {
    File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from)
}

fn failure(
    stage: Stage,
    value: &CStr,
    errno: Option<i32>,
    reason: &dyn std::fmt::Display,
) -> StartFailure {
    // Long enough to recognise; a failure is kept as long as its exec.
    let value: String = value.to_string_lossy().chars().take(VALUE_CHARS_MAX).collect();
    StartFailure { stage, value, reason: reason.to_string(), errno }
}

/// Says in words what a failed step means; the errno alone often misleads.
fn explain(
    error: SpawnError,
    spec: &ExecSpec,
    candidates: &[CString],
    workdir: &CStr,
    ground: &Ground,
) -> StartFailure {
    let SpawnError { stage, errno } = error;
    let text = io::Error::from(errno);
    let raw = Some(errno.raw_os_error());
    let program = spec.argv.program();
    match stage {
        Stage::Workdir => failure(stage, workdir, raw, &text),
        Stage::Identity => {
            let user = ground.identity.as_ref().map_or(c"", |user| &user.name);
            failure(stage, user, raw, &text)
        }
        Stage::Exec => {
            let there = candidates.iter().any(|path| {
                let path = Path::new(path.to_str().unwrap_or_default());
                Path::new(workdir.to_str().unwrap_or_default()).join(path).exists()
            });
            let meaning = match errno {
                Errno::NOENT if there => "its interpreter or loader does not exist",
                Errno::NOENT if candidates.len() > 1 => "command not found in PATH",
                Errno::NOENT => "command not found",
                Errno::ACCESS => "not executable",
                Errno::NOEXEC => "not a program of a format that this kernel runs",
                Errno::TOOBIG => "arguments and environment are too long",
                _ => return failure(stage, program, raw, &text),
            };
            failure(stage, program, raw, &format_args!("{meaning}: {text}"))
        }
        Stage::Secret
        | Stage::Descriptors
        | Stage::Clone
        | Stage::Session
        | Stage::Redirect
        | Stage::Limits => failure(stage, program, raw, &text),
    }
}
