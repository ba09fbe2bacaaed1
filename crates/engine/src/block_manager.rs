//! Keeps the books of the KV blocks: which are free, which belong to how many sequences.
//!
//! Pure bookkeeping of ids; the memory behind them belongs to the runner. A block is free or owned,
//! never both: that is asserted where a block is handed out and where it comes back.

/// A KV block's index in the runner's memory.
pub(crate) type BlockId = u32;

/// The books of all blocks.
#[derive(Debug)]
pub(crate) struct BlockManager {
    /// Sequences that own each block; 0 means that it is in `free`.
    ref_counts: Vec<u32>,
    /// A stack: what was freed last is reused first. So a block that nobody has used yet is handed
    /// out only while all others are in use, and memory that the system gives on first touch grows
    /// to what was needed at once, however many sequences come and go.
    free: Vec<BlockId>,
}

impl BlockManager {
    pub(crate) fn new(num_blocks: usize) -> Self {
        let last = BlockId::try_from(num_blocks).expect("a runner has fewer than 2^32 blocks");
        Self { ref_counts: vec![0; num_blocks], free: (0..last).rev().collect() }
    }

    pub(crate) fn num_blocks(&self) -> usize {
        self.ref_counts.len()
    }

    pub(crate) fn num_free(&self) -> usize {
        self.free.len()
    }

    /// How many sequences own a block.
    pub(crate) fn ref_count(&self, block: BlockId) -> u32 {
        self.ref_counts[block as usize]
    }

    /// Hands out a free block; `None` when there is none.
    pub(crate) fn allocate(&mut self) -> Option<BlockId> {
        let block = self.free.pop()?;
        let count = &mut self.ref_counts[block as usize];
        assert!(*count == 0, "block {block} was free and had {count} owners");
        *count = 1;
        Some(block)
    }

    /// Makes one more sequence own a block, which it must only read.
    pub(crate) fn share(&mut self, block: BlockId) {
        let count = &mut self.ref_counts[block as usize];
        assert!(*count > 0, "block {block} was shared and had no owner");
        *count += 1;
    }

    /// Takes a sequence's blocks back, the last first, so that the next table is like this one.
    pub(crate) fn release(&mut self, block_table: Vec<BlockId>) {
        for block in block_table.into_iter().rev() {
            let count = &mut self.ref_counts[block as usize];
            assert!(*count > 0, "block {block} came back and had no owner");
            *count -= 1;
            if *count == 0 {
                self.free.push(block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{HashMap, HashSet, VecDeque},
        iter,
    };

    use super::*;
    use crate::tests::Chance;

    #[test]
    fn a_block_is_free_or_owned_whatever_the_order_of_calls() {
        for seed in 0..50 {
            let mut chance = Chance::new(seed);
            let num_blocks = 1 + chance.below(20);
            let mut manager = BlockManager::new(num_blocks);
            // The model: every table that is out, and from them how many owners a block has.
            let mut tables: Vec<Vec<BlockId>> = Vec::new();
            for _ in 0..500 {
                match chance.below(3) {
                    0 => tables.extend(manager.allocate().map(|it| vec![it])),
                    1 if !tables.is_empty() => {
                        let table = tables[chance.below(tables.len())].clone();
                        table.iter().for_each(|&it| manager.share(it));
                        tables.push(table);
                    }
                    _ if !tables.is_empty() => {
                        manager.release(tables.swap_remove(chance.below(tables.len())));
                    }
                    _ => {}
                }
                let mut owners: HashMap<BlockId, u32> = HashMap::new();
                tables.iter().flatten().for_each(|&it| *owners.entry(it).or_default() += 1);
                assert_eq!(manager.num_free(), num_blocks - owners.len(), "seed {seed}");
                for (&block, &count) in &owners {
                    assert_eq!(manager.ref_count(block), count, "seed {seed} block {block}");
                    assert!(!manager.free.contains(&block), "seed {seed} block {block}");
                }
            }
        }
    }

    /// Tables of these lengths come, each `num_at_once` after the one before it that has left.
    fn num_touched(lengths: impl Iterator<Item = usize>, num_at_once: usize) -> usize {
        let mut manager = BlockManager::new(1000);
        let (mut live, mut touched) = (VecDeque::new(), HashSet::new());
        for length in lengths {
            if live.len() == num_at_once {
                manager.release(live.pop_front().expect("one is live"));
            }
            let table: Vec<_> = (0..length).map(|_| manager.allocate().unwrap()).collect();
            touched.extend(table.iter().copied());
            live.push_back(table);
        }
        touched.len()
    }

    #[test]
    fn no_more_blocks_are_ever_touched_than_were_in_use_at_once() {
        assert_eq!(num_touched(iter::repeat_n(3, 500), 1), 3);
        assert_eq!(num_touched(iter::repeat_n(3, 500), 8), 24);
        assert_eq!(num_touched([5, 1, 9, 2, 7, 1, 1, 4].into_iter().cycle().take(500), 1), 9);
        for seed in 0..20 {
            let mut chance = Chance::new(seed);
            let (mut manager, mut peak) = (BlockManager::new(1000), 0);
            let (mut live, mut touched) = (Vec::new(), HashSet::new());
            for _ in 0..2000 {
                if chance.once_in(2) || live.len() > 20 {
                    if !live.is_empty() {
                        manager.release(live.swap_remove(chance.below(live.len())));
                    }
                    continue;
                }
                let table: Vec<_> =
                    (0..1 + chance.below(30)).map(|_| manager.allocate().unwrap()).collect();
                touched.extend(table.iter().copied());
                live.push(table);
                peak = peak.max(1000 - manager.num_free());
            }
            assert_eq!(touched.len(), peak, "seed {seed}");
        }
    }

    #[test]
    #[should_panic(expected = "block 0 came back and had no owner")]
    fn a_block_cannot_come_back_twice() {
        let mut manager = BlockManager::new(1);
        let block = manager.allocate().unwrap();
        manager.release(vec![block]);
        manager.release(vec![block]);
    }

    #[test]
    #[should_panic(expected = "block 0 was shared and had no owner")]
    fn a_free_block_cannot_be_shared() {
        BlockManager::new(1).share(0);
    }
}
