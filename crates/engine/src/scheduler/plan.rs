//! A step as a value, and the decisions that make it. Reads counts, changes nothing.

use std::{collections::HashMap, fmt};

use super::{Scheduler, Sequence, SequenceId};
use crate::block_manager::BlockId;

/// What the next step does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StepPlan {
    /// Running sequences that lose their blocks and wait again.
    pub(crate) preempted: Vec<SequenceId>,
    /// Waiting sequences that begin to run.
    pub(crate) admitted: Vec<Admission>,
    /// What is computed, decodes first.
    pub(crate) chunks: Vec<Chunk>,
}

/// A waiting sequence that begins to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) id: SequenceId,
    /// The running sequence whose first blocks it shares, and how many.
    pub(crate) shared: Option<(SequenceId, usize)>,
}

/// Consecutive tokens of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) id: SequenceId,
    /// Position of the first.
    pub(crate) start: usize,
    pub(crate) num_tokens: usize,
    /// It ends at the sequence's last token: the next one is to be sampled.
    pub(crate) is_last: bool,
}

impl StepPlan {
    /// Whether there is nothing to compute.
    pub(crate) fn is_idle(&self) -> bool {
        self.chunks.is_empty()
    }
}

/// `preempt 3; admit 4; run 1 40..41!, 4 0..32`, where `!` marks a chunk after which a token is sampled.
impl fmt::Display for StepPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for id in &self.preempted {
            write!(f, "preempt {}; ", id.0)?;
        }
        for Admission { id, shared } in &self.admitted {
            write!(f, "admit {}", id.0)?;
            if let Some((sibling, num_blocks)) = shared {
                write!(f, " with {num_blocks} blocks of {}", sibling.0)?;
            }
            f.write_str("; ")?;
        }
        f.write_str(if self.is_idle() { "idle" } else { "run" })?;
        for (index, Chunk { id, start, num_tokens, is_last }) in self.chunks.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let mark = if *is_last { "!" } else { "" };
            write!(f, "{comma} {} {start}..{}{mark}", id.0, start + num_tokens)?;
        }
        Ok(())
    }
}

impl Scheduler {
    /// Decides the next step.
    pub(crate) fn plan(&self) -> StepPlan {
        let mut draft = Draft::new(self);
        draft.decode();
        draft.prefill();
        // Blocks that were just taken back are for those who ran, not for newcomers.
        if draft.plan.preempted.is_empty() {
            draft.admit();
        }
        draft.plan
    }
}

/// A plan in the making, and what would be left if it were carried out.
struct Draft<'a> {
    scheduler: &'a Scheduler,
    plan: StepPlan,
    num_free_blocks: usize,
    /// Tokens that prefills may still take.
    prefill_budget: usize,
    /// How many owners a block would lose.
    released: HashMap<BlockId, u32>,
}

impl<'a> Draft<'a> {
    fn new(scheduler: &'a Scheduler) -> Self {
        Self {
            scheduler,
            plan: StepPlan::default(),
            num_free_blocks: scheduler.blocks.num_free(),
            prefill_budget: 0,
            released: HashMap::new(),
        }
    }

    /// One token for each running sequence that lacks one.
    fn decode(&mut self) {
        for (&id, sequence) in &self.scheduler.running {
            if sequence.paused || sequence.num_missing() != 1 || self.is_preempted(id) {
                continue;
            }
            let num_blocks = self.num_blocks_for(sequence.num_tokens) - sequence.block_table.len();
            if self.make_room(id, num_blocks) {
                self.num_free_blocks -= num_blocks;
                self.push_chunk(id, sequence.num_computed, 1, sequence.num_tokens);
            }
        }
        let config = &self.scheduler.config;
        let num_decodes = self.plan.chunks.len();
        // However many decode, a prefill gets on by one token.
        self.prefill_budget = config.max_num_batched_tokens.saturating_sub(num_decodes).max(1);
        if num_decodes > 0 {
            let beside = config.max_prefill_tokens_beside_decodes.max(1);
            self.prefill_budget = self.prefill_budget.min(beside);
        }
    }

    /// Chunks for running sequences that lack more than one token. They have their blocks.
    fn prefill(&mut self) {
        for (&id, sequence) in &self.scheduler.running {
            if sequence.paused || sequence.num_missing() <= 1 || self.is_preempted(id) {
                continue;
            }
            if self.prefill_budget == 0 {
                break;
            }
            self.push_prefill(id, sequence.num_computed, sequence.num_tokens);
        }
    }

    /// First chunks for waiting sequences, strictly in order but for those that must wait anyway.
    fn admit(&mut self) {
        for (&id, sequence) in &self.scheduler.waiting {
            if self.prefill_budget == 0 {
                break;
            }
            if sequence.paused || self.sibling_is_prefilling(sequence) {
                continue;
            }
            let shared = self.shared_blocks(sequence);
            let num_shared = shared.map_or(0, |(_, num_blocks)| num_blocks);
            let num_blocks = self.num_blocks_for(sequence.num_tokens) - num_shared;
            if !self.make_place() || !self.make_spare_room(num_blocks) {
                break;
            }
            self.num_free_blocks -= num_blocks;
            self.plan.admitted.push(Admission { id, shared });
            let num_cached_tokens = num_shared * self.scheduler.config.block_size;
            self.push_prefill(id, num_cached_tokens, sequence.num_tokens);
        }
    }

    /// Preempts until `num_blocks` are free for a running sequence; false when it was its own turn.
    fn make_room(&mut self, id: SequenceId, num_blocks: usize) -> bool {
        while self.num_free_blocks < num_blocks {
            let victim = self.paused_victim().or_else(|| self.newest_victim());
            let victim = victim.expect("the sequence that asks could itself be preempted");
            self.preempt(victim);
            if victim == id {
                return false;
            }
        }
        true
    }

    /// Preempts paused sequences until one more may run; false when all places are in use.
    fn make_place(&mut self) -> bool {
        while self.num_running() >= self.scheduler.config.max_num_seqs.max(1) {
            let Some(victim) = self.paused_victim() else { return false };
            self.preempt(victim);
        }
        true
    }

    /// Preempts paused sequences until a newcomer's blocks are free, and one more for each that
    /// runs: a decode may need it before anything finishes.
    fn make_spare_room(&mut self, num_blocks: usize) -> bool {
        while self.num_free_blocks < num_blocks + self.num_active() {
            let Some(victim) = self.paused_victim() else { return false };
            self.preempt(victim);
        }
        true
    }

    /// The newest paused sequence that still has its blocks.
    fn paused_victim(&self) -> Option<SequenceId> {
        let running = self.scheduler.running.iter().rev();
        running.filter(|(_, it)| it.paused).map(|(&id, _)| id).find(|&id| !self.is_preempted(id))
    }

    /// The newest sequence that is not part of the plan yet.
    fn newest_victim(&self) -> Option<SequenceId> {
        let planned = |id| self.plan.chunks.iter().any(|chunk| chunk.id == id);
        let running = self.scheduler.running.keys().rev().copied();
        running.into_iter().find(|&id| !self.is_preempted(id) && !planned(id))
    }

    fn preempt(&mut self, id: SequenceId) {
        for &block in &self.scheduler.running[&id].block_table {
            let released = self.released.entry(block).or_default();
            *released += 1;
            if *released == self.scheduler.blocks.ref_count(block) {
                self.num_free_blocks += 1;
            }
        }
        self.plan.preempted.push(id);
    }

    /// A sequence waits while its older sibling computes the prompt that they share.
    fn sibling_is_prefilling(&self, sequence: &Sequence) -> bool {
        let Some(sibling) = sequence.sibling else { return false };
        let admitted = self.plan.admitted.iter().any(|it| it.id == sibling.id);
        let running = self.scheduler.running.get(&sibling.id);
        admitted || running.is_some_and(|it| it.num_computed < sibling.num_prompt_tokens)
    }

    /// The full blocks of the prompt that a running sibling has computed. The last token of the
    /// sequence is always left to compute: its logits are wanted.
    fn shared_blocks(&self, sequence: &Sequence) -> Option<(SequenceId, usize)> {
        let sibling = sequence.sibling?;
        let running = self.scheduler.running.get(&sibling.id)?;
        let in_common = sibling.num_prompt_tokens.min(running.num_computed);
        let num_blocks = in_common.min(sequence.num_tokens - 1) / self.scheduler.config.block_size;
        (num_blocks > 0 && !self.is_preempted(sibling.id)).then_some((sibling.id, num_blocks))
    }

    fn push_prefill(&mut self, id: SequenceId, start: usize, num_tokens: usize) {
        let num_scheduled = (num_tokens - start).min(self.prefill_budget);
        self.prefill_budget -= num_scheduled;
        self.push_chunk(id, start, num_scheduled, num_tokens);
    }

    fn push_chunk(&mut self, id: SequenceId, start: usize, num_scheduled: usize, total: usize) {
        let is_last = start + num_scheduled == total;
        self.plan.chunks.push(Chunk { id, start, num_tokens: num_scheduled, is_last });
    }

    fn is_preempted(&self, id: SequenceId) -> bool {
        self.plan.preempted.contains(&id)
    }

    fn num_running(&self) -> usize {
        self.scheduler.running.len() - self.plan.preempted.len() + self.plan.admitted.len()
    }

    /// Running sequences that are not paused: those that may ask for a block soon.
    fn num_active(&self) -> usize {
        let active = self.scheduler.running.iter().filter(|(_, it)| !it.paused);
        active.filter(|(id, _)| !self.is_preempted(**id)).count() + self.plan.admitted.len()
    }

    fn num_blocks_for(&self, num_tokens: usize) -> usize {
        num_tokens.div_ceil(self.scheduler.config.block_size)
    }
}
