//! Remembers that an id ran, in a few bytes, long after everything else about it is gone.
//!
//! At least [`TOMBSTONES_KEPT`] are kept, and each at least [`TOMBSTONE_AGE`]; the table never
//! exceeds [`TOMBSTONES_MAX`]. An id is a keyed 64-bit hash here: the key is the process's own,
//! so a client cannot find two ids that look alike, and by chance a million tombstones refuse
//! one innocent id in 10^13.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, Hasher},
    time::{Duration, Instant},
};

use super::{
    ids::ExecId,
    limits::{TOMBSTONE_AGE, TOMBSTONES_KEPT, TOMBSTONES_MAX},
};

/// Hashes of forgotten ids, with the time each was forgotten.
pub struct Tombstones {
    key: Key,
    known: HashSet<u64, Identity>,
    /// In the order of forgetting; seconds since `epoch`.
    order: VecDeque<(u64, u32)>,
    epoch: Option<Instant>,
    lost: u64,
    /// See [`TOMBSTONES_KEPT`] and [`TOMBSTONES_MAX`].
    kept: usize,
    most: usize,
}

/// Keys the hash of ids.
struct Key([u8; 16]);

/// The set's own hash: its members are hashes already.
#[derive(Default, Clone)]
struct Identity;

struct IdentityHasher(u64);

impl Tombstones {
    /// None yet; `seed` keys the hash.
    pub fn new(seed: [u8; 16]) -> Self {
        Self {
            key: Key(seed),
            known: HashSet::default(),
            order: VecDeque::new(),
            epoch: None,
            lost: 0,
            kept: TOMBSTONES_KEPT,
            most: TOMBSTONES_MAX,
        }
    }

    /// Whether `id` is remembered.
    pub fn contains(&self, id: &ExecId) -> bool {
        self.known.contains(&self.key.hash(id))
    }

    /// Remembers `id`, and lets go of what may go.
    pub fn add(&mut self, id: &ExecId, now: Instant) {
        let age = now.saturating_duration_since(*self.epoch.get_or_insert(now));
        let seconds = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        let hash = self.key.hash(id);
        if self.known.insert(hash) {
            self.order.push_back((hash, seconds));
        }
        while let Some((hash, at)) = self.order.front().copied() {
            let old = Duration::from_secs(u64::from(seconds.saturating_sub(at))) > TOMBSTONE_AGE;
            let spare = old && self.order.len() > self.kept;
            if !spare && self.order.len() <= self.most {
                break;
            }
            self.lost += u64::from(!old);
            self.order.pop_front();
            self.known.remove(&hash);
        }
    }

    /// How many were let go before their age.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl Key {
    /// SHA-256 over key and id, cut to 64 bits: std's keyed hash cannot be given a key.
    fn hash(&self, id: &ExecId) -> u64 {
        use sha2::{Digest, Sha256};
        let digest = Sha256::new().chain_update(self.0).chain_update(id.as_str()).finalize();
        let mut short = [0; 8];
        short.copy_from_slice(&digest[..8]);
        u64::from_le_bytes(short)
    }
}

impl BuildHasher for Identity {
    type Hasher = IdentityHasher;

    fn build_hasher(&self) -> IdentityHasher {
        IdentityHasher(0)
    }
}

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> ExecId {
        ExecId::parse(&format!("e{n}")).unwrap()
    }

    #[test]
    fn the_newest_stay_whatever_their_age_and_the_young_stay_whatever_their_number() {
        let now = Instant::now();
        let mut stones = Tombstones { kept: 100, ..Tombstones::new([3; 16]) };
        for n in 0..110 {
            stones.add(&id(n), now);
        }
        assert!(stones.contains(&id(0)), "young: kept beyond the number");
        let later = now + TOMBSTONE_AGE + Duration::from_secs(2);
        stones.add(&id(100 + 10), later);
        assert!(!stones.contains(&id(0)), "old and beyond the number: gone");
        assert!(!stones.contains(&id(10)));
        assert!(stones.contains(&id(11)), "old, but among the newest");
        assert_eq!(stones.order.len(), 100);
        assert_eq!(stones.lost(), 0);
        assert!(!stones.contains(&id(100 + 11)));
    }

    #[test]
    fn the_table_is_bounded_and_says_what_it_lost() {
        let now = Instant::now();
        let mut stones = Tombstones { kept: 10, most: 50, ..Tombstones::new([3; 16]) };
        for n in 0..=50 {
            stones.add(&id(n), now);
        }
        assert_eq!(stones.order.len(), 50);
        assert_eq!(stones.lost(), 1);
    }
}
