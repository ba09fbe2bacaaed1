//! A step as a value, and the decisions that make it. Reads counts, changes nothing.

use std::{collections::HashMap, fmt};

use super::{Scheduler, Sequence, SequenceId};
use crate::{block_manager::BlockId, pace::Pace, queue::ClientId};

/// What the next step does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StepPlan {
    /// Running sequences that lose their blocks and wait again.
    pub(crate) preempted: Vec<SequenceId>,
    /// Waiting sequences that begin to run.
    pub(crate) admitted: Vec<Admission>,
    /// What is computed, decodes first.
    pub(crate) chunks: Vec<Chunk>,
    /// The client whose turn at reading prompts was the last one, if any was read.
    pub(crate) last_read: Option<ClientId>,
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
    /// Decides the next step, which is to take no longer than `pace` allows.
    pub(crate) fn plan(&self, pace: &Pace) -> StepPlan {
        let mut draft = Draft::new(self);
        draft.make_way();
        draft.decode();
        draft.prefill(pace);
        draft.plan
    }
}

/// A plan in the making, and what would be left if it were carried out.
#[derive(Clone)]
pub(super) struct Draft<'a> {
    pub(super) scheduler: &'a Scheduler,
    pub(super) plan: StepPlan,
    pub(super) num_free_blocks: usize,
    /// How many owners a block would lose.
    pub(super) released: HashMap<BlockId, u32>,
    /// Sequences that would run, of each client.
    pub(super) num_running_of: HashMap<ClientId, usize>,
    /// The waiting sequence that nobody may pass for good, while prompts are divided.
    pub(super) next_in_line: Option<(SequenceId, &'a Sequence)>,
    /// Blocks that were just taken back are for those who ran, not for newcomers.
    pub(super) has_run_out: bool,
}

impl<'a> Draft<'a> {
    fn new(scheduler: &'a Scheduler) -> Self {
        let mut num_running_of = HashMap::new();
        for sequence in scheduler.running.values() {
            *num_running_of.entry(sequence.client).or_default() += 1;
        }
        Self {
            scheduler,
            plan: StepPlan::default(),
            num_free_blocks: scheduler.blocks.num_free(),
            released: HashMap::new(),
            num_running_of,
            next_in_line: None,
            has_run_out: false,
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
    }

    pub(super) fn push_chunk(
        &mut self,
        id: SequenceId,
        start: usize,
        num_scheduled: usize,
        total: usize,
    ) {
        let is_last = start + num_scheduled == total;
        self.plan.chunks.push(Chunk { id, start, num_tokens: num_scheduled, is_last });
    }

    pub(super) fn is_preempted(&self, id: SequenceId) -> bool {
        self.plan.preempted.contains(&id)
    }

    pub(super) fn is_admitted(&self, id: SequenceId) -> bool {
        self.plan.admitted.iter().any(|it| it.id == id)
    }

    pub(super) fn num_blocks_for(&self, num_tokens: usize) -> usize {
        num_tokens.div_ceil(self.scheduler.config.block_size)
    }

    /// Sequences of a client that would run.
    pub(super) fn num_running_of(&self, client: ClientId) -> usize {
        self.num_running_of.get(&client).copied().unwrap_or_default()
    }
}
