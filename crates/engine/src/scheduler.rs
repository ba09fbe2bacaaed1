//! Chooses which sequences run in the next step, and on how many tokens.
//!
//! There are no phases: every sequence has tokens that are computed and tokens that are not, and a
//! step lets the first chase the second. A decode is a chase of one token, a prefill one of many; a
//! preempted sequence has lost its blocks and chases from the start, the tokens it has generated
//! among those of its prompt.
//!
//! One step, in order:
//! 1. a client that waits while another has at least two sequences more at work gets the place of
//!    the newest of these, which is preempted;
//! 2. every running sequence that lacks one token gets it, oldest first. When blocks run out, the
//!    newest sequence is preempted, of the client that has most; a paused one before any other;
//! 3. half of what is left goes to the prefills that lack fewest tokens, so that a short prompt
//!    passes long ones, and the rest to the clients in turn, the oldest prefill of each first, so
//!    that nobody is passed for ever. A waiting sequence is admitted when its turn comes and a place
//!    and blocks for all its tokens are there, and one spare block for each sequence that runs. Who
//!    is next in line, first the client with fewest sequences at work, keeps a place and blocks:
//!    nobody passes on what it needs.
//!
//! Age is the order of arrival and preemption never changes it. So a client's oldest sequence is the
//! last of its own to lose its blocks, the oldest of all is the last one, and it always gets on.

mod plan;
mod prefill;
mod room;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub(crate) use self::plan::{Chunk, StepPlan};
use crate::{
    block_manager::{BlockId, BlockManager},
    queue::ClientId,
};

/// A sequence's number; smaller is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SequenceId(pub(crate) u64);

/// The sizes that steer a plan. See [`crate::EngineConfig`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct SchedulerConfig {
    pub(crate) max_num_seqs: usize,
    pub(crate) max_num_batched_tokens: usize,
    pub(crate) num_blocks: usize,
    pub(crate) block_size: usize,
}

/// All sequences that are not finished, and the blocks.
#[derive(Debug)]
pub(crate) struct Scheduler {
    config: SchedulerConfig,
    blocks: BlockManager,
    waiting: BTreeMap<SequenceId, Sequence>,
    running: BTreeMap<SequenceId, Sequence>,
    /// The client whose prompt was read last in its turn; the next one in the order of numbers is next.
    last_read: ClientId,
    /// The client that was admitted last.
    last_admitted: ClientId,
}

/// What the scheduler knows of a sequence: counts and blocks, no token.
#[derive(Debug)]
struct Sequence {
    client: ClientId,
    /// Tokens of prompt and completion so far.
    num_tokens: usize,
    /// Of these, the ones whose keys and values are in the blocks, or will be after this step.
    num_computed: usize,
    block_table: Vec<BlockId>,
    /// Not to be scheduled: its reader is slow.
    paused: bool,
    /// The sequence with the same prompt whose full blocks it may share, and the prompt's length.
    sibling: Option<Sibling>,
}

/// Another sequence of the same request, and how much they have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sibling {
    pub(crate) id: SequenceId,
    pub(crate) num_prompt_tokens: usize,
}

impl Sequence {
    fn num_missing(&self) -> usize {
        self.num_tokens - self.num_computed
    }
}

impl Scheduler {
    pub(crate) fn new(config: SchedulerConfig) -> Self {
        Self {
            config,
            blocks: BlockManager::new(config.num_blocks),
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            last_read: ClientId(u64::MAX),
            last_admitted: ClientId(u64::MAX),
        }
    }

    /// Puts a sequence at its place among the waiting. It must fit into all blocks at its longest.
    pub(crate) fn add(
        &mut self,
        id: SequenceId,
        client: ClientId,
        num_tokens: usize,
        sibling: Option<Sibling>,
    ) {
        assert!(num_tokens > 0, "sequence {} is empty", id.0);
        let sequence = Sequence {
            client,
            num_tokens,
            num_computed: 0,
            block_table: vec![],
            paused: false,
            sibling,
        };
        assert!(!self.running.contains_key(&id), "sequence {} is running", id.0);
        assert!(self.waiting.insert(id, sequence).is_none(), "sequence {} waits already", id.0);
    }

    /// Carries out a plan: takes blocks back, hands blocks out, counts the chunks as computed.
    pub(crate) fn apply(&mut self, plan: &StepPlan) {
        for &id in &plan.preempted {
            let mut sequence = self.running.remove(&id).expect("a preempted sequence was running");
            self.blocks.release(std::mem::take(&mut sequence.block_table));
            sequence.num_computed = 0;
            self.waiting.insert(id, sequence);
        }
        for admitted in &plan.admitted {
            let mut sequence = self.waiting.remove(&admitted.id).expect("an admitted one waited");
            if let Some((sibling, num_shared)) = admitted.shared {
                let table = &self.running[&sibling].block_table[..num_shared];
                table.iter().for_each(|&block| self.blocks.share(block));
                sequence.block_table.extend_from_slice(table);
                sequence.num_computed = num_shared * self.config.block_size;
            }
            self.last_admitted = sequence.client;
            let num_blocks = sequence.num_tokens.div_ceil(self.config.block_size);
            grow(&mut self.blocks, &mut sequence.block_table, num_blocks);
            self.running.insert(admitted.id, sequence);
        }
        self.last_read = plan.last_read.unwrap_or(self.last_read);
        for chunk in &plan.chunks {
            let sequence = self.running.get_mut(&chunk.id).expect("a chunk's sequence runs");
            assert_eq!(sequence.num_computed, chunk.start, "a chunk starts where the last ended");
            sequence.num_computed += chunk.num_tokens;
            let num_blocks = sequence.num_computed.div_ceil(self.config.block_size);
            grow(&mut self.blocks, &mut sequence.block_table, num_blocks);
        }
    }

    /// A token was generated for a sequence.
    pub(crate) fn append_token(&mut self, id: SequenceId) {
        self.running.get_mut(&id).expect("only running sequences get tokens").num_tokens += 1;
    }

    /// Forgets a sequence, wherever it is, and takes its blocks back.
    pub(crate) fn finish(&mut self, id: SequenceId) {
        let sequence = self.running.remove(&id).or_else(|| self.waiting.remove(&id));
        self.blocks.release(sequence.expect("a sequence ends once").block_table);
    }

    /// Leaves a sequence out of the plans, or takes it in again. While paused it keeps its blocks
    /// until somebody else needs them.
    pub(crate) fn set_paused(&mut self, id: SequenceId, paused: bool) {
        let sequence = self.running.get_mut(&id).or_else(|| self.waiting.get_mut(&id));
        sequence.expect("only live sequences pause").paused = paused;
    }

    /// A running sequence's blocks, in order of position.
    pub(crate) fn block_table(&self, id: SequenceId) -> &[BlockId] {
        &self.running[&id].block_table
    }

    pub(crate) fn num_running(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn is_waiting(&self, id: SequenceId) -> bool {
        self.waiting.contains_key(&id)
    }

    pub(crate) fn num_blocks_used(&self) -> usize {
        self.blocks.num_blocks() - self.blocks.num_free()
    }
}

/// How many clients come before this one, at most, when the `last` one has just had its turn.
fn turns_until(client: ClientId, last: ClientId) -> u64 {
    client.0.wrapping_sub(last.0).wrapping_sub(1)
}

/// Hands out blocks until a table has `num_blocks`.
fn grow(blocks: &mut BlockManager, block_table: &mut Vec<BlockId>, num_blocks: usize) {
    while block_table.len() < num_blocks {
        block_table.push(blocks.allocate().expect("the plan counted the free blocks"));
    }
}
