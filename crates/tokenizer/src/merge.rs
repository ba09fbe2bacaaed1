//! Joins neighbouring symbols of a word, the best pair first, until no pair can be joined.
//!
//! Both kinds of byte-pair encoding run on it; they differ in which pair is best. A word of n symbols
//! takes O(n log n) steps whatever it holds: every join removes one symbol and offers at most two new
//! pairs to a heap. There is no recursion.

use crate::TokenId;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// The id of a symbol that no token stands for.
pub(crate) const NO_TOKEN: TokenId = TokenId::MAX;
const NONE: u32 = u32::MAX;

/// A run of a word's bytes that is one symbol so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol {
    pub(crate) start: u32,
    /// 0 once joined to its left neighbour.
    pub(crate) len: u32,
    pub(crate) id: TokenId,
    prev: u32,
    next: u32,
}

/// What joining two neighbours would give.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Join {
    /// Lower is joined earlier.
    pub(crate) rank: u32,
    pub(crate) id: TokenId,
}

#[derive(Clone, Copy, Debug)]
struct Offer {
    rank: u32,
    left: u32,
    right: u32,
    len: u32,
    id: TokenId,
}

impl Ord for Offer {
    // The heap gives the greatest first: the lowest rank, then the leftmost.
    fn cmp(&self, other: &Offer) -> Ordering {
        (other.rank, other.left).cmp(&(self.rank, self.left))
    }
}

impl PartialOrd for Offer {
    fn partial_cmp(&self, other: &Offer) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Offer {
    fn eq(&self, other: &Offer) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Offer {}

/// The buffers of one encoding, reused from word to word.
#[derive(Debug, Default)]
pub(crate) struct Merger {
    symbols: Vec<Symbol>,
    offers: BinaryHeap<Offer>,
    /// Offers taken so far: the work done, for tests that bound it.
    pub(crate) num_steps: u64,
}

impl Merger {
    /// Begins a word.
    pub(crate) fn clear(&mut self) {
        self.symbols.clear();
        self.offers.clear();
    }

    /// Appends a symbol to the word.
    pub(crate) fn push(&mut self, start: usize, len: usize, id: TokenId) {
        let index = self.symbols.len() as u32;
        self.symbols.push(Symbol {
            start: start as u32,
            len: len as u32,
            id,
            prev: index.wrapping_sub(1),
            next: index + 1,
        });
    }

    /// Joins symbols as `join` says and returns what is left of the word, left to right.
    pub(crate) fn run(
        &mut self,
        join: impl Fn(&Symbol, &Symbol) -> Option<Join>,
    ) -> impl Iterator<Item = &Symbol> {
        if let Some(last) = self.symbols.last_mut() {
            last.next = NONE;
        }
        for right in 1..self.symbols.len() {
            self.offer(right as u32 - 1, right as u32, &join);
        }
        while let Some(offer) = self.offers.pop() {
            self.num_steps += 1;
            let left = self.symbols[offer.left as usize];
            let right = self.symbols[offer.right as usize];
            // Either side may have been joined to something else since the offer was made.
            let stale = left.len == 0 || right.len == 0 || left.len + right.len != offer.len;
            if stale || left.next != offer.right {
                continue;
            }
            self.symbols[offer.right as usize].len = 0;
            if right.next != NONE {
                self.symbols[right.next as usize].prev = offer.left;
            }
            let joined = &mut self.symbols[offer.left as usize];
            joined.len = offer.len;
            joined.id = offer.id;
            joined.next = right.next;
            self.offer(left.prev, offer.left, &join);
            self.offer(offer.left, right.next, &join);
        }
        self.symbols.iter().filter(|symbol| symbol.len > 0)
    }

    fn offer(&mut self, left: u32, right: u32, join: &impl Fn(&Symbol, &Symbol) -> Option<Join>) {
        if left == NONE || right == NONE {
            return;
        }
        let (a, b) = (&self.symbols[left as usize], &self.symbols[right as usize]);
        if let Some(Join { rank, id }) = join(a, b) {
            self.offers.push(Offer { rank, left, right, len: a.len + b.len, id });
        }
    }
}
