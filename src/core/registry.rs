//! Which ids are taken, by what request, and which ran and were forgotten.
//!
//! A start has one of five answers: *new*, *same* (the request is the one that this id stands
//! for), *conflict* (another request has the id), *forgotten* (it ran, and its output is gone) and
//! *full*. Finished execs are forgotten oldest first, by number and by age; running ones never.
//! A forgotten id leaves a tombstone, so that it never runs a second time.
//!
//! Invariants: an id that was admitted is found or forgotten, never new again, unless it was
//! withdrawn because nothing ran; `live` is the number of entries that have not finished; at
//! most [`Bounds::remembered`] finished ones are kept.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use super::{ids::ExecId, tombstones::Tombstones};

/// What a request asked for, as a hash of all of it. Two requests with one fingerprint are one.
pub type Fingerprint = [u8; 32];

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Execs that have not finished.
    pub live: usize,
    /// Finished execs.
    pub remembered: usize,
    /// How long a finished exec is kept.
    pub remembered_for: Duration,
}

/// The table of execs; `E` is a handle to one.
pub struct Registry<E> {
    bounds: Bounds,
    entries: HashMap<ExecId, Entry<E>>,
    /// Finished execs in the order in which they finished.
    finished: BTreeMap<u64, (Instant, ExecId)>,
    finishes: u64,
    tombstones: Tombstones,
}

struct Entry<E> {
    fingerprint: Fingerprint,
    exec: E,
    /// Its place in `finished`.
    finish: Option<u64>,
}

/// The answer to a start.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission<E> {
    /// It is this caller's to start; the id is taken from now on.
    New(E),
    /// It was asked for before.
    Same(E),
    /// The id stands for another request.
    Conflict,
    /// It ran, and was forgotten.
    Forgotten,
    /// Too many are live.
    Full {
        /// How many are allowed.
        limit: usize,
    },
}

/// The answer to a request to forget an exec.
#[derive(Debug, PartialEq, Eq)]
pub enum Forgetting<E> {
    /// It is forgotten from now on.
    Gone(E),
    /// It was forgotten before.
    Before,
    /// It has not finished.
    Live,
    /// Nothing of that id ran.
    Unknown,
}

impl<E: Clone> Registry<E> {
    /// An empty table. `seed` keys the tombstones' hashes; take it from the kernel.
    pub fn new(bounds: Bounds, seed: [u8; 16]) -> Self {
        Self {
            bounds,
            entries: HashMap::new(),
            finished: BTreeMap::new(),
            finishes: 0,
            tombstones: Tombstones::new(seed),
        }
    }

    /// Judges a start; `make` is called if it is new.
    pub fn admit(
        &mut self,
        id: &ExecId,
        fingerprint: Fingerprint,
        make: impl FnOnce() -> E,
    ) -> Admission<E> {
        if let Some(entry) = self.entries.get(id) {
            let same = entry.fingerprint == fingerprint;
            return if same { Admission::Same(entry.exec.clone()) } else { Admission::Conflict };
        }
        if self.tombstones.contains(id) {
            return Admission::Forgotten;
        }
        if self.live() >= self.bounds.live {
            return Admission::Full { limit: self.bounds.live };
        }
        let exec = make();
        let entry = Entry { fingerprint, exec: exec.clone(), finish: None };
        self.entries.insert(id.clone(), entry);
        Admission::New(exec)
    }

    /// The exec of that id, live or finished.
    pub fn find(&self, id: &ExecId) -> Option<E> {
        self.entries.get(id).map(|entry| entry.exec.clone())
    }

    /// Gives an id back: its start failed for want of something that may come back, and nothing
    /// ran.
    pub fn withdraw(&mut self, id: &ExecId) {
        if let Some(entry) = self.entries.remove(id)
            && let Some(place) = entry.finish
        {
            self.finished.remove(&place);
        }
    }

    /// Marks an exec as one that may be forgotten, and forgets those that are too many.
    pub fn finish(&mut self, id: &ExecId, now: Instant) -> Vec<E> {
        if let Some(entry) = self.entries.get_mut(id)
            && entry.finish.is_none()
        {
            entry.finish = Some(self.finishes);
            self.finished.insert(self.finishes, (now, id.clone()));
            self.finishes += 1;
        }
        self.expire(now)
    }

    /// Forgets one that has finished, whatever its age.
    pub fn forget(&mut self, id: &ExecId, now: Instant) -> Forgetting<E> {
        match self.entries.get(id).map(|entry| entry.finish) {
            Some(Some(place)) => {
                self.finished.remove(&place);
                self.bury(id, now).map_or(Forgetting::Unknown, Forgetting::Gone)
            }
            Some(None) => Forgetting::Live,
            None if self.tombstones.contains(id) => Forgetting::Before,
            None => Forgetting::Unknown,
        }
    }

    /// Forgets finished execs that are too many or too old; returns them, to be let go outside
    /// of any lock.
    pub fn expire(&mut self, now: Instant) -> Vec<E> {
        let mut gone = Vec::new();
        while let Some((_, (at, _))) = self.finished.first_key_value() {
            let too_many = self.finished.len() > self.bounds.remembered;
            if !too_many && now.saturating_duration_since(*at) < self.bounds.remembered_for {
                break;
            }
            let Some((_, (_, id))) = self.finished.pop_first() else { break };
            gone.extend(self.bury(&id, now));
        }
        gone
    }

    /// When [`Registry::expire`] has something to do next, by age.
    pub fn next_expiry(&self) -> Option<Instant> {
        let (_, (at, _)) = self.finished.first_key_value()?;
        at.checked_add(self.bounds.remembered_for)
    }

    /// Every exec, live or finished, in no order.
    pub fn execs(&self) -> Vec<E> {
        self.entries.values().map(|entry| entry.exec.clone()).collect()
    }

    /// Every exec that has not finished.
    pub fn live_execs(&self) -> Vec<E> {
        let live = self.entries.values().filter(|entry| entry.finish.is_none());
        live.map(|entry| entry.exec.clone()).collect()
    }

    /// How many have not finished.
    pub fn live(&self) -> usize {
        self.entries.len() - self.finished.len()
    }

    /// How many have finished and are remembered.
    pub fn remembered(&self) -> usize {
        self.finished.len()
    }

    /// Ids younger than the promised age that lost their tombstone because there were too many.
    pub fn tombstones_lost(&self) -> u64 {
        self.tombstones.lost()
    }

    fn bury(&mut self, id: &ExecId, now: Instant) -> Option<E> {
        let entry = self.entries.remove(id)?;
        self.tombstones.add(id, now);
        Some(entry.exec)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn bounds(live: usize, remembered: usize) -> Bounds {
        Bounds { live, remembered, remembered_for: Duration::from_secs(60) }
    }

    fn id(n: u8) -> ExecId {
        ExecId::parse(&format!("e{n}")).unwrap()
    }

    #[test]
    fn the_five_answers() {
        let now = Instant::now();
        let mut registry = Registry::new(bounds(2, 1), [7; 16]);
        assert_eq!(registry.admit(&id(1), [1; 32], || 1), Admission::New(1));
        assert_eq!(registry.admit(&id(1), [1; 32], || 2), Admission::Same(1));
        assert_eq!(registry.admit(&id(1), [2; 32], || 2), Admission::Conflict);
        assert_eq!(registry.admit(&id(2), [2; 32], || 2), Admission::New(2));
        assert_eq!(registry.admit(&id(3), [3; 32], || 3), Admission::Full { limit: 2 });
        assert!(registry.finish(&id(1), now).is_empty());
        assert_eq!(registry.finish(&id(2), now), [1]);
        assert_eq!(registry.admit(&id(1), [1; 32], || 9), Admission::Forgotten);
        assert_eq!(registry.find(&id(1)), None);
        assert_eq!(registry.find(&id(2)), Some(2));
    }

    #[test]
    fn age_forgets_and_a_withdrawn_id_is_new_again() {
        let now = Instant::now();
        let mut registry = Registry::new(bounds(9, 9), [7; 16]);
        registry.admit(&id(1), [1; 32], || 1);
        registry.finish(&id(1), now);
        assert_eq!(registry.next_expiry(), Some(now + Duration::from_secs(60)));
        assert!(registry.expire(now + Duration::from_secs(59)).is_empty());
        assert_eq!(registry.expire(now + Duration::from_secs(60)), [1]);
        registry.admit(&id(2), [1; 32], || 2);
        registry.withdraw(&id(2));
        assert_eq!(registry.admit(&id(2), [1; 32], || 3), Admission::New(3));
    }

    #[test]
    fn only_what_has_finished_is_forgotten_on_request() {
        let now = Instant::now();
        let mut registry = Registry::new(bounds(9, 9), [7; 16]);
        assert_eq!(registry.forget(&id(1), now), Forgetting::Unknown);
        registry.admit(&id(1), [1; 32], || 1);
        assert_eq!(registry.forget(&id(1), now), Forgetting::Live);
        registry.finish(&id(1), now);
        assert_eq!(registry.forget(&id(1), now), Forgetting::Gone(1));
        assert_eq!(registry.forget(&id(1), now), Forgetting::Before);
        assert_eq!(registry.admit(&id(1), [1; 32], || 2), Admission::Forgotten);
        assert_eq!((registry.live(), registry.next_expiry()), (0, None));
    }

    proptest! {
        /// No sequence of events runs an id twice, forgets a live exec or keeps too many.
        #[test]
        fn an_id_is_new_once(events in prop::collection::vec((0u8..4, 0u8..12, 0u64..40), 0..200)) {
            let mut registry = Registry::new(bounds(4, 3), [1; 16]);
            let (mut ran, mut live) = (HashSet::new(), HashSet::new());
            let mut now = Instant::now();
            for (event, n, seconds) in events {
                now += Duration::from_secs(seconds);
                if event == 0 {
                    if let Admission::New(exec) = registry.admit(&id(n), [n; 32], || n) {
                        prop_assert_eq!(exec, n);
                        prop_assert!(ran.insert(n), "{} ran twice", n);
                        live.insert(n);
                    }
                } else if event == 1 {
                    live.remove(&n);
                    registry.finish(&id(n), now);
                } else if event == 2 {
                    let gone = matches!(registry.forget(&id(n), now), Forgetting::Gone(_));
                    prop_assert!(!gone || !live.contains(&n));
                } else {
                    registry.expire(now);
                }
                prop_assert_eq!(registry.live(), live.len());
                prop_assert!(live.len() <= 4);
                prop_assert!(registry.finished.len() <= 3);
                for n in &live {
                    prop_assert_eq!(registry.find(&id(*n)), Some(*n));
                }
                for n in &ran {
                    let again = registry.admit(&id(*n), [*n; 32], || u8::MAX);
                    prop_assert!(matches!(again, Admission::Same(_) | Admission::Forgotten));
                }
            }
        }
    }
}
