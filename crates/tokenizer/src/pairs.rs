//! Looks up what two neighbouring tokens merge to.

use crate::TokenId;
use crate::merge::Join;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// The merges of a byte-pair encoding: two ids to the rank and id of their join.
#[derive(Clone, Debug)]
pub(crate) struct Pairs(HashMap<u64, (u32, TokenId), Seeded>);

impl Pairs {
    pub(crate) fn with_capacity(num_merges: usize) -> Pairs {
        // A claim is not memory: the caller's merges are already here, so their number is honest.
        Pairs(HashMap::with_capacity_and_hasher(num_merges, Seeded::new()))
    }

    /// Adds a merge; of two for one pair the better (lower) rank stays.
    pub(crate) fn insert(&mut self, left: TokenId, right: TokenId, join: Join) {
        let entry = self.0.entry(key(left, right)).or_insert((join.rank, join.id));
        if join.rank < entry.0 {
            *entry = (join.rank, join.id);
        }
    }

    pub(crate) fn get(&self, left: TokenId, right: TokenId) -> Option<Join> {
        let &(rank, id) = self.0.get(&key(left, right))?;
        Some(Join { rank, id })
    }
}

fn key(left: TokenId, right: TokenId) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

// Folds a 64 x 64 bit product: a few instructions per look-up, where SipHash takes about 15 ns. The
// odd seed is drawn per table, so that a file cannot aim its merges at one slot.
#[derive(Clone, Copy, Debug)]
struct Seeded(u64);

impl Seeded {
    fn new() -> Seeded {
        Seeded(RandomState::new().hash_one(0_u8) | 1)
    }
}

impl BuildHasher for Seeded {
    type Hasher = Fold;

    fn build_hasher(&self) -> Fold {
        Fold { seed: self.0, hash: 0 }
    }
}

struct Fold {
    seed: u64,
    hash: u64,
}

impl Hasher for Fold {
    fn write_u64(&mut self, key: u64) {
        let product = u128::from(key ^ self.seed.rotate_left(32)) * u128::from(self.seed);
        self.hash = (product >> 64) as u64 ^ product as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.hash ^ u64::from(byte));
        }
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}
