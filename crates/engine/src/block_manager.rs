//! Keeps the books of the KV blocks: which are free, which belong to how many sequences.
//!
//! Pure bookkeeping of ids; the memory behind them belongs to the runner. A block is free or owned,
//! never both: that is asserted where a block is handed out and where it comes back.

use std::collections::VecDeque;

/// A KV block's index in the runner's memory.
pub(crate) type BlockId = u32;

/// The books of all blocks.
#[derive(Debug)]
pub(crate) struct BlockManager {
    /// Sequences that own each block; 0 means that it is in `free`.
    ref_counts: Vec<u32>,
    /// Taken from the front, given back at the end: what was freed last is reused last, which is
    /// the order a prefix cache wants to forget in.
    free: VecDeque<BlockId>,
}

impl BlockManager {
    pub(crate) fn new(num_blocks: usize) -> Self {
        let last = BlockId::try_from(num_blocks).expect("a runner has fewer than 2^32 blocks");
        Self { ref_counts: vec![0; num_blocks], free: (0..last).collect() }
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
        let block = self.free.pop_front()?;
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

    /// Takes a sequence's blocks back, the last first: the head of a prompt is the part that others
    /// may want again.
    pub(crate) fn release(&mut self, block_table: Vec<BlockId>) {
        for block in block_table.into_iter().rev() {
            let count = &mut self.ref_counts[block as usize];
            assert!(*count > 0, "block {block} came back and had no owner");
            *count -= 1;
            if *count == 0 {
                self.free.push_back(block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

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
