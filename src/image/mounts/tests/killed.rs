//! Agents that are killed at every moment of mounting, of unmounting and of bringing in order: afterwards the path
//! has the whole image or all that was there before.

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::Ordering,
};

use super::{
    places::{may_mount, of_a_lower_layer, of_a_volume},
    world::{World, picture, same, unmount},
};
use crate::image::mounts::point::LEFT;

/// This test, run again in a process of its own.
pub(super) struct Child<'a> {
    pub(super) top: &'a Path,
    pub(super) path: &'a Path,
    pub(super) disabled: &'a str,
    /// How many moments it lives; for ever, if negative.
    pub(super) left: i64,
}

pub(super) struct Ended(Output);

const NAMES: [&str; 5] = ["TOP", "PATH", "DISABLED", "LEFT", "DO"];

fn variable(name: &str) -> String {
    format!("DOORWARD_MOUNTS_{name}")
}

impl Child<'_> {
    /// Runs it by a command that runs what follows it.
    pub(super) fn run(&self, mut command: Command, what: &str) -> Ended {
        let test = "image::mounts::tests::killed::child";
        command.arg(env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
        let (top, path) = (self.top.display().to_string(), self.path.display().to_string());
        let values = [top, path, self.disabled.into(), self.left.to_string(), what.into()];
        for (name, value) in NAMES.into_iter().zip(values) {
            command.env(variable(name), value);
        }
        Ended(command.output().unwrap())
    }
}

impl Ended {
    pub(super) fn was_killed(&self) -> bool {
        self.0.status.signal() == Some(libc::SIGKILL)
    }

    pub(super) fn is_well(&self) {
        assert!(self.0.status.success(), "{}", self.text());
        assert!(self.text().contains("\nthe child has done it\n"), "{}", self.text());
    }

    pub(super) fn text(&self) -> String {
        let [out, err] =
            [&self.0.stdout, &self.0.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        format!("{out}\n{err}")
    }
}

/// What the process does that a test is the parent of.
#[test]
fn child() {
    let Ok(top) = env::var(variable("TOP")) else { return };
    let get = |name: &str| env::var(variable(name)).unwrap();
    let path = PathBuf::from(get("PATH"));
    let world = World::at(Path::new(&top), &get("DISABLED"));
    if get("DO") == "recover" {
        LEFT.store(get("LEFT").parse().unwrap(), Ordering::SeqCst);
        world.open();
    } else {
        let mounts = world.open();
        LEFT.store(get("LEFT").parse().unwrap(), Ordering::SeqCst);
        match &get("DO")[..] {
            "mount" => drop(world.mount(&mounts, &path, "im-1").unwrap()),
            _ => unmount(&mounts, &path).unwrap(),
        }
    }
    LEFT.store(-1, Ordering::SeqCst);
    println!("\nthe child has done it\n");
}

fn alone() -> Command {
    Command::new("env")
}

/// A world to be killed in.
struct Case {
    what: &'static str,
    disabled: &'static str,
    make: fn(&World) -> PathBuf,
}

/// Pictures to compare with; where files are copied, names of one file may become names of two.
struct Expected {
    original: BTreeMap<PathBuf, String>,
    image: BTreeMap<PathBuf, String>,
}

impl Case {
    fn fresh(&self) -> (World, PathBuf, Expected) {
        let world = World::without(self.disabled);
        let path = (self.make)(&world);
        let expected = Expected { original: picture(&path), image: picture(&world.image("im-1")) };
        (world, path, expected)
    }

    fn child<'a>(&'a self, world: &'a World, path: &'a Path, left: i64) -> Child<'a> {
        Child { top: &world.top, path, disabled: self.disabled, left }
    }

    /// After the next start the path has one or the other, and then what was there.
    fn is_whole(&self, world: &World, path: &Path, expected: &Expected, when: &str) {
        let what = format!("{}, {when}", self.what);
        let (mounts, told) = world.open_told();
        assert!(told.iter().all(|told| told.contains("is undone")), "{what}: {told:?}");
        if mounts.list().is_empty() {
            self.same(path, &expected.original, &what);
        } else {
            same(path, &expected.image, &what);
            unmount(&mounts, path).unwrap();
            self.same(path, &expected.original, &what);
        }
        world.is_clean();
    }

    fn same(&self, path: &Path, expected: &BTreeMap<PathBuf, String>, what: &str) {
        if !self.moves_entries() {
            return same(path, expected, what);
        }
        // Files that were moved in two runs are no names of one file any more.
        let unlinked = |picture: &BTreeMap<PathBuf, String>| -> Vec<(PathBuf, String)> {
            let plain = |line: &str| line.replace(" a/again ", "  ").replace(" a/deep/file ", "  ");
            picture.iter().map(|(path, line)| (path.clone(), plain(line))).collect()
        };
        assert_eq!(unlinked(&picture(path)), unlinked(expected), "{what}");
    }

    /// All moments, or, where there are many and nobody insists, some.
    fn moments(&self) -> impl Iterator<Item = i64> {
        let all = self.what == "swap" || env::var_os("DOORWARD_TESTS_MUST_RUN").is_some();
        (0..).step_by(if all { 1 } else { 3 })
    }

    fn moves_entries(&self) -> bool {
        matches!(self.what, "volume" | "lower layer")
    }

    /// Kills at the moments of mounting, and then at one of bringing that in order.
    fn mounting(&self) {
        for left in self.moments() {
            let (world, path, expected) = self.fresh();
            let ended = self.child(&world, &path, left).run(alone(), "mount");
            if !ended.was_killed() {
                ended.is_well();
                assert!(left > 5, "{}: only {left} moments", self.what);
                println!("{}: there are {left} moments of mounting", self.what);
                return self.is_whole(&world, &path, &expected, "mounted");
            }
            let again = self.child(&world, &path, left * 7 % 23).run(alone(), "recover");
            if !again.was_killed() {
                again.is_well();
            }
            let when = format!("killed mounting at {left}");
            self.is_whole(&world, &path, &expected, &when);
        }
    }

    fn unmounting(&self) {
        for left in self.moments() {
            let (world, path, expected) = self.fresh();
            self.child(&world, &path, -1).run(alone(), "mount").is_well();
            fs::write(path.join("new"), "new").unwrap();
            fs::remove_file(path.join("new")).unwrap();
            let ended = self.child(&world, &path, left).run(alone(), "unmount");
            if !ended.was_killed() {
                ended.is_well();
                println!("{}: there are {left} moments of unmounting", self.what);
                self.same(&path, &expected.original, "unmounted");
                return world.is_clean();
            }
            let (mounts, _) = world.open_told();
            if let [mounted] = &mounts.list()[..] {
                // It had not begun.
                assert!(left < 4, "{}: {left}: {mounted:?}", self.what);
                unmount(&mounts, &path).unwrap();
            }
            let when = format!("{}, killed unmounting at {left}", self.what);
            self.same(&path, &expected.original, &when);
            world.is_clean();
        }
    }

    fn all(&self) {
        self.mounting();
        self.unmounting();
    }
}

#[test]
fn swaps() {
    Case { what: "swap", disabled: "mount,overlay", make: World::original }.all();
}

#[test]
fn swaps_with_what_is_missing() {
    let case = Case {
        what: "missing",
        disabled: "mount,overlay",
        make: |world| {
            let path = world.place().join("sub");
            fs::create_dir_all(&path).unwrap();
            path
        },
    };
    case.all();
}

#[test]
fn overlays_and_binds() {
    if may_mount("kills of overlays and bind mounts") {
        Case { what: "overlay", disabled: "", make: World::original }.all();
        Case { what: "bind", disabled: "overlay", make: World::original }.all();
    }
}

#[test]
fn entries_of_lower_layers() {
    if may_mount("kills in lower layers") {
        Case { what: "lower layer", disabled: "mount,overlay", make: of_a_lower_layer }.all();
    }
}

#[test]
fn entries_of_volumes() {
    if may_mount("kills in volumes") {
        Case { what: "volume", disabled: "mount,overlay", make: of_a_volume }.all();
    }
}
