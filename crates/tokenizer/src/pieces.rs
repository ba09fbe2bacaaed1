//! Holds every token's bytes in one place and finds a token by them.

use crate::hash::Seed;
use crate::{Error, TokenId};
use std::fmt;

/// What a token is for; decides who may produce it and whether it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A piece of text, made by the tokenizer's model.
    Text,
    /// A text that is always one token, wherever it stands (user-defined).
    Added,
    /// One byte of a character that has no piece.
    Byte,
    /// User-defined, but it marks structure (`<think>`, `<tool_call>`): templates and the model write
    /// it, users cannot; it is shown.
    Marker,
    /// Steers the model; never made from a user's text, never shown.
    Control,
    /// Never made, shown if the model makes it.
    Unused,
}

impl Kind {
    /// Whether a user-defined token that begins a sequence or ends a reply is to be kept from users.
    /// White space is not: they would have none.
    pub(crate) fn can_be_reserved(self, token: &str) -> bool {
        matches!(self, Kind::Added | Kind::Marker) && !token.trim().is_empty()
    }
}

/// A place in the table of pieces.
#[derive(Clone, Copy)]
struct Slot {
    id: TokenId,
    /// Bits of the hash that did not choose the place. They spare most looks at bytes of another
    /// piece, which are in no cache while a vocabulary is loaded.
    tag: u32,
}

const EMPTY: TokenId = TokenId::MAX;

/// Every token's bytes, and the way back from bytes to the token.
#[derive(Clone)]
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    kinds: Vec<Kind>,
    // Open addressing, at most half full.
    slots: Vec<Slot>,
    seed: Seed,
    max_len: usize,
}

impl Pieces {
    /// Room for exactly `num_tokens` tokens of `num_bytes` bytes together.
    pub(crate) fn new(num_tokens: usize, num_bytes: usize) -> Result<Pieces, Error> {
        const MAX: usize = 1 << 31;
        if num_tokens == 0 {
            return Err(Error::NoTokens);
        }
        if num_tokens > MAX || num_bytes > MAX {
            return Err(Error::TooLarge { num_tokens, num_bytes });
        }
        Ok(Pieces {
            bytes: Vec::with_capacity(num_bytes),
            ends: Vec::with_capacity(num_tokens),
            kinds: Vec::with_capacity(num_tokens),
            slots: vec![Slot { id: EMPTY, tag: 0 }; (num_tokens * 2).next_power_of_two()],
            seed: Seed::new(),
            max_len: 0,
        })
    }

    /// Adds the next token; it is not found by its bytes until [`Pieces::index`].
    pub(crate) fn push(&mut self, bytes: &[u8], kind: Kind) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len() as u32);
        self.kinds.push(kind);
    }

    /// Lets `id` be found by its bytes; gives back the token that already is, if there is one.
    pub(crate) fn index(&mut self, id: TokenId) -> Option<TokenId> {
        let (slot, tag) = match self.slot_of(self.get(id)) {
            Ok(other) => return Some(other),
            Err(free) => free,
        };
        self.slots[slot] = Slot { id, tag };
        self.max_len = self.max_len.max(self.get(id).len());
        None
    }

    /// The indexed token with exactly these bytes.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<TokenId> {
        if bytes.len() > self.max_len {
            return None;
        }
        self.slot_of(bytes).ok()
    }

    /// [`Pieces::find`] for several. Each step is taken for all of them before the next one, so that they
    /// wait for memory together and not one after the other.
    pub(crate) fn find_each<const N: usize>(&self, texts: [&[u8]; N]) -> [Option<TokenId>; N] {
        let mask = self.slots.len() - 1;
        let hashes = texts.map(|text| self.seed.of_bytes(text));
        let slots = hashes.map(|hash| self.slots[hash as usize & mask]);
        let pieces = slots.map(|slot| self.get(slot.id));
        std::array::from_fn(|i| {
            let is_it = slots[i].tag == (hashes[i] >> 32) as u32 && pieces[i] == texts[i];
            if is_it && slots[i].id != EMPTY { Some(slots[i].id) } else { self.find(texts[i]) }
        })
    }

    // The token at these bytes, or the free slot where it would be, and with which tag. Half the slots
    // are free, so it ends.
    fn slot_of(&self, bytes: &[u8]) -> Result<TokenId, (usize, u32)> {
        let mask = self.slots.len() - 1;
        let hash = self.seed.of_bytes(bytes);
        let (mut slot, tag) = (hash as usize & mask, (hash >> 32) as u32);
        loop {
            match self.slots[slot] {
                Slot { id: EMPTY, .. } => return Err((slot, tag)),
                it if it.tag == tag && self.get(it.id) == bytes => return Ok(it.id),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of `id`; none outside the vocabulary.
    pub(crate) fn get(&self, id: TokenId) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start as usize..end as usize]
    }

    /// The kind of `id`; [`Kind::Unused`] outside the vocabulary.
    pub(crate) fn kind(&self, id: TokenId) -> Kind {
        self.kinds.get(id as usize).copied().unwrap_or(Kind::Unused)
    }

    pub(crate) fn set_kind(&mut self, id: TokenId, kind: Kind) {
        self.kinds[id as usize] = kind;
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = TokenId> + use<> {
        0..self.ends.len() as TokenId
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").field("num_tokens", &self.len()).finish_non_exhaustive()
    }
}
