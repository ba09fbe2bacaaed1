//! Trims a conversation to a budget of tokens: the system prompt and the newest turns stay.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
};

use crate::request::{Message, Role};

/// Entries of [`TokenCounts::default`]: 4 MiB at most.
const DEFAULT_MAX_ENTRIES: usize = 65_536;

/// Remembers how many tokens messages have, for one tokenizer.
///
/// A conversation comes again with every turn; only its new messages are tokenized. Messages are known
/// by a keyed hash of 128 bits, so none of their text is kept.
#[derive(Debug)]
pub(crate) struct TokenCounts {
    key: [u8; blake3::KEY_LEN],
    max_entries: usize,
    generations: Mutex<Generations>,
}

/// Two halves: a full `young` becomes `old`, and what was `old` and not asked for is forgotten.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u128, usize>,
    old: HashMap<u128, usize>,
}

impl Default for TokenCounts {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_ENTRIES)
    }
}

impl TokenCounts {
    /// Remembers up to `max_entries` messages (at least 2), the latest that were asked for.
    pub(crate) fn new(max_entries: usize) -> Self {
        // The standard library's random keys, one for each process.
        let random = RandomState::new();
        let mut key = [0; blake3::KEY_LEN];
        for (i, part) in key.chunks_exact_mut(8).enumerate() {
            part.copy_from_slice(&random.hash_one(i).to_le_bytes());
        }
        Self { key, max_entries: max_entries.max(2), generations: Mutex::default() }
    }

    /// The message's number of tokens: as remembered, or what `tokenize` says. Other callers go on
    /// while it runs.
    pub(crate) fn count(
        &self,
        message: &Message,
        tokenize: impl FnOnce(&Message) -> usize,
    ) -> usize {
        let id = self.id(message);
        if let Some(num_tokens) = self.find(id) {
            return num_tokens;
        }
        let num_tokens = tokenize(message);
        self.generations().insert(id, num_tokens, self.max_entries / 2);
        num_tokens
    }

    #[cfg(test)]
    fn num_entries(&self) -> usize {
        let generations = self.generations();
        generations.young.len() + generations.old.len()
    }

    fn find(&self, id: u128) -> Option<usize> {
        let mut generations = self.generations();
        if let Some(&num_tokens) = generations.young.get(&id) {
            return Some(num_tokens);
        }
        let num_tokens = generations.old.remove(&id)?;
        generations.insert(id, num_tokens, self.max_entries / 2);
        Some(num_tokens)
    }

    fn id(&self, message: &Message) -> u128 {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        // No role's name begins with another's, and none holds a zero byte.
        hasher.update(message.role.name().as_bytes()).update(&[0]);
        hasher.update(message.content.as_bytes());
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        u128::from_le_bytes(id)
    }

    fn generations(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn insert(&mut self, id: u128, num_tokens: usize, max_young: usize) {
        if self.young.len() >= max_young {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, num_tokens);
    }
}

/// A conversation that was trimmed, or did not have to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trimmed {
    /// What stays, oldest first.
    pub(crate) messages: Vec<Message>,
    /// Messages that were left out.
    pub(crate) num_messages_left_out: usize,
    /// Their tokens, overhead included.
    pub(crate) num_tokens_left_out: usize,
    /// Tokens of what stays, overhead included; above the budget only if no more could go.
    pub(crate) num_tokens: usize,
}

/// Leaves out the oldest turns until the rest fits into `budget` tokens. `count` gives a message's
/// tokens, to which come `overhead_per_message` for the chat template.
///
/// The system messages at the beginning always stay, and so does the newest turn: the last user
/// message and all that follows it. A turn, a user message with all that answers it, goes as a whole;
/// so what stays begins with a user message. A conversation that fits is not changed.
/// Linear: `count` is asked once for each message.
pub(crate) fn trim(
    mut messages: Vec<Message>,
    mut count: impl FnMut(&Message) -> usize,
    overhead_per_message: usize,
    budget: usize,
) -> Trimmed {
    let tokens_of = |it| count(it).saturating_add(overhead_per_message);
    let num_tokens: Vec<usize> = messages.iter().map(tokens_of).collect();
    let num_system = messages.iter().take_while(|it| it.role == Role::System).count();
    let mut left = num_tokens.iter().fold(0usize, |sum, &it| sum.saturating_add(it));
    let (mut num_messages_left_out, mut num_tokens_left_out) = (0, 0);
    let mut of_turn = 0;
    for start in num_system + 1..messages.len() {
        if left <= budget {
            break;
        }
        of_turn += num_tokens[start - 1];
        if messages[start].role == Role::User {
            // A turn begins here; what stands before it goes.
            num_messages_left_out = start - num_system;
            num_tokens_left_out += of_turn;
            left -= of_turn;
            of_turn = 0;
        }
    }
    messages.drain(num_system..num_system + num_messages_left_out);
    Trimmed { messages, num_messages_left_out, num_tokens_left_out, num_tokens: left }
}

#[cfg(test)]
mod tests;
