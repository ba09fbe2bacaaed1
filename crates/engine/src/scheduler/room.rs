//! Who gets a place and blocks, and who loses them.

use super::{
    Sequence, SequenceId,
    plan::{Admission, Draft},
    turns_until,
};
use crate::queue::ClientId;

/// A client gives a place away when it has so many sequences more at work than who waits: with
/// one fewer it is not behind itself, so places do not go to and fro.
const LEAD: usize = 2;

impl<'a> Draft<'a> {
    /// Gives the next in line the place and blocks of a client that has more, if it lacks them.
    pub(super) fn make_way(&mut self) {
        let most = self.num_running_of.values().max().copied().unwrap_or_default();
        let Some((id, sequence)) = self.find_next_in_line() else { return };
        if self.num_running_of(sequence.client) + LEAD > most {
            return;
        }
        let mut trial = self.clone();
        while !trial.clone().make_place_for(id, sequence) {
            let Some(victim) = trial.victim_ahead_of(sequence.client) else { return };
            trial.preempt(victim);
        }
        *self = trial;
    }

    /// Admits a waiting sequence; false when there is no room for it. The next in line may send
    /// paused sequences away, and whoever passes it leaves it as much as it needs.
    pub(super) fn admit(&mut self, id: SequenceId, sequence: &Sequence) -> bool {
        if self.has_run_out || self.sibling_is_prefilling(sequence) {
            return false;
        }
        let Some((next, next_sequence)) = self.next_in_line else { return false };
        let has_room = if next == id {
            self.make_place_for(id, sequence)
        } else {
            let num_blocks =
                self.num_blocks_to_admit(sequence) + self.num_blocks_to_admit(next_sequence);
            self.num_running() + 2 <= self.scheduler.config.max_num_seqs
                && self.num_free_blocks > num_blocks + self.num_active()
        };
        if has_room {
            self.num_free_blocks -= self.num_blocks_to_admit(sequence);
            self.plan.admitted.push(Admission { id, shared: self.shared_blocks(sequence) });
            *self.num_running_of.entry(sequence.client).or_default() += 1;
            self.next_in_line = self.find_next_in_line();
        }
        has_room
    }

    /// Whether anybody who waits comes into question at all.
    pub(super) fn may_admit(&self) -> bool {
        let has_place = self.num_running() < self.scheduler.config.max_num_seqs.max(1);
        !self.has_run_out && (has_place || self.paused_victim().is_some())
    }

    /// The waiting sequence that nobody may pass for good: of the client that has fewest at work,
    /// among equals the one whose turn comes first, its oldest.
    pub(super) fn find_next_in_line(&self) -> Option<(SequenceId, &'a Sequence)> {
        let waiting = self.scheduler.waiting.iter().filter(|(id, sequence)| {
            !sequence.paused && !self.is_admitted(**id) && !self.sibling_is_prefilling(sequence)
        });
        let last = self.plan.admitted.last().map(|it| self.scheduler.waiting[&it.id].client);
        let last = last.unwrap_or(self.scheduler.last_admitted);
        let order =
            |id: SequenceId, client| (self.num_running_of(client), turns_until(client, last), id);
        waiting.map(|(&id, it)| (id, it)).min_by_key(|(id, it)| order(*id, it.client))
    }

    /// Preempts paused sequences until a waiting one has its place and its blocks, and one more block
    /// for each that runs: a decode may need it before anything finishes.
    fn make_place_for(&mut self, id: SequenceId, sequence: &Sequence) -> bool {
        debug_assert!(self.scheduler.waiting.contains_key(&id), "only waiting ones need a place");
        while self.num_running() >= self.scheduler.config.max_num_seqs.max(1)
            || self.num_free_blocks < self.num_blocks_to_admit(sequence) + self.num_active()
        {
            let Some(victim) = self.paused_victim() else { return false };
            self.preempt(victim);
        }
        true
    }

    /// Preempts until `num_blocks` are free for a running sequence; false when it was its own turn.
    pub(super) fn make_room(&mut self, id: SequenceId, num_blocks: usize) -> bool {
        while self.num_free_blocks < num_blocks {
            let victim = self.paused_victim().or_else(|| self.newest_victim());
            let victim = victim.expect("the sequence that asks could itself be preempted");
            self.preempt(victim);
            self.has_run_out = true;
            if victim == id {
                return false;
            }
        }
        true
    }

    /// The newest paused sequence that still has its blocks.
    fn paused_victim(&self) -> Option<SequenceId> {
        let running = self.scheduler.running.iter().rev();
        running.filter(|(_, it)| it.paused).map(|(&id, _)| id).find(|&id| !self.is_preempted(id))
    }

    /// Of the client with most sequences at work, the newest that is not part of the plan yet.
    fn newest_victim(&self) -> Option<SequenceId> {
        let planned = |id| self.plan.chunks.iter().any(|chunk| chunk.id == id);
        self.victims()
            .filter(|(id, _)| !planned(*id))
            .max_by_key(|(id, client)| (self.num_running_of(*client), *id))
            .map(|(id, _)| id)
    }

    /// The newest sequence of the client with most at work, if these are enough more than `client`
    /// has.
    fn victim_ahead_of(&self, client: ClientId) -> Option<SequenceId> {
        let (id, ahead) =
            self.victims().max_by_key(|(id, client)| (self.num_running_of(*client), *id))?;
        (self.num_running_of(ahead) >= self.num_running_of(client) + LEAD).then_some(id)
    }

    /// Running sequences that are not preempted yet.
    fn victims(&self) -> impl Iterator<Item = (SequenceId, ClientId)> + '_ {
        let running = self.scheduler.running.iter().map(|(&id, it)| (id, it.client));
        running.filter(|(id, _)| !self.is_preempted(*id))
    }

    fn preempt(&mut self, id: SequenceId) {
        let sequence = &self.scheduler.running[&id];
        for &block in &sequence.block_table {
            let released = self.released.entry(block).or_default();
            *released += 1;
            if *released == self.scheduler.blocks.ref_count(block) {
                self.num_free_blocks += 1;
            }
        }
        *self.num_running_of.entry(sequence.client).or_default() -= 1;
        self.plan.preempted.push(id);
    }

    /// A sequence waits while its older sibling computes the prompt that they share.
    pub(super) fn sibling_is_prefilling(&self, sequence: &Sequence) -> bool {
        let Some(sibling) = sequence.sibling else { return false };
        let running = self.scheduler.running.get(&sibling.id);
        self.is_admitted(sibling.id)
            || running.is_some_and(|it| it.num_computed < sibling.num_prompt_tokens)
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

    /// Tokens that a waiting sequence will find computed.
    pub(super) fn num_tokens_shared(&self, sequence: &Sequence) -> usize {
        let num_blocks = self.shared_blocks(sequence).map_or(0, |(_, num_blocks)| num_blocks);
        num_blocks * self.scheduler.config.block_size
    }

    fn num_blocks_to_admit(&self, sequence: &Sequence) -> usize {
        self.num_blocks_for(sequence.num_tokens - self.num_tokens_shared(sequence))
    }

    fn num_running(&self) -> usize {
        self.scheduler.running.len() - self.plan.preempted.len() + self.plan.admitted.len()
    }

    /// Running sequences that are not paused: those that may ask for a block soon.
    fn num_active(&self) -> usize {
        let active = self.scheduler.running.iter().filter(|(_, it)| !it.paused);
        active.filter(|(id, _)| !self.is_preempted(**id)).count() + self.plan.admitted.len()
    }
}
