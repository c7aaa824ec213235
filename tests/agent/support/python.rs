//! The real Python client, as it is published: its environment, and how its cases are run.
//!
//! Its packages are pinned with hashes and live in an environment under `target/`, made once.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::{Agent, Setup, TASK, have, skip};

const SECRET: &str = "a-secret-for-tests-of-32-bytes-or-more";

/// The Python of the environment, or why there is none.
fn python() -> &'static Result<PathBuf, String> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PYTHON.get_or_init(|| {
        if !have("python3") {
            return Err("no python3".into());
        }
        let requirements = folder().join("requirements.txt");
        let mut hasher = DefaultHasher::new();
        fs::read(&requirements).unwrap().hash(&mut hasher);
        let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let home = home.join(format!("python-{:016x}", hasher.finish()));
        let (binary, done) = (home.join("bin/python"), home.join("complete"));
        // Two runs of the tests at once make one environment, not two halves.
        let lock = fs::File::create(home.with_extension("lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        if !done.exists() {
            let _ = fs::remove_dir_all(&home);
            run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
            let mut install = Command::new(&binary);
            install.args(["-m", "pip", "install", "-q", "--disable-pip-version-check"]);
            run(install.args(["--require-hashes", "-r"]).arg(&requirements))?;
            fs::write(&done, "").unwrap();
        }
        Ok(binary)
    })
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// An agent that takes signed tokens.
pub(crate) fn setup() -> Setup {
    signed(Setup::new())
}

/// Makes an agent to be take signed tokens.
pub(crate) fn signed(setup: Setup) -> Setup {
    let file = setup.path("secret");
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    setup.access(["--jwt-hs256-secret-file", &file])
}

/// Runs the cases of one subject against `host_and_port`.
pub(crate) async fn cases(subject: &str, agent: &Agent, host_and_port: &str) {
    cases_with(subject, agent, host_and_port, &[]).await;
}

/// The same, with more variables.
pub(crate) async fn cases_with(
    subject: &str,
    agent: &Agent,
    host_and_port: &str,
    variables: &[(&str, &str)],
) {
    let python = python().as_ref().unwrap();
    let mut command = tokio::process::Command::new(python);
    command.arg("-B").arg(folder().join("run.py")).arg(subject);
    command.arg(format!("http://{host_and_port}")).arg(TASK).arg(agent.dir.path().join("secret"));
    // The client sends the terminal's name that it finds in its environment.
    command.env_remove("TERM").envs(variables.iter().copied());
    let output = command.kill_on_drop(true).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{subject}:\n{said}\n{errors}\n{}", agent.log());
    println!("{said}");
}

/// Whether there is such an environment.
pub(crate) fn ready() -> bool {
    match python() {
        Ok(_) => true,
        Err(why) => {
            skip("python client", why.lines().last().unwrap_or("no environment"));
            false
        }
    }
}
