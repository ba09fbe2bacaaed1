//! Remembers, in little room, which slots were seen before.

use crate::key::Digest;

const NUM_BITS: usize = 1 << 18; // 32 KiB
const NUM_PROBES: usize = 4;

/// Slots until it starts anew: at eight bits for each, one unseen slot in forty seems seen.
const MAX_SLOTS: u32 = (NUM_BITS / 8) as u32;

/// A Bloom filter over slots. It forgets everything when it is full, which costs a popular entry
/// one more sight.
#[derive(Debug)]
pub(crate) struct Doorkeeper {
    bits: Box<[u64]>,
    num_slots: u32,
}

impl Doorkeeper {
    pub(crate) fn new() -> Self {
        Self { bits: vec![0; NUM_BITS / 64].into_boxed_slice(), num_slots: 0 }
    }

    /// Notes a slot. Whether it was seen before.
    pub(crate) fn see(&mut self, slot: &Digest) -> bool {
        if self.num_slots >= MAX_SLOTS {
            self.bits.fill(0);
            self.num_slots = 0;
        }
        let mut was_seen = true;
        // A slot is a digest: any of its bytes are as good as a hash of it.
        for probe in slot.as_chunks::<4>().0.iter().take(NUM_PROBES) {
            let bit = u32::from_le_bytes(*probe) as usize % NUM_BITS;
            let mask = 1 << (bit % 64);
            was_seen &= self.bits[bit / 64] & mask != 0;
            self.bits[bit / 64] |= mask;
        }
        self.num_slots += u32::from(!was_seen);
        was_seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_sight_is_known_and_a_first_one_rarely_taken_for_it() {
        let mut door = Doorkeeper::new();
        let slot = |n: u32| *blake3::hash(&n.to_le_bytes()).as_bytes();
        let num_wrong = (0..MAX_SLOTS).filter(|n| door.see(&slot(*n))).count();
        assert!(num_wrong < MAX_SLOTS as usize / 80, "{num_wrong} first sights seemed second ones");
        assert!(door.see(&slot(MAX_SLOTS - 1)));
        // Full: it starts anew and stays in its room.
        for n in MAX_SLOTS..MAX_SLOTS + 2_000 {
            door.see(&slot(n));
        }
        assert!(door.num_slots < MAX_SLOTS);
    }
}
