//! The public clients, as they are published: what each is made of, and how its cases are run.
//!
//! Their packages are pinned with hashes. What is made of them lives under `target/`, made once.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::{Agent, Setup, TASK, have, skip};

const SECRET: &str = "a-secret-for-tests-of-32-bytes-or-more";

/// One public client.
pub(crate) struct Client {
    /// Its name; its cases lie in `tests/NAME/`.
    name: &'static str,
    /// The programs without which it cannot be had.
    needs: &'static [&'static str],
    /// The files of that folder that decide what is made.
    inputs: fn(&Path) -> Vec<PathBuf>,
    /// Makes a home for it out of that folder.
    make: fn(&Path, &Path) -> Result<(), String>,
    /// What runs its cases, given that folder and the home.
    runner: fn(&Path, &Path) -> Command,
    home: OnceLock<Result<PathBuf, String>>,
}

/// The Python client, in a virtual environment.
pub(crate) static PYTHON: Client = Client {
    name: "python",
    needs: &["python3"],
    inputs: |folder| vec![folder.join("requirements.txt")],
    make: |folder, home| {
        run(Command::new("python3").args(["-m", "venv"]).arg(home))?;
        let mut install = Command::new(home.join("bin/python"));
        install.args(["-m", "pip", "install", "-q", "--disable-pip-version-check"]);
        run(install.args(["--require-hashes", "-r"]).arg(folder.join("requirements.txt")))
    },
    runner: |folder, home| {
        let mut command = Command::new(home.join("bin/python"));
        command.arg("-B").arg(folder.join("run.py"));
        command
    },
    home: OnceLock::new(),
};

/// The JavaScript client, in a folder of packages.
pub(crate) static JAVASCRIPT: Client = Client {
    name: "javascript",
    needs: &["node", "npm"],
    inputs: |folder| ["package.json", "package-lock.json"].map(|name| folder.join(name)).to_vec(),
    make: |folder, home| {
        // The client asks for no release of Node.js, but needs what came with 20.6.
        run(Command::new("node").args(["-e", "ReadableStream.from([])"]))?;
        fs::create_dir(home).unwrap();
        for name in ["package.json", "package-lock.json"] {
            fs::copy(folder.join(name), home.join(name)).unwrap();
        }
        let mut install = Command::new("npm");
        install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(home);
        run(&mut install)
    },
    runner: |folder, home| {
        let mut command = Command::new("node");
        command.env("DOORWARD_PACKAGES", home).arg(folder.join("run.mjs"));
        command
    },
    home: OnceLock::new(),
};

/// The Go client, compiled into one program with its cases. Go keeps what it downloads and compiles
/// where it always does.
pub(crate) static GO: Client = Client {
    name: "go",
    needs: &["go"],
    inputs: |folder| {
        let mut files: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    },
    make: |folder, home| {
        fs::create_dir(home).unwrap();
        let mut build = Command::new("go");
        build.args(["build", "-mod=readonly", "-buildvcs=false", "-o"]).arg(home.join("cases"));
        run(build.arg(".").current_dir(folder))
    },
    runner: |_, home| Command::new(home.join("cases")),
    home: OnceLock::new(),
};

impl Client {
    /// Whether it can be run here; says so aloud if not.
    pub(crate) fn ready(&self) -> bool {
        match self.home() {
            Ok(_) => true,
            Err(why) => {
                skip(&format!("{} client", self.name), why.trim());
                false
            }
        }
    }

    /// Runs the cases of one subject against `host_and_port`.
    pub(crate) async fn cases(&self, subject: &str, agent: &Agent, host_and_port: &str) {
        self.cases_with(subject, agent, host_and_port, &[]).await;
    }

    /// The same, with more variables.
    pub(crate) async fn cases_with(
        &self,
        subject: &str,
        agent: &Agent,
        host_and_port: &str,
        variables: &[(&str, &str)],
    ) {
        let home = self.home().as_ref().unwrap();
        let mut command = tokio::process::Command::from((self.runner)(&self.folder(), home));
        command.args([subject, host_and_port, TASK]).arg(agent.dir.path().join("secret"));
        // The client sends the terminal's name that it finds in its environment.
        command.env_remove("TERM").envs(variables.iter().copied());
        let output = command.kill_on_drop(true).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        let name = self.name;
        assert!(output.status.success(), "{name} {subject}:\n{said}\n{errors}\n{}", agent.log());
        println!("{said}");
    }

    fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(self.name)
    }

    /// Where it was made, or why it was not.
    fn home(&self) -> &Result<PathBuf, String> {
        self.home.get_or_init(|| {
            if let Some(missing) = self.needs.iter().find(|program| !have(program)) {
                return Err(format!("no {missing}"));
            }
            let folder = self.folder();
            let mut hasher = DefaultHasher::new();
            for file in (self.inputs)(&folder) {
                fs::read(file).unwrap().hash(&mut hasher);
            }
            let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
            let home = home.join(format!("{}-{:016x}", self.name, hasher.finish()));
            let done = home.join("complete");
            // Two runs of the tests at once make one home, not two halves.
            let lock = fs::File::create(home.with_extension("lock")).unwrap();
            rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
            if !done.exists() {
                let _ = fs::remove_dir_all(&home);
                (self.make)(&folder, &home)?;
                fs::write(&done, "").unwrap();
            }
            Ok(home)
        })
    }
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

/// Lets an agent that is to be started take signed tokens.
pub(crate) fn signed(setup: Setup) -> Setup {
    let file = setup.path("secret");
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    setup.access(["--jwt-hs256-secret-file", &file])
}
