//! How far a mount is: what was begun, and what has to be done or undone next.
//!
//! ```text
//!          done            done, the last step              unmount
//!  Doing(0) ───▶ Doing(n) ────────────────────▶ Mounted ─────────────┐
//!     │             │                              ▲                 │
//!     │ gave up, or was killed                     │ refused, and    │
//!     ▼             ▼               undone         │ nothing changed ▼
//!  Undoing(0) ◀── Undoing(n) ◀─────────────────────┴──────── Undoing(last)
//!     │ undone
//!     ▼
//!  forgotten
//! ```
//!
//! The state is on disk before what it names is begun. A killed mount is undone; a killed unmount is
//! finished; both are the same walk back. For that, undoing a step must be right whether the step was
//! not begun, half done, done, or half undone before, and no step is ever undone while a later one stands.

/// How an image's tree comes to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// An overlay over a tree that others use too.
    Overlay,
    /// A copy, shown at the path too.
    Bind,
    /// A copy, renamed into the place of what was there, which is renamed aside.
    Swap,
    /// A copy, whose entries are moved into the directory after those that were there were moved out.
    Entries,
}

/// A part of mounting. Unmounting undoes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The directory at the path is made, with what is missing above it.
    Target,
    /// The image's tree is made, out of sight.
    Tree,
    /// It is mounted.
    Attach,
    /// What is at the path is renamed aside.
    Aside,
    /// The tree is renamed into its place.
    Into,
    /// The entries at the path are moved aside.
    Empty,
    /// The tree's entries are moved into their place.
    Fill,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// This step is done.
    Do(Step),
    /// This step is undone.
    Undo(Step),
    /// Nothing: it is mounted.
    Rest,
    /// Nothing is left of it, and it is forgotten.
    Forget,
}

/// The journal of one mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    way: Way,
    state: State,
}

/// A number is that of a step, within the way's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Doing(usize),
    Mounted,
    Undoing(usize),
    Gone,
}

impl Way {
    /// All, the best first.
    pub const ALL: [Self; 4] = [Self::Overlay, Self::Bind, Self::Swap, Self::Entries];

    /// Its name in records and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Bind => "bind",
            Self::Swap => "swap",
            Self::Entries => "entries",
        }
    }

    /// The way with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.name() == name)
    }

    fn steps(self) -> &'static [Step] {
        match self {
            Self::Overlay | Self::Bind => &[Step::Target, Step::Tree, Step::Attach],
            Self::Swap => &[Step::Target, Step::Tree, Step::Aside, Step::Into],
            Self::Entries => &[Step::Target, Step::Tree, Step::Empty, Step::Fill],
        }
    }
}

impl Journal {
    /// A mount of which nothing was done.
    pub fn new(way: Way) -> Self {
        Self { way, state: State::Doing(0) }
    }

    /// How the tree comes to the path.
    pub fn way(&self) -> Way {
        self.way
    }

    /// What comes next.
    pub fn next(&self) -> Action {
        match self.state {
            State::Doing(at) => Action::Do(self.way.steps()[at]),
            State::Mounted => Action::Rest,
            State::Undoing(at) => Action::Undo(self.way.steps()[at]),
            State::Gone => Action::Forget,
        }
    }

    /// What came next is done, or undone.
    pub fn done(&mut self) {
        self.state = match self.state {
            State::Doing(at) if at + 1 < self.way.steps().len() => State::Doing(at + 1),
            State::Doing(_) | State::Mounted => State::Mounted,
            State::Undoing(at) => at.checked_sub(1).map_or(State::Gone, State::Undoing),
            State::Gone => State::Gone,
        }
    }

    /// What was being done failed, or whoever did it was killed.
    pub fn give_up(&mut self) {
        match self.state {
            State::Doing(at) => self.state = State::Undoing(at),
            State::Mounted | State::Undoing(_) | State::Gone => {}
        }
    }

    /// It shall go.
    pub fn unmount(&mut self) {
        match self.state {
            State::Mounted => self.state = State::Undoing(self.way.steps().len() - 1),
            State::Doing(_) | State::Undoing(_) | State::Gone => {}
        }
    }

    /// The last step could not be undone, and nothing was changed: it stays. False if more than that
    /// was undone.
    pub fn stay(&mut self) -> bool {
        let first = matches!(self.state, State::Undoing(at) if at + 1 == self.way.steps().len());
        if first {
            self.state = State::Mounted;
        }
        first
    }

    /// What is at the path cannot be renamed: its entries are moved. False if it is too late for that.
    pub fn by_entries(&mut self) -> bool {
        let turn = self.next() == Action::Do(Step::Aside);
        if turn {
            self.way = Way::Entries;
        }
        turn
    }

    /// The state in words that [`Journal::read`] understands.
    pub fn state(&self) -> (&'static str, usize) {
        match self.state {
            State::Doing(at) => ("doing", at),
            State::Mounted => ("mounted", 0),
            State::Undoing(at) => ("undoing", at),
            State::Gone => ("gone", 0),
        }
    }

    /// The journal that says so; `None` if none does.
    pub fn read(way: Way, state: &str, at: usize) -> Option<Self> {
        let known = at < way.steps().len();
        let state = match state {
            "doing" if known => State::Doing(at),
            "mounted" if at == 0 => State::Mounted,
            "undoing" if known => State::Undoing(at),
            "gone" if at == 0 => State::Gone,
            _ => return None,
        };
        Some(Self { way, state })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is so of each step, in a world where anything may be cut short.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Is {
        Not,
        Half,
        Done,
    }

    /// Everything done and undone in the order that the module comment promises.
    struct World {
        steps: Vec<(Step, Is)>,
        disk: Journal,
    }

    impl World {
        fn new(way: Way) -> Self {
            let steps = way.steps().iter().map(|step| (*step, Is::Not)).collect();
            Self { steps, disk: Journal::new(way) }
        }

        fn at(&self, wanted: Step) -> usize {
            self.steps.iter().position(|(step, _)| *step == wanted).unwrap()
        }

        /// Goes on until it rests, or for so many halves of an action.
        fn run(&mut self, mut halves: usize) {
            loop {
                let action = self.disk.next();
                let (step, ends) = match action {
                    Action::Do(step) => (step, Is::Done),
                    Action::Undo(step) => (step, Is::Not),
                    Action::Rest | Action::Forget => return,
                };
                let at = self.at(step);
                assert!(self.steps[..at].iter().all(|(_, is)| *is == Is::Done), "below {step:?}");
                assert!(self.steps[at + 1..].iter().all(|(_, is)| *is == Is::Not), "{step:?}");
                for is in [Is::Half, ends] {
                    if halves == 0 {
                        return;
                    }
                    halves -= 1;
                    self.steps[at].1 = is;
                }
                if halves == 0 {
                    return;
                }
                self.disk.done();
            }
        }

        fn all(&self, is: Is) -> bool {
            self.steps.iter().all(|(_, each)| *each == is)
        }
    }

    proptest! {
        #[test]
        fn after_any_kills_it_is_whole_or_gone(
            way in 0..4_usize,
            cuts in proptest::collection::vec(0..10_usize, 0..6),
        ) {
            let mut world = World::new(Way::ALL[way]);
            for cut in cuts {
                world.run(cut);
                let (state, at) = world.disk.state();
                world.disk = Journal::read(world.disk.way(), state, at).unwrap();
                world.disk.give_up();
            }
            world.run(usize::MAX);
            match world.disk.next() {
                Action::Rest => prop_assert!(world.all(Is::Done)),
                Action::Forget => prop_assert!(world.all(Is::Not)),
                Action::Do(_) | Action::Undo(_) => prop_assert!(false, "it came to no end"),
            }
        }

        #[test]
        fn a_killed_unmount_goes_on(way in 0..4_usize, cut in 0..10_usize) {
            let mut world = World::new(Way::ALL[way]);
            world.run(usize::MAX);
            world.disk.unmount();
            world.run(cut);
            world.disk.give_up();
            world.run(usize::MAX);
            prop_assert_eq!(world.disk.next(), Action::Forget);
            prop_assert!(world.all(Is::Not));
        }
    }

    #[test]
    fn only_the_first_refusal_lets_it_stay() {
        let mut journal = Journal::read(Way::Bind, "mounted", 0).unwrap();
        assert!(!journal.stay());
        journal.unmount();
        assert!(journal.stay());
        assert_eq!(journal.next(), Action::Rest);
        journal.unmount();
        journal.done();
        assert!(!journal.stay());
        assert_eq!(journal.next(), Action::Undo(Step::Tree));
    }

    #[test]
    fn what_cannot_be_renamed_is_moved_by_entries() {
        let mut journal = Journal::new(Way::Swap);
        assert!(!journal.by_entries());
        journal.done();
        journal.done();
        assert!(journal.by_entries());
        assert_eq!((journal.way(), journal.next()), (Way::Entries, Action::Do(Step::Empty)));
        assert!(!journal.by_entries());
    }

    #[test]
    fn nonsense_is_no_journal() {
        for (state, at) in [("doing", 3), ("undoing", 9), ("mounted", 1), ("", 0), ("Doing", 0)] {
            assert_eq!(Journal::read(Way::Bind, state, at), None, "{state} {at}");
        }
        assert_eq!(Way::named("bind"), Some(Way::Bind));
        assert_eq!(Way::named("other"), None);
    }
}
