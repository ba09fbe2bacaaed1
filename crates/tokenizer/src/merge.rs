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

// A pair that can be joined. Symbols only ever grow, so a pair is known by where it begins and by the
// bytes it covers: what covers them now is what covered them when it was offered.
#[derive(Clone, Copy, Debug)]
struct Offer {
    // The rank, then the place of the left symbol: lower goes first.
    order: u64,
    len: u32,
    id: TokenId,
}

impl Ord for Offer {
    // The heap gives the greatest first.
    fn cmp(&self, other: &Offer) -> Ordering {
        other.order.cmp(&self.order)
    }
}

impl PartialOrd for Offer {
    fn partial_cmp(&self, other: &Offer) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Offer {
    fn eq(&self, other: &Offer) -> bool {
        self.order == other.order
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
        let mut offers = std::mem::take(&mut self.offers).into_vec();
        let pairs = (1..self.symbols.len() as u32).map(|right| (right - 1, right));
        offers.extend(pairs.filter_map(|(left, right)| self.offer(left, right, &join)));
        let mut offers = BinaryHeap::from(offers);
        while let Some(offer) = offers.pop() {
            self.num_steps += 1;
            let at = offer.order as u32;
            let left = self.symbols[at as usize];
            let Some(&right) = self.symbols.get(left.next as usize) else { continue };
            // Either side may have been joined to something else since the offer was made.
            if left.len == 0 || left.len + right.len != offer.len {
                continue;
            }
            self.symbols[left.next as usize].len = 0;
            if let Some(after) = self.symbols.get_mut(right.next as usize) {
                after.prev = at;
            }
            let joined = &mut self.symbols[at as usize];
            joined.len = offer.len;
            joined.id = offer.id;
            joined.next = right.next;
            offers.extend(self.offer(left.prev, at, &join));
            offers.extend(self.offer(at, right.next, &join));
        }
        self.offers = offers;
        self.symbols.iter().filter(|symbol| symbol.len > 0)
    }

    fn offer(
        &self,
        left: u32,
        right: u32,
        join: &impl Fn(&Symbol, &Symbol) -> Option<Join>,
    ) -> Option<Offer> {
        let (a, b) = (self.symbols.get(left as usize)?, self.symbols.get(right as usize)?);
        let Join { rank, id } = join(a, b)?;
        Some(Offer { order: u64::from(rank) << 32 | u64::from(left), len: a.len + b.len, id })
    }
}
