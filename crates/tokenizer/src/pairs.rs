//! Looks up what two neighbouring tokens merge to.

use crate::TokenId;
use crate::hash::Seed;
use crate::merge::Join;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

/// The merges of a byte-pair encoding: two ids to the rank and id of their join.
#[derive(Clone, Debug)]
pub(crate) struct Pairs(HashMap<u64, (u32, TokenId), Seeded>);

impl Pairs {
    pub(crate) fn with_capacity(num_merges: usize) -> Pairs {
        // A claim is not memory: the caller's merges are already here, so their number is honest.
        Pairs(HashMap::with_capacity_and_hasher(num_merges, Seeded(Seed::new())))
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

#[derive(Clone, Copy, Debug)]
struct Seeded(Seed);

impl BuildHasher for Seeded {
    type Hasher = Hash;

    fn build_hasher(&self) -> Hash {
        Hash { seed: self.0, hash: 0 }
    }
}

struct Hash {
    seed: Seed,
    hash: u64,
}

impl Hasher for Hash {
    fn write_u64(&mut self, key: u64) {
        self.hash = self.seed.of_number(self.hash ^ key);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.hash = self.seed.of_bytes(bytes);
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}
