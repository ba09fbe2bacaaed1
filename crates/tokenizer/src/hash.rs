//! Hashes pieces and pairs of tokens, seeded per table so that no file can aim at one slot.
//!
//! Folding a 64 x 64 bit product takes a few instructions where SipHash takes about 15 ns, and loading
//! a vocabulary asks for a million hashes.

use std::hash::{BuildHasher, RandomState};

/// The secret of one table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u64, u64);

impl Seed {
    pub(crate) fn new() -> Seed {
        let random = RandomState::new();
        Seed(random.hash_one(0_u8) | 1, random.hash_one(1_u8))
    }

    pub(crate) fn of_number(self, number: u64) -> u64 {
        let product = u128::from(number ^ self.1) * u128::from(self.0);
        (product >> 64) as u64 ^ product as u64
    }

    pub(crate) fn of_bytes(self, bytes: &[u8]) -> u64 {
        let (chunks, rest) = bytes.as_chunks::<8>();
        let mut hash = bytes.len() as u64;
        for chunk in chunks {
            hash = self.of_number(hash ^ u64::from_le_bytes(*chunk)).rotate_left(23);
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.of_number(hash ^ u64::from_le_bytes(last))
    }
}
