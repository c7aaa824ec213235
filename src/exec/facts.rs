//! What is remembered of an exec beside its life and its streams, for as long as its id is: what
//! was asked for, and when what happened.
//!
//! Thousands of ended execs are remembered, so what many of them share is one allocation, and
//! what can be long is cut.

use std::{
    ffi::CStr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;

use super::birth::Ground;
use crate::{
    core::{
        limits::ARGV_BYTES_MAX,
        outcome::Shortage,
        spec::{Argv, ExecSpec},
        usage::Usage,
    },
    os::{reap::Reaped, user},
};

/// A moment by both clocks: the one of the wall, for people, and the one that never jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the clock of the wall.
    pub wall: SystemTime,
    /// By the clock that never jumps.
    pub at: Instant,
}

/// What is remembered of one exec.
#[derive(Debug)]
pub struct Facts {
    asked: Asked,
    requested: Moment,
    timeout: Option<Duration>,
    started: OnceLock<Moment>,
    ended: OnceLock<End>,
}

/// What was asked for.
#[derive(Debug)]
struct Asked {
    command: Command,
    workdir: Arc<str>,
    user: Arc<str>,
}

/// A command as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The arguments with a NUL between two: a NUL is in none of them.
    text: Box<str>,
    whole: Whole,
}

/// Whether all of a command is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// It is.
    Yes,
    /// Its end is cut off.
    Cut,
}

/// The end of an exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// When its process was reaped, or its start failed.
    pub moment: Moment,
    /// What the process had used up; nothing if none ran.
    pub usage: Usage,
    /// Whether memory was short at that moment; looked at only if it was killed.
    pub shortage: Shortage,
}

/// What execs have in common that name nothing else.
pub struct Common {
    workdir: Arc<str>,
    user: Arc<str>,
    /// The directory that was named last: it is often named again.
    named: Mutex<Arc<str>>,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        Self { wall: SystemTime::now(), at: Instant::now() }
    }

    /// A moment that has passed.
    pub fn past(at: Instant) -> Self {
        let now = Self::now();
        let ago = now.at.saturating_duration_since(at);
        Self { wall: now.wall.checked_sub(ago).unwrap_or(now.wall), at }
    }
}

impl Common {
    /// What execs that stand on `ground` have in common.
    pub fn new(ground: &Ground) -> Self {
        let user = match &ground.identity {
            Some(identity) => identity.name.to_string_lossy().into(),
            None => own_name(),
        };
        let workdir = text(&ground.workdir);
        Self { named: Mutex::new(workdir.clone()), workdir, user }
    }

    /// Nothing in particular.
    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self { named: Mutex::new("/".into()), workdir: "/".into(), user: "nobody".into() }
    }

    fn workdir(&self, spec: &ExecSpec) -> Arc<str> {
        let Some(workdir) = &spec.workdir else { return self.workdir.clone() };
        let workdir = workdir.as_c_str().to_string_lossy();
        if *workdir == *self.workdir {
            return self.workdir.clone();
        }
        let mut named = self.named.lock();
        if *workdir != **named {
            *named = workdir.into();
        }
        named.clone()
    }
}

/// The name of the user that this process runs as, or the number where it has none.
fn own_name() -> Arc<str> {
    let uid = rustix::process::geteuid().as_raw().to_string();
    user::lookup(&uid).map_or(uid.into(), |user| user.name.to_string_lossy().into())
}

fn text(text: &CStr) -> Arc<str> {
    text.to_string_lossy().into()
}

impl Facts {
    /// Those of an exec whose request arrived at `received`.
    pub(super) fn new(common: &Common, spec: &ExecSpec, received: Instant) -> Self {
        let asked = Asked {
            command: Command::new(&spec.argv),
            workdir: common.workdir(spec),
            user: common.user.clone(),
        };
        Self {
            asked,
            requested: Moment::past(received),
            timeout: spec.timeout,
            started: OnceLock::new(),
            ended: OnceLock::new(),
        }
    }

    /// Its command.
    pub fn command(&self) -> &Command {
        &self.asked.command
    }

    /// Where it starts.
    pub fn workdir(&self) -> &str {
        &self.asked.workdir
    }

    /// The user it runs as: the name where there is one, else the number.
    pub fn user(&self) -> &str {
        &self.asked.user
    }

    /// When its request arrived.
    pub fn requested(&self) -> Moment {
        self.requested
    }

    /// When it will be ended, or would have been.
    pub fn deadline(&self) -> Option<SystemTime> {
        self.requested.wall.checked_add(self.timeout?)
    }

    /// When its process existed.
    pub fn started(&self) -> Option<Moment> {
        self.started.get().copied()
    }

    /// How it ended, beside the outcome.
    pub fn ended(&self) -> Option<&End> {
        self.ended.get()
    }

    /// How long it has run, or ran.
    pub fn run_time(&self, now: Instant) -> Option<Duration> {
        let until = self.ended().map_or(now, |end| end.moment.at);
        self.started().map(|started| until.saturating_duration_since(started.at))
    }

    /// Its process exists since this moment.
    pub(super) fn note_start(&self, moment: Moment) {
        // A process is born once.
        let _ = self.started.set(moment);
    }

    /// Its process was reaped.
    pub(super) fn note_exit(&self, reaped: &Reaped, shortage: Shortage) {
        let moment = Moment::past(reaped.at);
        self.note_end(End { moment, usage: reaped.usage, shortage });
    }

    /// It could not be started.
    pub(super) fn note_failure(&self) {
        let (usage, shortage) = (Usage::default(), Shortage::None);
        self.note_end(End { moment: Moment::now(), usage, shortage });
    }

    fn note_end(&self, end: End) {
        // It ends once.
        let _ = self.ended.set(end);
    }
}

impl Command {
    fn new(argv: &Argv) -> Self {
        let mut text = String::new();
        for (index, argument) in argv.as_slice().iter().enumerate() {
            let argument = argument.to_string_lossy();
            let separator = if index == 0 { "" } else { "\0" };
            let Some(room) = ARGV_BYTES_MAX.checked_sub(text.len() + separator.len()) else {
                return Self { text: text.into(), whole: Whole::Cut };
            };
            if argument.len() > room {
                text.push_str(separator);
                text.push_str(&argument[..floor(&argument, room)]);
                return Self { text: text.into(), whole: Whole::Cut };
            }
            text.push_str(separator);
            text.push_str(&argument);
        }
        Self { text: text.into(), whole: Whole::Yes }
    }

    /// The program's name, as given.
    pub fn program(&self) -> &str {
        self.arguments().next().unwrap_or_default()
    }

    /// The arguments that are kept, the program's name first; what is not UTF-8 as U+FFFD.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        self.text.split('\0')
    }

    /// Whether all of it is kept.
    pub fn whole(&self) -> Whole {
        self.whole
    }
}

/// The largest boundary of a character that is not above `index`.
fn floor(text: &str, mut index: usize) -> usize {
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(arguments: &[&str]) -> Command {
        Command::new(&Argv::parse(arguments.iter().map(ToString::to_string).collect()).unwrap())
    }

    #[test]
    fn a_command_is_kept_up_to_its_bound() {
        let short = command(&["sh", "", "a b", ""]);
        assert_eq!(short.arguments().collect::<Vec<_>>(), ["sh", "", "a b", ""]);
        assert_eq!((short.program(), short.whole()), ("sh", Whole::Yes));
        // "sh", a separator, and the rest: just enough, and one byte more.
        let exact = "x".repeat(ARGV_BYTES_MAX - 3);
        assert_eq!(command(&["sh", &exact]).whole(), Whole::Yes);
        let over = command(&["sh", &format!("{exact}y"), "more"]);
        assert_eq!(over.whole(), Whole::Cut);
        assert_eq!(over.arguments().collect::<Vec<_>>(), ["sh", exact.as_str()]);
        // Never within a character.
        let wide = command(&["sh", &"é".repeat(ARGV_BYTES_MAX)]);
        assert_eq!(wide.text.len(), ARGV_BYTES_MAX - 1);
        assert_eq!(command(&[exact.as_str(), "", "", "", ""]).whole(), Whole::Cut);
    }
}
