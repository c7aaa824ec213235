//! A terminal with `doorward` in it, and a person before it: tmux.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

use crate::support::{Agent, PATIENCE, TASK, door::TOKEN, have, skip, until};

/// What runs in the terminal: no program but ours touches its settings.
const SCRIPT: &str = r#"
dir=$1; shift
stty -g >"$dir/before"
sh -c 'echo $$ >"$0/pid"; exec "$@"' "$dir" "$@"
code=$?
stty -g >"$dir/after"
echo "$code" >"$dir/code.new"
mv "$dir/code.new" "$dir/code"
exec sleep 1000
"#;

/// A shell that prints nothing of its own but this prompt.
pub(crate) const BASH: [&str; 5] = ["-e", "PS1=far> ", "--", "bash", "--norc"];

/// A terminal of 24 rows and 80 columns in which `doorward` was started.
pub(crate) struct Terminal {
    dir: TempDir,
}

/// The names that vim has, where it is small too.
const EDITORS: [&str; 2] = ["vim", "vim.tiny"];

/// The command that edits a file without anybody's settings.
pub(crate) fn editing(file: &Path) -> String {
    let editor = EDITORS.into_iter().find(|name| have(name)).unwrap();
    format!("{editor} -u NONE -N -n {}", file.display())
}

/// Whether there is all that these tests need; says so if not.
pub(crate) fn ready() -> bool {
    let mut missing: Vec<_> =
        ["tmux", "bash", "less", "stty"].into_iter().filter(|name| !have(name)).collect();
    if !EDITORS.into_iter().any(have) {
        missing.push("vim");
    }
    if !missing.is_empty() {
        skip("shell", &format!("no {}", missing.join(", no ")));
    }
    missing.is_empty()
}

impl Terminal {
    /// `doorward ARGS` for the agent.
    pub(crate) fn of(agent: &Agent, args: &[&str]) -> Self {
        Self::at(agent.address(), args)
    }

    /// `doorward ARGS` for the agent at this address.
    pub(crate) fn at(address: &str, args: &[&str]) -> Self {
        let env = [("ADDRESS", address), ("TOKEN", TOKEN), ("TASK_ID", TASK)];
        Self::with(&env, args)
    }

    /// `doorward ARGS` for the agent, in a terminal of so many rows and columns.
    pub(crate) fn of_size(agent: &Agent, size: (u16, u16), args: &[&str]) -> Self {
        let env = [("ADDRESS", agent.address()), ("TOKEN", TOKEN), ("TASK_ID", TASK)];
        Self::start(size, &env, args)
    }

    /// `doorward ARGS` with these DOORWARD_ variables and no other ones.
    pub(crate) fn with(env: &[(&str, &str)], args: &[&str]) -> Self {
        Self::start((24, 80), env, args)
    }

    fn start((rows, columns): (u16, u16), env: &[(&str, &str)], args: &[&str]) -> Self {
        let terminal =
            Self { dir: tempfile::Builder::new().prefix("doorward-test-").tempdir().unwrap() };
        fs::write(terminal.path("script"), SCRIPT).unwrap();
        fs::write(terminal.path("settings"), "set -g default-terminal screen\n").unwrap();
        let [rows, columns] = [rows, columns].map(|count| count.to_string());
        let mut tmux = terminal.tmux(&["new-session", "-d", "-x", &columns, "-y", &rows, "sh"]);
        tmux.arg(terminal.path("script")).arg(terminal.dir.path());
        tmux.arg(env!("CARGO_BIN_EXE_doorward")).args(args);
        tmux.envs(env.iter().map(|(key, value)| (format!("DOORWARD_{key}"), value)));
        // Not in the group of the tests: a signal for those is none for it.
        tmux.process_group(0);
        assert!(tmux.status().unwrap().success());
        terminal
    }

    /// Types text.
    pub(crate) fn types(&self, text: &str) {
        assert!(self.tmux(&["send-keys", "-l", "--", text]).status().unwrap().success());
    }

    /// Presses keys by their names: `Enter`, `C-c`.
    pub(crate) fn presses(&self, keys: &[&str]) {
        let mut tmux = self.tmux(&["send-keys", "--"]);
        assert!(tmux.args(keys).status().unwrap().success());
    }

    /// Types a line.
    pub(crate) fn enters(&self, line: &str) {
        self.types(line);
        self.presses(&["Enter"]);
    }

    /// Pastes a text as a terminal does where a program asked for marks around it.
    pub(crate) fn pastes(&self, text: &str) {
        let file = self.path("pasted");
        fs::write(&file, text).unwrap();
        assert!(self.tmux(&["load-buffer"]).arg(file).status().unwrap().success());
        assert!(self.tmux(&["paste-buffer", "-p"]).status().unwrap().success());
    }

    /// Changes its size.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let mut tmux = self.tmux(&["resize-window", "-x"]);
        let tmux = tmux.arg(columns.to_string()).arg("-y").arg(rows.to_string());
        assert!(tmux.status().unwrap().success());
    }

    /// What can be seen, lines without the blanks at their ends.
    pub(crate) fn screen(&self) -> String {
        let output = self.tmux(&["capture-pane", "-p"]).stdout(Stdio::piped()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Something that tmux knows of the terminal: `alternate_on`, `cursor_flag`.
    pub(crate) fn knows(&self, name: &str) -> String {
        let output = self
            .tmux(&["display-message", "-p", &format!("#{{{name}}}")])
            .stdout(Stdio::piped())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    }

    /// Waits until the screen has this text.
    pub(crate) async fn shows(&self, text: &str) {
        self.shows_when(text, |screen| screen.contains(text)).await;
    }

    /// Waits until the screen is as `condition` wants it; `what` is for a failure.
    pub(crate) async fn shows_when(&self, what: &str, condition: impl Fn(&str) -> bool) {
        self.shows_within(PATIENCE, what, condition).await;
    }

    /// The same with another bound.
    pub(crate) async fn shows_within(
        &self,
        bound: Duration,
        what: &str,
        condition: impl Fn(&str) -> bool,
    ) {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if condition(&screen) {
                return;
            }
            let code = fs::read_to_string(self.path("code"));
            assert!(
                begun.elapsed() < bound,
                "waited in vain for {what:?}; left: {code:?}; the screen:\n{screen}\n---"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until `doorward` has ended; its exit code. The terminal's settings are what they were.
    pub(crate) async fn left(&self) -> i32 {
        let code = self.ended().await;
        let [before, after] =
            ["before", "after"].map(|name| fs::read_to_string(self.path(name)).unwrap());
        assert_eq!(after, before, "the terminal's settings; the screen:\n{}", self.screen());
        for (name, usual) in [("alternate_on", "0"), ("cursor_flag", "1"), ("mouse_any_flag", "0")]
        {
            assert_eq!(self.knows(name), usual, "{name}; the screen:\n{}", self.screen());
        }
        code
    }

    /// Waits until `doorward` has ended; its exit code.
    pub(crate) async fn ended(&self) -> i32 {
        let file = self.path("code");
        let what = "doorward has left its terminal";
        let screen = || format!("{what}; the screen:\n{}\n---", self.screen());
        let begun = Instant::now();
        while !file.exists() {
            assert!(begun.elapsed() < PATIENCE, "waited in vain until {}", screen());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        fs::read_to_string(file).unwrap().trim().parse().unwrap()
    }

    /// Sends `doorward` a signal.
    pub(crate) async fn signal(&self, signal: Signal) {
        kill_process(self.pid().await, signal).unwrap();
    }

    /// Waits until there is no `doorward` any more, where nothing is left to say so.
    pub(crate) async fn has_gone(&self) {
        let pid = self.pid().await;
        until("doorward has gone", || test_kill_process(pid).is_err()).await;
    }

    async fn pid(&self) -> Pid {
        let file = self.path("pid");
        let pid = || fs::read_to_string(&file).ok().and_then(|pid| pid.trim().parse().ok());
        until("doorward's process is known", || pid().is_some()).await;
        Pid::from_raw(pid().unwrap()).unwrap()
    }

    /// A path in the terminal's own directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Takes the terminal away, as closing its window does.
    pub(crate) fn close(&self) {
        let _ = self.tmux(&["kill-server"]).stderr(Stdio::null()).status();
    }

    fn tmux(&self, args: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.arg("-u").arg("-f").arg(self.path("settings"));
        tmux.arg("-S").arg(self.path("tmux")).args(args);
        tmux.stdin(Stdio::null()).env_remove("TMUX").env("LC_ALL", "C.UTF-8");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DOORWARD_")) {
            tmux.env_remove(name);
        }
        tmux
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
    }
}

/// Waits until a file has this text.
pub(crate) async fn file_has(file: &Path, text: &str) {
    until(&format!("{file:?} has {text:?}"), || {
        fs::read_to_string(file).is_ok_and(|found| found == text)
    })
    .await;
}
